"""Every client, the features it is run with, and the facts its script has to tell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv/clients"

PIECES = ["one ", "two ", "three"]
TEXT = "one two three"
TOKENS = 39
"""Three calls of ten tokens read and three written each."""

NUMBERS = {"a": 2, "b": 3}
SUM = "The sum is 5."
CITY = {"name": "Paris", "inhabitants": 2102650}
VECTORS = {"vectors": 2, "size": 256}

WHOLE = {"text": TEXT, "tokens": TOKENS}
STREAMED = {"pieces": PIECES, "tokens": TOKENS}
BOTH = {"text": TEXT, "pieces": PIECES}
ROUND_TRIP = {"called": "add", "numbers": NUMBERS, "answer": SUM}
CALLED = {"answer": SUM, "numbers": [NUMBERS]}
AT_LAST = {"text": "at last"}
STREAM_EVENTS = {"first": "response.created", "last": "response.completed"}


@dataclass(frozen=True, slots=True)
class Feature:
    """The facts of a feature; `asked`: how often the upstream's models are asked meanwhile.

    `needs` is the path without which it cannot be: the feature is left out until it is published.
    """

    facts: object
    asked: Mapping[str, int] = field(default_factory=dict)
    needs: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """One client: its package, where its version is pinned, and its script.

    `lock` is the file with the pin; None stands for what is on the machine.
    """

    name: str
    package: str
    lock: str | None
    script: str
    features: Mapping[str, Feature]

    @property
    def version(self) -> str:
        """The pinned version."""
        if self.lock is None:
            return "the machine's"
        text = (ROOT / self.lock).read_text()
        if self.lock.endswith(".json"):
            return str(json.loads(text)["dependencies"][self.package])
        found = re.search(rf"^{re.escape(self.package)}==(\S+)", text, re.MULTILINE)
        assert found is not None, f"{self.lock} does not pin {self.package}"
        return found[1]

    @property
    def environment(self) -> Path | None:
        """Where it is installed; None: in the environment of the tests."""
        if self.lock is None or self.lock.startswith("requirements/"):
            return None
        return ENVIRONMENTS / Path(self.lock).stem


def _embeddings() -> Feature:
    return Feature(VECTORS, needs="/v1/embeddings")


def _responses(facts: object) -> Feature:
    return Feature(facts, needs="/v1/responses")


OPENAI_ERRORS = {
    "400": "BadRequestError",
    "401": "AuthenticationError",
    "404": "NotFoundError",
    "429": "RateLimitError",
    "502": "InternalServerError",
}
RETRIED = Feature(AT_LAST, asked={"flaky": 2})
NOT_RETRIED = Feature({"error": "RateLimitError"}, asked={"never": 0})

OPENAI = {
    "whole": Feature(WHOLE),
    "streamed": Feature(STREAMED),
    "asynchronous": Feature(BOTH),
    "stream helper": Feature({"kinds": ["chunk", "content.delta", "content.done"], "text": TEXT}),
    "tools": Feature(ROUND_TRIP),
    "tools streamed": Feature(ROUND_TRIP),
    "structured": Feature(CITY),
    "structured streamed": Feature(CITY),
    "raw response": Feature(
        {"status": 200, "request id": True, "run id": True, "text": TEXT, "streaming": TEXT}
    ),
    "errors": Feature(OPENAI_ERRORS, asked={"limited": 1, "down": 1}),
    "retries": RETRIED,
    "no retry where none helps": NOT_RETRIED,
    "timeout": Feature({"error": "APITimeoutError"}, asked={"silent": 1}),
    "broken stream": Feature({"error": "APIError"}, asked={"broken": 1}),
    "models": Feature({"listed": True, "retrieved": "panel"}),
    "embeddings": _embeddings(),
    "completions": Feature({"text": TEXT, "streamed": TEXT}, needs="/v1/completions"),
    "responses": _responses({**WHOLE, "following": TEXT}),
    "responses streamed": _responses({"text": TEXT, **STREAM_EVENTS}),
    "responses structured": _responses(CITY),
    "responses tools": _responses(ROUND_TRIP),
}

OPENAI_NODE = {
    "whole": Feature(WHOLE),
    "streamed": Feature(STREAMED),
    "stream helper": Feature({"text": TEXT}),
    "tools": Feature(ROUND_TRIP),
    "tools streamed": Feature(ROUND_TRIP),
    "structured": Feature(CITY),
    "raw response": Feature({"text": TEXT, "status": 200, "request id": True}),
    "errors": Feature(OPENAI_ERRORS, asked={"limited": 1, "down": 1}),
    "retries": RETRIED,
    "no retry where none helps": NOT_RETRIED,
    "timeout": Feature({"error": "APIConnectionTimeoutError"}, asked={"silent": 1}),
    "broken stream": Feature({"error": "APIError"}, asked={"broken": 1}),
    "models": Feature({"listed": True}),
    "embeddings": _embeddings(),
    "responses": _responses(WHOLE),
    "responses streamed": _responses({"text": TEXT, **STREAM_EVENTS}),
}

AI_SDK = {
    "whole": Feature(WHOLE),
    "streamed": Feature(STREAMED),
    "tools": Feature({**CALLED, "steps": 2}),
    "tools streamed": Feature({**CALLED, "steps": 2}),
    "structured": Feature(CITY),
    "structured streamed": Feature(CITY),
    "errors": Feature(
        {
            "401": {"name": "AI_APICallError", "status": 401, "retryable": False},
            "404": {"name": "AI_APICallError", "status": 404, "retryable": False},
            "429": {"name": "AI_APICallError", "status": 429, "retryable": True},
        },
        asked={"limited": 1},
    ),
    "retries": RETRIED,
    "broken stream": Feature({"error": True}, asked={"broken": 1}),
    "embeddings": _embeddings(),
}

LANGCHAIN = {
    "whole": Feature(WHOLE),
    "streamed": Feature(STREAMED),
    "asynchronous": Feature(BOTH),
    "tools": Feature(ROUND_TRIP),
    "tools streamed": Feature(ROUND_TRIP),
    "structured": Feature(CITY),
    "structured by a tool": Feature(CITY),
    "errors": Feature(
        {
            "401": "OpenAIAuthenticationError",
            "404": "OpenAIModelNotFoundError",
            "429": "OpenAIRateLimitError",
        },
        asked={"limited": 1},
    ),
    "retries": RETRIED,
    "embeddings": _embeddings(),
    "responses": _responses(WHOLE),
}

PYDANTIC_AI = {
    "whole": Feature(WHOLE),
    "streamed": Feature(STREAMED),
    "tools": Feature(CALLED),
    "tools streamed": Feature(CALLED),
    "structured": Feature(CITY),
    "structured by a tool": Feature(CITY),
    "errors": Feature(
        {
            "401": "ModelAuthenticationError",
            "404": "ModelNotFoundError",
            "429": "ModelRateLimitError",
        }
    ),
    "retries": RETRIED,
    "responses": _responses(WHOLE),
    "responses tools": _responses(CALLED),
}

INSTRUCTOR = {
    "structured": Feature(CITY),
    "structured by a tool": Feature(CITY),
    "structured by a strict tool": Feature(CITY),
    "structured as plain json": Feature(CITY),
    "structured streamed": Feature(CITY),
    "asynchronous": Feature(CITY),
    "asks again after a wrong object": Feature(CITY, asked={"second-thoughts": 2}),
    "errors": Feature({"404": "InstructorRetryException", "429": "InstructorRetryException"}),
}

LITELLM = {
    "whole": Feature(WHOLE),
    "streamed": Feature(STREAMED),
    "asynchronous": Feature(BOTH),
    "tools": Feature(ROUND_TRIP),
    "tools streamed": Feature(ROUND_TRIP),
    "structured": Feature(CITY),
    "errors": Feature(
        {"401": "AuthenticationError", "404": "NotFoundError", "429": "RateLimitError"},
        asked={"limited": 1},
    ),
    "retries": RETRIED,
    "embeddings": _embeddings(),
    "responses": _responses(WHOLE),
}

LLM = {
    "whole": Feature({"text": TEXT, "usage": "Token usage: 30 input, 9 output"}),
    "streamed": Feature({"text": TEXT}),
    "tools": Feature({"answer": SUM}),
    "tools streamed": Feature({"answer": SUM}),
    "structured": Feature(CITY),
    "errors": Feature({"401": "401", "404": "404"}),
}


def _messages(facts: object, **asked: int) -> Feature:
    return Feature(facts, asked, needs="/v1/messages")


ANTHROPIC = {
    "whole": _messages({**WHOLE, "stop": "end_turn"}),
    "streamed": _messages({"pieces": PIECES, "stop": "end_turn", "output": 9}),
    "asynchronous": _messages(BOTH),
    "system and blocks": _messages({"text": TEXT}),
    "tools": _messages({**ROUND_TRIP, "stop": "tool_use"}),
    "tools streamed": _messages({**ROUND_TRIP, "stop": "tool_use"}),
    "errors": _messages(
        {"401": "AuthenticationError", "404": "NotFoundError", "429": "RateLimitError"}, limited=1
    ),
    "retries": _messages(AT_LAST, flaky=2),
    "broken stream": _messages({"error": "APIStatusError"}, broken=1),
}

CURL = {
    "whole": Feature(WHOLE),
    "streamed": Feature({"pieces": PIECES, "end": "[DONE]"}),
    "not compressed": Feature({"encoded": False, "type": True}),
    "kept alive": Feature({"connections": 1}),
    "errors": Feature({code: code for code in ("400", "401", "404", "405", "429")}),
    "models": Feature({"listed": True}),
}

NODE = "tests/clients/node/package.json"


def _python(name: str, script: str, features: Mapping[str, Feature], package: str = "") -> Client:
    lock = f"tests/clients/requirements/{name}.txt"
    return Client(name, package or name, lock, script, features)


CLIENTS = (
    Client("openai (Python)", "openai", "requirements/dev.txt", "with_openai.py", OPENAI),
    Client("openai (Node.js)", "openai", NODE, "openai.mjs", OPENAI_NODE),
    Client("Vercel AI SDK", "ai", NODE, "ai_sdk.mjs", AI_SDK),
    _python("langchain-openai", "with_langchain.py", LANGCHAIN),
    _python("pydantic-ai", "with_pydantic_ai.py", PYDANTIC_AI, "pydantic-ai-slim"),
    _python("instructor", "with_instructor.py", INSTRUCTOR),
    _python("litellm", "with_litellm.py", LITELLM),
    _python("llm", "with_llm.py", LLM),
    _python("anthropic", "with_anthropic.py", ANTHROPIC),
    Client("curl", "curl", None, "with_curl.py", CURL),
)
