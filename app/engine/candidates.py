"""A whole answer as a candidate: text and tool calls, told to a judge, returned as it is. Pure.

A candidate is never taken apart: one model's calls do not follow another model's words.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from app.engine.reference import Reference, read_reference, without_thoughts
from app.engine.text import cut_middle
from app.errors import UpstreamMalformed
from app.protocol.answer import Answer
from app.protocol.chat import Chunk
from app.protocol.completion import chunk_from_completion
from app.protocol.json_types import JsonObject

LONGEST_TOLD = 700
"""Tokens of one call's arguments that the judge is told."""
MOST_TOLD = 32
"""Calls of one answer that the judge is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Reference):
    """A reference that is a whole answer; its text is what a judge reads of it."""

    answer: Answer


def read_candidate(
    answer: Answer, *, node: str, sample: int, offered: AbstractSet[str]
) -> Candidate | None:
    """The candidate in an answer; None where it says nothing.

    Raises UpstreamMalformed if it calls a tool that is not among those offered.
    """
    calls = list(_calls(answer, 0))
    every = (call for index in range(answer.choices) for call in _calls(answer, index))
    if any(_name(call) not in offered for call in every):
        raise UpstreamMalformed("The answer called a tool that was not offered.")
    read = read_reference(answer, node=node, sample=sample)
    if read is None and not calls:
        return None
    return Candidate(
        node,
        sample,
        _told(calls, without_thoughts(answer.text(0)) or (read.text if read else "")),
        cut=answer.finish_reason(0) == "length",
        refused=not calls and read is not None and read.refused,
        answer=answer,
    )


def offered_tools(params: Mapping[str, object]) -> frozenset[str]:
    """The names of the tools in a request, the deprecated `functions` too."""
    return frozenset(
        name
        for field in ("tools", "functions")
        for tool in _objects(params.get(field))
        if isinstance(name := _body(tool).get("name", tool.get("name")), str)
    )


def has_tools(params: Mapping[str, object]) -> bool:
    """Whether a request offers any tool; `functions` is what they were called before."""
    return bool(params.get("tools") or params.get("functions"))


def whole(candidate: Candidate) -> Chunk:
    """The candidate as one chunk. Tool calls keep their ids, and get one where they lack it."""
    wire = candidate.answer.to_wire(id="", created=0, model="", usage=None)
    for choice in wire["choices"]:
        message = choice["message"]
        if calls := message.get("tool_calls"):
            message["tool_calls"] = list(_identified(calls))
    return chunk_from_completion(wire) or Chunk()


def _identified(calls: Iterable[JsonObject]) -> Iterator[JsonObject]:
    taken: set[str] = set()
    for call in calls:
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id or call_id in taken:
            call_id = f"call_{secrets.token_hex(12)}"
        taken.add(call_id)
        yield {**call, "id": call_id}


def _told(calls: list[JsonObject], text: str) -> str:
    """What the judge reads: calls first, each on one line, so that no text can pretend to be one.

    A text that imitates this comes after the line that counts the calls, and changes nothing.
    """
    shown = [f"{number}. {_one_line(call)}" for number, call in enumerate(calls[:MOST_TOLD], 1)]
    head = f"[calls {len(calls)} tools]" if calls else "[calls no tool]"
    head = "[calls 1 tool]" if len(calls) == 1 else head
    return "\n".join((head, *shown, "[says]" if text.strip() else "[says nothing]", text.strip()))


def _one_line(call: JsonObject) -> str:
    body = _body(call)
    arguments = body.get("arguments") or body.get("input") or ""
    told = cut_middle(f"{body.get('name')} {arguments}", LONGEST_TOLD)[0]
    return " ".join(told.split())


def _calls(answer: Answer, index: int) -> Iterator[JsonObject]:
    """The tool calls of one choice of an answer, the deprecated `function_call` too."""
    yield from answer.tool_calls(index)
    legacy = answer.message(index).get("function_call")
    if isinstance(legacy, dict) and legacy.get("name"):
        yield {"function": legacy}


def _name(call: JsonObject) -> object:
    return _body(call).get("name")


def _body(call: JsonObject) -> JsonObject:
    """What is called or offered: a function, or a custom tool."""
    body = call.get("function") or call.get("custom")
    return body if isinstance(body, dict) else {}


def _objects(value: object) -> list[JsonObject]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
