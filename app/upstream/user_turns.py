"""Two messages of the user in a row, for models whose chat template refuses them. Pure."""

from __future__ import annotations

from http import HTTPStatus

from app.errors import UpstreamRejected
from app.protocol.chat import Conversation
from app.protocol.json_types import JsonObject


def ends_in_two(conversation: Conversation) -> bool:
    """The user speaks twice at the end; references that enter at the tail make it so."""
    messages = conversation.messages
    return len(messages) > 1 and _is_user(messages[-1]) and _is_user(messages[-2])


def merged(conversation: Conversation) -> Conversation:
    """Every run of user messages as one: texts joined by a blank line, parts in a row.

    A template that refuses a pair refuses it anywhere, so pairs in the history are merged too.
    """
    messages: list[JsonObject] = []
    for message in conversation.messages:
        if messages and _is_user(messages[-1]) and _is_user(message):
            messages[-1] = _joined(messages[-1], message)
        else:
            messages.append(message)
    return Conversation(tuple(messages))


def may_be_refused(error: UpstreamRejected) -> bool:
    """Whether a refusal may be about the order of turns: nothing in it points elsewhere."""
    says_nothing = (error.status, error.code) == (HTTPStatus.BAD_REQUEST, UpstreamRejected.code)
    return says_nothing and (error.param or "messages").startswith("messages")


def _is_user(message: JsonObject) -> bool:
    return message.get("role") == "user"


def _joined(first: JsonObject, second: JsonObject) -> JsonObject:
    one, two = first.get("content"), second.get("content")
    if isinstance(one, str) and isinstance(two, str):
        return {**first, "content": f"{one}\n\n{two}"}
    return {**first, "content": [*_parts(one), *_parts(two)]}


def _parts(content: object) -> list[object]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []
