"""What an upstream's JSON means: one chunk of an answer, or one error. No bytes, no I/O.

Upstreams disagree about details; what is put right here, and only this: missing fields of a
choice, where the usage stands, and the numbers of tool calls. All else stays as it was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.protocol.chat import NO_PARAMS, Chunk
from app.protocol.json_types import JsonObject
from app.protocol.usage import Usage, parse_usage

EXTRAS = ("service_tier", "system_fingerprint", "moderation", "metadata")
"""Fields of a chunk as a whole that are handed on to the client."""

_HIGHEST_INDEX = 2**31 - 1
"""Of a tool call; one that is higher cannot be counted on in JSON, and is none."""


def error_in(answer: JsonObject) -> JsonObject | None:
    """The error object that stands where an answer should be, whatever its shape; else None.

    Covers `{"error": {…}}`, `{"error": "text"}`, vLLM's `{"object": "error", …}` and a choice
    that ended with `finish_reason: error` (OpenRouter).
    """
    error = answer.get("error")
    if error:
        if isinstance(error, dict):
            return error
        return {} if isinstance(error, list) else {"message": str(error)}
    if answer.get("object") == "error":
        return answer
    for choice in _objects(answer.get("choices")):
        if choice.get("finish_reason") == "error":
            inner = choice.get("error")
            return inner if isinstance(inner, dict) else {}
    return None


class ToolNumbers:
    """Gives the tool calls of one stream distinct indexes where the upstream does not.

    Some send every call at index 0, or without an index, and tell them apart only by `id`.
    All mutable state: one `_Numbered` per choice.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _Numbered] = {}

    def put_right(self, choice: int, fragments: object) -> None:
        """Set `index` on each tool-call fragment of a delta, in place."""
        numbered = self._choices.get(choice)
        if numbered is None:
            numbered = self._choices[choice] = _Numbered()
        for fragment in _objects(fragments):
            fragment["index"] = numbered.number(fragment)


class _Numbered:
    """The tool calls of one choice.

    All mutable state: our number by the call's id, our number and the id of the call that is
    being written at each of the upstream's indexes (None stands for the latest call), and the
    numbers given.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._next = 0
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int | None, tuple[int, str | None]] = {}

    def number(self, fragment: JsonObject) -> int:
        index, call_id = fragment.get("index"), fragment.get("id")
        index = index if type(index) is int and 0 <= index <= _HIGHEST_INDEX else None
        call_id = call_id if isinstance(call_id, str) and call_id else None
        current, current_id = self._by_index.get(index, (None, None))
        number = self._by_id.get(call_id or "")
        if number is None:
            another = call_id is not None and current_id is not None
            unnumbered = call_id is None and index is None and _is_named(fragment)
            if current is None or another or unnumbered:
                number, current_id = self._free(index), None
            else:
                number = current
        call_id = call_id or current_id
        if call_id:
            self._by_id[call_id] = number
        self._by_index[index] = self._by_index[None] = (number, call_id)
        return number

    def _free(self, index: int | None) -> int:
        number = self._next if index is None or index in self._taken else index
        self._taken.add(number)
        self._next = max(self._next, number + 1)
        return number


def _is_named(fragment: JsonObject) -> bool:
    function = fragment.get("function")
    return isinstance(function, dict) and bool(function.get("name"))


def chunk_from_event(event: JsonObject, tools: ToolNumbers) -> Chunk | None:
    """The chunk of one stream event, None if it says nothing; `event` is used up.

    A stream of whole `chat.completion` objects is understood too.
    """
    choices = event.get("choices")
    if choices:
        choices = _objects(choices)
        for position, choice in enumerate(choices):
            _complete_choice(choice, position, tools)
    usage = _usage(event, choices)
    extras = _extras(event)
    if choices or usage or extras:
        return Chunk(choices or (), usage, extras)
    return None


def chunk_from_completion(completion: JsonObject) -> Chunk | None:
    """The one chunk of a whole `chat.completion`, None if it has no choice.

    Its deltas are the messages. A missing finish_reason is filled in: the answer is whole, the
    JSON says so.
    """
    choices = _objects(completion.get("choices"))
    tools = ToolNumbers()
    for position, choice in enumerate(choices):
        _complete_choice(choice, position, tools)
        if choice["finish_reason"] is None:
            has_calls = choice["delta"].get("tool_calls")
            choice["finish_reason"] = "tool_calls" if has_calls else "stop"
    if not choices:
        return None
    return Chunk(choices, _usage(completion, choices), _extras(completion))


def _complete_choice(choice: JsonObject, position: int, tools: ToolNumbers) -> None:
    delta = choice.get("delta")
    if type(delta) is not dict:
        message = choice.pop("message", None)
        delta = choice["delta"] = message if isinstance(message, dict) else {}
    index = choice.get("index")
    if type(index) is not int:
        index = choice["index"] = position
    if "finish_reason" not in choice:
        choice["finish_reason"] = None
    calls = delta.get("tool_calls")
    if calls:
        tools.put_right(index, calls)


def _extras(source: JsonObject) -> Mapping[str, object]:
    found: JsonObject | None = None
    for name in EXTRAS:
        value = source.get(name)
        if value is not None:
            found = found or {}
            found[name] = value
    return NO_PARAMS if found is None else found


def _usage(source: JsonObject, choices: Sequence[JsonObject] | None) -> Usage | None:
    """Usage in its place, or where Moonshot (on a choice) and Groq (`x_groq`) have it."""
    usage = source.get("usage")
    if not usage and choices:
        usage = choices[-1].get("usage")
    if not usage and "x_groq" in source:
        groq = source["x_groq"]
        usage = groq.get("usage") if isinstance(groq, dict) else None
    return parse_usage(usage) if usage else None


def _objects(values: object) -> list[JsonObject]:
    """The objects of a JSON array; an empty list for anything else."""
    if type(values) is not list:
        return []
    for value in values:
        if type(value) is not dict:
            return [value for value in values if type(value) is dict]
    return values
