"""Puts an answer together from its pieces: many fragments, or one chunk that holds it all.

Both ways give the same message. Nothing here judges an answer or knows where it came from.

How fragments join, at any depth of a delta: strings are concatenated, lists are extended, objects
are joined field by field, a null changes nothing, every other value replaces the one before.
`role`, `id`, `type` and `name` are said once: the first one counts, since some servers repeat them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from app.protocol.chat import Batch
from app.protocol.json_types import JsonObject
from app.protocol.usage import Usage

_SAID_ONCE = frozenset({"role", "id", "type", "name"})
_OWN_FIELDS = frozenset({"id", "object", "created", "model", "choices", "usage", "moa"})


class Answer:
    """All that a model said, by choice index. `usage` and `extras` are the last ones seen."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.extras: JsonObject = {}
        self._choices: dict[int, _Choice] = {}

    def add(self, batch: Batch) -> None:
        """Take the next chunks in."""
        for chunk in batch:
            if chunk.usage is not None:
                self.usage = chunk.usage
            if chunk.extras:
                self.extras.update(chunk.extras)
            for position, choice in enumerate(chunk.choices):
                index = choice.get("index")
                if not isinstance(index, int):
                    index = position
                if index not in self._choices:
                    self._choices[index] = _Choice()
                self._choices[index].add(choice)

    @property
    def choices(self) -> int:
        """How many choices have begun."""
        return len(self._choices)

    def text(self, index: int = 0) -> str:
        """The content as plain text, empty if there is none; of content parts, the text ones."""
        content = self._field(index, "content")
        if isinstance(content, list):
            return "".join(_part_text(part) for part in content)
        return content if isinstance(content, str) else ""

    def reasoning(self, index: int = 0) -> str:
        """What stands in `reasoning_content` or `reasoning`, empty if neither is there."""
        for name in ("reasoning_content", "reasoning"):
            value = self._field(index, name)
            if isinstance(value, str) and value:
                return value
        return ""

    def refusal(self, index: int = 0) -> str | None:
        """The refusal, if the model declared one."""
        value = self._field(index, "refusal")
        return value if isinstance(value, str) and value else None

    def finish_reason(self, index: int = 0) -> str | None:
        """Why the model stopped; None while it has not."""
        choice = self._choices.get(index)
        return None if choice is None else choice.finish_reason

    def tool_calls(self, index: int = 0) -> list[JsonObject]:
        """The whole tool calls, in order."""
        choice = self._choices.get(index)
        return [] if choice is None else choice.calls

    def message(self, index: int = 0) -> JsonObject:
        """The assistant message of one choice, ready to be appended to a conversation."""
        choice = self._choices.get(index)
        return (choice or _Choice()).to_message()

    def to_wire(
        self,
        *,
        id: str,  # noqa: A002 - the wire's name
        created: int,
        model: str,
        usage: JsonObject | None,
        moa: JsonObject | None = None,
    ) -> JsonObject:
        """OpenAI's `chat.completion`; `created` is in Unix seconds, `moa` is our extension."""
        extras = {key: value for key, value in self.extras.items() if key not in _OWN_FIELDS}
        body: JsonObject = {
            "id": id,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [choice.to_wire(index) for index, choice in sorted(self._choices.items())],
            **extras,
        }
        if usage is not None:
            body["usage"] = usage
        if moa is not None:
            body["moa"] = moa
        return body

    def _field(self, index: int, name: str) -> object:
        choice = self._choices.get(index)
        return None if choice is None else choice.message.get(name)


@dataclass(slots=True)
class _Choice:
    message: JsonObject = field(default_factory=dict)
    calls: list[JsonObject] = field(default_factory=list)
    rest: JsonObject = field(default_factory=dict)
    finish_reason: str | None = None
    _slots: dict[object, JsonObject] = field(default_factory=dict)

    def add(self, choice: JsonObject) -> None:
        for key, value in choice.items():
            if key == "delta":
                if value:
                    self._add_delta(value)
            elif key == "logprobs":
                _join(self.rest, {key: value})
            elif key == "finish_reason":
                self.finish_reason = value or self.finish_reason
            elif key != "index" and (value is not None or key not in self.rest):
                self.rest[key] = value

    def _add_delta(self, delta: JsonObject) -> None:
        fragments = delta.get("tool_calls")
        if "tool_calls" in delta:
            delta = {key: value for key, value in delta.items() if key != "tool_calls"}
        _join(self.message, delta)
        for fragment in fragments or ():
            if isinstance(fragment, dict):
                self._add_fragment(fragment)

    def _add_fragment(self, fragment: JsonObject) -> None:
        """Join one tool-call fragment to its call.

        Servers number calls badly: all at index 0, or not at all. So a fragment that brings a
        name opens a new call if it has no index, or another id than the call of its index.
        """
        index, call_id, named = fragment.get("index"), fragment.get("id"), _name(fragment)
        call = None if index is None and named else self._slots.get(index)
        if call is None or (named and call_id and call.get("id") not in (None, "", call_id)):
            call = {}
            self.calls.append(call)
        self._slots[index] = self._slots[None] = call
        _join(call, {key: value for key, value in fragment.items() if key != "index"})

    def to_message(self) -> JsonObject:
        message = {"role": None, "content": None, "refusal": None, **self.message}
        message["role"] = message["role"] or "assistant"
        if self.calls:
            message["tool_calls"] = [{"type": "function", **call} for call in self.calls]
        return message

    def to_wire(self, index: int) -> JsonObject:
        return {
            "index": index,
            "message": self.to_message(),
            "logprobs": None,
            **self.rest,
            "finish_reason": self.finish_reason,
        }


def _join(into: JsonObject, fragment: JsonObject) -> None:
    """Join a fragment to what is there; the fragment and its parts are never changed."""
    for key, value in fragment.items():
        known = into.get(key)
        if value is None:
            into.setdefault(key, None)
        elif key in _SAID_ONCE:
            into[key] = known or value
        elif isinstance(value, dict):
            joined = dict(known) if isinstance(known, dict) else {}
            _join(joined, value)
            into[key] = joined
        elif isinstance(value, str) and isinstance(known, str):
            # Nobody else holds the text now, so CPython lengthens it in place: no copy a token.
            into[key] = None
            known += value
            into[key] = known
        elif isinstance(value, list):
            into[key] = known + value if isinstance(known, list) else value
        else:
            into[key] = value


def _name(fragment: JsonObject) -> object:
    function = fragment.get("function")
    return function.get("name") if isinstance(function, dict) else None


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""
