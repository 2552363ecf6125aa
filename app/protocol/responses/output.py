"""A whole answer as a response object, and the pieces that streamed ones are made of too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import MoaError
from app.protocol.answer import Answer
from app.protocol.chat import NO_PARAMS
from app.protocol.error_body import error_object
from app.protocol.json_types import JsonObject

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a response before its answer; `created` is in Unix seconds.

    `repeated` are the fields of the request that a response shows again.
    """

    run_id: str
    created: int
    model: str
    repeated: JsonObject

    @property
    def id(self) -> str:
        """The response's id."""
        return f"resp_{self.run_id}"

    def item_id(self, prefix: str, index: int) -> str:
        """The id of an output item; from it follows the response it belongs to."""
        return f"{prefix}_{self.run_id}_{index}"

    def call_id(self, index: int) -> str:
        """For a call to which the upstream gave no id."""
        return f"call_{self.run_id}_{index}"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a response ended: its `status`, and why it is incomplete or failed."""

    status: str
    incomplete: str | None = None
    error: JsonObject | None = None


UNDER_WAY = Ending("in_progress")


def ended(finish_reason: str | None) -> Ending:
    """The ending that a finish reason means."""
    reason = _INCOMPLETE.get(finish_reason or "")
    return Ending("incomplete", reason) if reason else Ending("completed")


def failed(error: MoaError) -> Ending:
    """An ending with an error; its code is one of OpenAI's list, which typed clients know."""
    told: JsonObject = error_object(error)["error"]
    if error.status == 429:  # noqa: PLR2004 - HTTP's
        code = "rate_limit_exceeded"
    else:
        code = "server_error" if error.status >= 500 else "invalid_prompt"  # noqa: PLR2004 - HTTP's
    return Ending("failed", error={**told, "code": code})


def whole_response(
    head: Head, answer: Answer, usage: JsonObject, moa: JsonObject | None
) -> JsonObject:
    """The response object of an answer; `usage` is chat's object, `moa` our extension."""
    ending = ended(answer.finish_reason())
    output = output_items(head, answer)
    if output:
        output[-1]["status"] = ending.status
    return response_object(head, ending, output, extras=answer.extras, usage=usage, moa=moa)


def response_object(
    head: Head,
    ending: Ending,
    output: Sequence[JsonObject],
    *,
    extras: Mapping[str, object] = NO_PARAMS,
    usage: JsonObject | None = None,
    moa: JsonObject | None = None,
) -> JsonObject:
    """OpenAI's `response`; `extras` are the answer's own fields, such as its service tier."""
    response: JsonObject = {
        "id": head.id,
        "object": "response",
        "created_at": head.created,
        "status": ending.status,
        "background": False,
        "error": ending.error,
        "incomplete_details": {"reason": ending.incomplete} if ending.incomplete else None,
        "model": head.model,
        "output": list(output),
        **head.repeated,
        "usage": None if usage is None else _usage(usage),
    }
    if "service_tier" in extras:
        response["service_tier"] = extras["service_tier"]
    if moa is not None:
        response["moa"] = moa
    return response


def output_items(head: Head, answer: Answer) -> list[JsonObject]:
    """What was thought, then said, then called."""
    items: list[JsonObject] = []
    if reasoning := answer.reasoning():
        items.append(reasoning_item(head.item_id("rs", 0), reasoning, "completed"))
    content: list[JsonObject] = []
    if text := answer.text():
        content.append(text_part(text, _logprobs_of(answer)))
    if refusal := answer.refusal():
        content.append({"type": "refusal", "refusal": refusal})
    if content:
        items.append(message_item(head.item_id("msg", len(items)), content, "completed"))
    for call in answer.tool_calls():
        index, function = len(items), call.get("function") or {}
        call_id = call.get("id") or head.call_id(index)
        name, arguments = function.get("name") or "", function.get("arguments") or ""
        item = call_item(head.item_id("fc", index), call_id, name, arguments, "completed")
        items.append(item)
    return items


def reasoning_item(item_id: str, text: str, status: str) -> JsonObject:
    """What was thought, as a summary: that is what clients show. Empty without a text."""
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"id": item_id, "type": "reasoning", "summary": summary, "status": status}


def message_item(item_id: str, content: Sequence[JsonObject], status: str) -> JsonObject:
    """What was said."""
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": list(content),
    }


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> JsonObject:
    """A function to be called."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def text_part(text: str, logprobs: Sequence[JsonObject]) -> JsonObject:
    """Text as a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def text_in(content: object) -> str:
    """The text in a `content` of chat, which may be a list of parts."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def logprobs_in(choice: JsonObject) -> list[JsonObject]:
    """The log probabilities of a choice's text, token by token."""
    given = choice.get("logprobs")
    entries = given.get("content") if isinstance(given, dict) else None
    return [_logprob(entry) for entry in entries or ()]


def _logprobs_of(answer: Answer) -> list[JsonObject]:
    wire = answer.to_wire(id="", created=0, model="", usage=None)
    return logprobs_in(wire["choices"][0])


def _logprob(entry: JsonObject) -> JsonObject:
    top = entry.get("top_logprobs") or ()
    return {**_one_logprob(entry), "top_logprobs": [_one_logprob(each) for each in top]}


def _one_logprob(entry: JsonObject) -> JsonObject:
    return {
        "token": entry.get("token"),
        "bytes": entry.get("bytes") or [],
        "logprob": entry.get("logprob"),
    }


def _usage(chat: JsonObject) -> JsonObject:
    prompt, completion = chat["prompt_tokens_details"], chat["completion_tokens_details"]
    return {
        "input_tokens": chat["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": prompt["cached_tokens"],
            "cache_write_tokens": 0,
        },
        "output_tokens": chat["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": completion["reasoning_tokens"]},
        "total_tokens": chat["total_tokens"],
        "cost": chat.get("cost"),
    }
