"""What a fake model says and when: pure data, rendered to chunks, shared by the fakes.

Who plays a script, in process (`fake`) or over a socket (`fake_server`), is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import anyio

from app.protocol.chat import Batch, Chunk
from app.protocol.json_types import JsonObject
from app.protocol.usage import Usage

SOME_USAGE = Usage(prompt=10, completion=5)


@dataclass(frozen=True, slots=True)
class Script:
    """One answer, or the lack of it.

    `text` becomes one token per word; a tuple gives the tokens themselves. Reasoning comes before
    the text, refusal and tool calls (as a message has them) after it. When `after` pieces are out
    the call waits for `gate`, then raises `error`, then hangs if `hang` is set; if none of these
    ends it, it goes on. Delays are in seconds; an unstreamed answer takes as long as a streamed
    one. `finish_reason` defaults to what fits; `usage` None is an upstream that reports none.
    """

    text: str | tuple[str, ...] = "An answer."
    after: int = 0
    gate: anyio.Event | None = None
    error: Exception | None = None
    hang: bool = False
    first_token_delay: float = 0.0
    token_delay: float = 0.0
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[JsonObject, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = SOME_USAGE
    extras: Mapping[str, object] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The pieces of `text`; joined they are the text."""
        return self.text if isinstance(self.text, tuple) else split_words(self.text)

    def batches(self, *, stream: bool) -> list[Batch]:
        """The answer piece by piece, then its end and usage; or whole, in one chunk."""
        if not stream:
            return [(self._chunk(self._message(), self._finish(), self.usage),)]
        deltas = list(self._deltas())
        if deltas:
            deltas[0] = {"role": "assistant", **deltas[0]}
        end = [self._chunk({}, self._finish())]
        if self.usage:
            end.append(Chunk((), self.usage, self.extras))
        return [*([self._chunk(delta)] for delta in deltas), end]

    def delay(self, index: int, *, stream: bool) -> float:
        """Seconds before the batch with this index."""
        if stream:
            return self.token_delay if index else self.first_token_delay
        return self.first_token_delay + self.token_delay * max(len(self.tokens) - 1, 0)

    async def interrupt(self) -> None:
        """Do what the script says happens after `after` batches."""
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.hang:
            await anyio.sleep_forever()

    def _chunk(
        self, delta: JsonObject, finish: str | None = None, usage: Usage | None = None
    ) -> Chunk:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return Chunk((choice,), usage, self.extras)

    def _finish(self) -> str:
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    def _deltas(self) -> Iterator[JsonObject]:
        if self.reasoning:
            yield {"reasoning_content": self.reasoning}
        yield from ({"content": token} for token in self.tokens)
        if self.refusal:
            yield {"refusal": self.refusal}
        for index, call in enumerate(self.tool_calls):
            yield from _tool_call_deltas(index, call)

    def _message(self) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": "".join(self.tokens) or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.refusal:
            message["refusal"] = self.refusal
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
        return message


def split_words(text: str) -> tuple[str, ...]:
    """A text as words, each with the white space that follows it."""
    return tuple(re.findall(r"\s*\S+\s*|\s+", text))


def _tool_call_deltas(index: int, call: JsonObject) -> Iterator[JsonObject]:
    function = call["function"]
    arguments: str = function["arguments"]
    half = len(arguments) // 2
    opening = {**call, "index": index, "function": {**function, "arguments": ""}}
    yield {"tool_calls": [opening]}
    for part in (arguments[:half], arguments[half:]):
        yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
