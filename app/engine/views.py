"""What an inner node gets to see of the caller's conversation: advice needs no tools. Pure.

Pictures and sound become a note where a model cannot take them, the node's role prompt joins the
caller's, the oldest turns go where the window is too small. Tools are
`tool_history`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from app.protocol.chat import Conversation
from app.protocol.json_types import JsonObject
from app.protocol.tokens import estimate_messages

SYSTEM_ROLES = ("system", "developer")
_MEDIA = {"image_url": "image", "video_url": "video", "file": "file", "input_audio": "audio"}
_NOTES = {
    "image": "[an image was here; you cannot take it in]",
    "video": "[a video was here; you cannot take it in]",
    "file": "[a file was here; you cannot take it in]",
    "audio": "[a recording was here; you cannot take it in]",
}


def media_in(messages: Iterable[JsonObject]) -> set[str]:
    """The kinds of media in the conversation: `image`, `video`, `file`, `audio`."""
    return {
        kind
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if (kind := media_kind(part))
    }


def media_kind(part: object) -> str | None:
    """What kind of media a content part is; None for text."""
    return _MEDIA.get(part.get("type", "")) if isinstance(part, dict) else None


def without_media(messages: Sequence[JsonObject], kinds: set[str]) -> list[JsonObject]:
    """Messages with a note in the place of each part of these kinds."""
    return [_noted(message, kinds) for message in messages]


def media_note(kind: str) -> str:
    """What stands in the place of a part that a model cannot take in."""
    return _NOTES[kind]


def with_system(messages: Sequence[JsonObject], prompt: str) -> list[JsonObject]:
    """Messages with a role prompt added to the caller's first system message, or as the first.

    One system message only: many chat templates refuse a second.
    """
    if not messages or messages[0].get("role") not in SYSTEM_ROLES:
        return [{"role": "system", "content": prompt}, *messages]
    first = dict(messages[0])
    content = first.get("content")
    if isinstance(content, list):
        first["content"] = [*content, {"type": "text", "text": prompt}]
    else:
        first["content"] = f"{content}\n\n{prompt}" if content else prompt
    return [first, *messages[1:]]


def fitted(conversation: Conversation, room: int) -> tuple[Conversation, int] | None:
    """The conversation within so many tokens, and how many of its oldest messages went.

    System messages and the last message stay; what is kept begins with a user's turn. None where
    that does not fit.
    """
    if conversation.tokens <= room:
        return conversation, 0
    head = [m for m in conversation.messages if m.get("role") in SYSTEM_ROLES]
    turns = [m for m in conversation.messages if m.get("role") not in SYSTEM_ROLES]
    gone = accumulate(estimate_messages([turn]) for turn in turns)
    for (start, turn), tokens in zip(enumerate(turns[1:], 1), gone, strict=False):
        if turn.get("role") == "user" and conversation.tokens - tokens <= room:
            return Conversation((*head, *turns[start:])), start
    return None


def _noted(message: JsonObject, kinds: set[str]) -> JsonObject:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_note(part, kinds) for part in content]}


def _note(part: object, kinds: set[str]) -> object:
    kind = media_kind(part)
    if kind is None or kind not in kinds:
        return part
    return {"type": "text", "text": media_note(kind)}
