"""A chat request and the pieces of its answer, as everything inside the gateway sees them.

Fields keep the wire's names and values: what we do not understand travels untouched. Checking a
client's body is `protocol.request`, putting an answer together is `protocol.answer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as default_field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import orjson

from app.protocol.json_types import JsonObject
from app.protocol.tokens import BYTES_PER_TOKEN, estimate_inputs, estimate_messages
from app.protocol.usage import Usage

RESULT_ROLES = frozenset({"tool", "function"})
"""Roles of messages that hand in a tool's result; `function` is what it was called before."""
NO_PARAMS: Mapping[str, object] = MappingProxyType({})
_SHAPING = ("tools", "functions", "response_format", "prediction")
"""Parameters that a model reads as part of its prompt."""


def _no_params() -> Mapping[str, object]:
    return NO_PARAMS


@dataclass(frozen=True)
class Conversation:
    """Messages as the wire has them, serialised and counted at most once however many ask."""

    messages: tuple[JsonObject, ...]

    @cached_property
    def encoded(self) -> bytes:
        """The JSON array of all messages."""
        return orjson.dumps(self.messages)

    @cached_property
    def tokens(self) -> int:
        """Estimated prompt tokens."""
        return estimate_messages(self.messages)

    def with_tail(self, *messages: JsonObject) -> Conversation:
        """The same conversation with messages added at its end."""
        return Conversation((*self.messages, *messages)) if messages else self


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a `ChatModel`.

    `params` holds every other body field (temperature, tools, unknown ones …) except `model`,
    `messages`, `stream`, `stream_options` and `moa`. `stream` asks the upstream for an event
    stream; without it the whole answer arrives as one chunk. `progress` asks a graph to tell what
    its panel does. `after_tools` says that a tool's result was last, before a graph put its
    references behind it.
    """

    conversation: Conversation
    params: Mapping[str, object] = default_field(default_factory=_no_params)
    stream: bool = False
    progress: bool = False
    after_tools: bool = False

    @property
    def is_tool_turn(self) -> bool:
        """Whether the client hands in a tool's result."""
        messages = self.conversation.messages
        return self.after_tools or (bool(messages) and messages[-1].get("role") in RESULT_ROLES)

    @property
    def prompt_tokens(self) -> int:
        """Estimated tokens of all that is read: messages, tools, formats, texts to embed."""
        params = self.params
        shaping = sum(len(orjson.dumps(params[name])) for name in _SHAPING if params.get(name))
        inputs = estimate_inputs(params["input"]) if "input" in params else 0
        return self.conversation.tokens + -(-shaping // BYTES_PER_TOKEN) + inputs

    def with_params(self, params: Mapping[str, object]) -> ChatRequest:
        """The same question with other parameters."""
        return replace(self, params=params)


class Chunk(NamedTuple):
    """One piece of an answer: OpenAI's `chat.completion.chunk` without id, created and model.

    A choice is `{"index", "delta", "finish_reason", …}` as the upstream sent it; a whole answer is
    one chunk whose deltas are the messages. `extras` are fields such as `service_tier` and
    `system_fingerprint`. Chunks are shared: nobody changes one in place. A named tuple, because
    one is made for every token.
    """

    choices: Sequence[JsonObject] = ()
    usage: Usage | None = None
    extras: Mapping[str, object] = NO_PARAMS


Batch: TypeAlias = Sequence[Chunk]
"""The chunks that arrived in one read, never empty: they may leave in one write."""


def says_something(batch: Batch) -> bool:
    """Whether there is a token in a batch: more than a role, an empty string or an end."""
    for chunk in batch:
        for choice in chunk.choices:
            for name, value in (choice.get("delta") or {}).items():
                if value and name != "role":
                    return True
    return False


def text_chunk(
    text: str, *, field: str = "content", index: int = 0, finish_reason: str | None = None
) -> Chunk:
    """A chunk of plain text, for models that are no upstream; `field` is the delta's field."""
    delta = {field: text} if text else {}
    return Chunk(({"index": index, "delta": delta, "finish_reason": finish_reason},))
