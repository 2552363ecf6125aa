"""Answers of chat models as OpenAI's legacy `text_completion`: whole, or as the events of a stream.

Streamed and whole objects have one shape. Only text goes on: the content, or a refusal where there
is no content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from app.errors import MoaError
from app.protocol.answer import Answer
from app.protocol.chat import Batch
from app.protocol.completion import EXTRAS
from app.protocol.dialect import COMMENT, HeartbeatStyle
from app.protocol.error_body import error_bytes
from app.protocol.json_types import JsonObject

_DONE = b"data: [DONE]\n\n"
PromptOf = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class TextHead:
    """What every object of one answer begins with; `created` is in Unix seconds."""

    id: str
    created: int
    model: str

    def to_wire(self) -> JsonObject:
        """The first fields of an object."""
        own = {"id": self.id, "object": "text_completion", "created": self.created}
        return {**own, "model": self.model}


def text_completion(
    head: TextHead,
    prompt_of: PromptOf | None,
    answer: Answer,
    usage: JsonObject,
    moa: JsonObject | None,
) -> JsonObject:
    """A whole answer; with `prompt_of`, each text begins with its prompt."""
    whole = answer.to_wire(id="", created=0, model="", usage=None)
    texts = _Texts(prompt_of)
    body: JsonObject = {
        **head.to_wire(),
        "choices": [texts.choice(each, each["message"]) for each in whole["choices"]],
        **_extras(answer.extras),
        "usage": usage,
    }
    return body if moa is None else {**body, "moa": moa}


class TextEncoder:
    """The events of one stream, as a `StreamDialect`.

    With `include_usage`, every object has `"usage": null` and `finish` sends the one with usage.
    Without it the last object that ends a choice is kept until `finish`, since `moa` belongs on it.
    All mutable state: the texts so far, what is kept, and extras that wait for an object.
    """

    def __init__(
        self, head: TextHead, prompt_of: PromptOf | None = None, *, include_usage: bool = False
    ) -> None:
        self._head = head.to_wire()
        self._include_usage = include_usage
        self._texts = _Texts(prompt_of)
        self._kept: JsonObject | None = None
        self._extras: JsonObject = {}

    def encode(self, batch: Batch) -> bytes:
        """The events of what has text or ends a choice."""
        events = b""
        for chunk in batch:
            self._extras |= _extras(chunk.extras)
            choices = [
                self._texts.choice(choice, delta)
                for choice in chunk.choices
                if _text(delta := choice.get("delta") or {}) or choice.get("finish_reason")
            ]
            if not choices:
                continue
            events += self._release()
            body = self._object(choices)
            if self._include_usage or not any(each["finish_reason"] for each in choices):
                events += _event(body)
            else:
                self._kept = body
        return events

    def finish(self, usage: JsonObject, moa: JsonObject | None) -> bytes:
        """What was kept, the usage if it was asked for, `[DONE]`."""
        own = {} if moa is None else {"moa": moa}
        if self._include_usage:
            return _event({**self._object([]), "usage": usage, **own}) + _DONE
        last = self._kept or (self._object([]) if own else None)
        return (b"" if last is None else _event({**last, **own})) + _DONE

    def heartbeat(self, style: HeartbeatStyle) -> bytes:
        """A comment, or an object whose text is empty."""
        if style == "comment":
            return COMMENT
        if style == "off":
            return b""
        choice = {"text": "", "index": 0, "logprobs": None, "finish_reason": None}
        return _event(self._object([choice]))

    def failure(self, error: MoaError) -> bytes:
        """An error after the stream began; no `[DONE]` follows."""
        return b"data: " + error_bytes(error) + b"\n\n"

    def _object(self, choices: list[JsonObject]) -> JsonObject:
        extras, self._extras = self._extras, {}
        usage: JsonObject = {"usage": None} if self._include_usage else {}
        return {**self._head, "choices": choices, **extras, **usage}

    def _release(self) -> bytes:
        kept, self._kept = self._kept, None
        return b"" if kept is None else _event(kept)


@dataclass(slots=True)
class _Texts:
    """All mutable state: how many characters of each choice have gone out."""

    prompt_of: PromptOf | None
    sent: dict[int, int] = field(default_factory=dict)

    def choice(self, choice: JsonObject, said: JsonObject) -> JsonObject:
        """A choice of a `text_completion`; `said` is the message or delta of a chat's choice."""
        index, text = choice.get("index", 0), _text(said)
        logprobs = _logprobs(choice.get("logprobs"), self.sent.get(index, 0))
        if index not in self.sent and self.prompt_of is not None:
            text = self.prompt_of(index) + text
        self.sent[index] = self.sent.get(index, 0) + len(text)
        reason = choice.get("finish_reason")
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}


def _text(said: JsonObject) -> str:
    content = said.get("content") or said.get("refusal")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _logprobs(chat: object, offset: int) -> JsonObject | None:
    """Four lists side by side instead of one list of objects; `offset` counts characters."""
    tokens = chat.get("content") if isinstance(chat, dict) else None
    if not isinstance(tokens, list):
        return None
    found: JsonObject = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in tokens:
        text = str(token.get("token", ""))
        others = token.get("top_logprobs") or ()
        found["tokens"].append(text)
        found["token_logprobs"].append(token.get("logprob"))
        found["top_logprobs"].append({each.get("token"): each.get("logprob") for each in others})
        found["text_offset"].append(offset)
        offset += len(text)
    return found


def _extras(extras: Mapping[str, object]) -> JsonObject:
    return {name: extras[name] for name in EXTRAS if name in extras}


def _event(body: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
