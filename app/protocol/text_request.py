"""Reads a client's body of the legacy text completions: prompts become conversations.

Fields as in https://platform.openai.com/docs/api-reference/completions/create. What a chat model
cannot do for a prompt is refused by name; unknown fields pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Required

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from app.errors import InvalidRequest
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.chat_body import (
    MAX_CHOICES,
    MAX_STOPS,
    MoaWishes,
    Name,
    Penalty,
    StreamOptions,
    Tokens,
)
from app.protocol.json_types import JsonObject
from app.protocol.request import ChatCall, check_stream_options, checked_body, read_wishes

MAX_PROMPTS = 16
MAX_TEXT_LOGPROBS = 5
_OURS = (
    *("model", "prompt", "stream", "stream_options", "moa"),
    *("echo", "suffix", "best_of", "logprobs"),
)


class TextBody(TypedDict, total=False):
    """The body of a request for text completions."""

    model: Required[Name]
    prompt: Required[
        str | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
    ]
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None
    echo: bool | None
    frequency_penalty: Penalty | None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None
    logprobs: Annotated[int, Field(ge=0, le=MAX_TEXT_LOGPROBS)] | None
    max_tokens: Tokens | None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None
    presence_penalty: Penalty | None
    seed: int | None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None
    stream: bool | None
    stream_options: StreamOptions | None
    suffix: str | None
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    user: str | None
    moa: MoaWishes | None


_BODY = TypeAdapter(TextBody)


@dataclass(frozen=True, slots=True)
class TextCall:
    """A checked request: `call` asks the first prompt, `prompts` are all of them.

    `echo`: each text begins with its prompt.
    """

    call: ChatCall
    prompts: tuple[str, ...]
    echo: bool

    @property
    def conversations(self) -> tuple[Conversation, ...]:
        """One for each prompt."""
        return tuple(map(_conversation, self.prompts))

    def prompt_of(self, index: int) -> str:
        """The prompt that the choice of this index completes; the last for one too many."""
        each = self.call.request.params.get("n")
        number = index // (each if isinstance(each, int) else 1)
        return self.prompts[number if number in range(len(self.prompts)) else -1]


def parse_text(body: bytes, model: str | None = None) -> TextCall:
    """Check a body; `model` stands for the one in it. Raises InvalidRequest, naming the field."""
    data = checked_body(body, _BODY, model)
    _refuse_unable(data)
    check_stream_options(data)
    prompt = data["prompt"]
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    params = {key: value for key, value in data.items() if key not in _OURS}
    if data.get("logprobs") is not None:
        params |= {"logprobs": True, "top_logprobs": data["logprobs"]}
    request = ChatRequest(_conversation(prompts[0]), params, bool(data.get("stream")))
    options = data.get("stream_options") or {}
    call = ChatCall(
        model=data["model"],
        request=request,
        include_usage=bool(options.get("include_usage")),
        wishes=read_wishes(data.get("moa")),
    )
    return TextCall(call, prompts, bool(data.get("echo")))


def text_schema(ref_template: str) -> JsonObject:
    """The JSON Schema of the body, for documentation."""
    return _BODY.json_schema(ref_template=ref_template)


def _refuse_unable(data: JsonObject) -> None:
    choices = data.get("n") or 1
    if data.get("suffix"):
        raise InvalidRequest(
            "suffix: the models here answer and do not fill in; leave it out", param="suffix"
        )
    if data.get("best_of") not in {None, choices}:
        raise InvalidRequest("best_of: only accepted where it equals n", param="best_of")
    if data.get("echo") and data.get("logprobs") is not None:
        raise InvalidRequest(
            "logprobs: not together with echo, since a prompt has none here", param="logprobs"
        )
    if isinstance(data["prompt"], list) and len(data["prompt"]) * choices > MAX_CHOICES:
        raise InvalidRequest(
            f"n: at most {MAX_CHOICES} answers, which is n for each prompt", param="n"
        )


def _conversation(prompt: str) -> Conversation:
    return Conversation(({"role": "user", "content": prompt},))
