"""The tools of a conversation told as text, for nodes that advise and never act. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from app.engine.text import cut_middle
from app.engine.views import media_kind
from app.protocol.chat import RESULT_ROLES
from app.protocol.json_types import JsonObject

LONGEST_TOLD = 700
"""Tokens that are told of one tool result, or of one call's arguments."""
CONTINUE = "Give your best advice on how to go on from here."


def has_tool_history(messages: Iterable[JsonObject]) -> bool:
    """Whether any message calls a tool or answers one."""
    return any(map(_is_about_tools, messages))


def as_text(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Messages without tools: calls and their results are told by the assistant who made them.

    What the assistant says before and after joins the same message, so that turns alternate as
    they did. A result that answers no call is not sent.
    """
    teller = _Teller()
    for message in messages:
        teller.hear(message)
    told = teller.told
    if messages and _is_about_tools(messages[-1]) and (not told or told[-1]["role"] != "user"):
        told.append({"role": "user", "content": CONTINUE})
    return told


class _Teller:
    """Retells a conversation; `told` is what has been said so far.

    `_open` are the tools that may still be answered, name by call id and by name; `_telling` says
    that the last message is a retold one.
    """

    def __init__(self) -> None:
        self.told: list[JsonObject] = []
        self._open: dict[str, str] = {}
        self._telling = False

    def hear(self, message: JsonObject) -> None:
        """Retell the next message."""
        calls = _calls(message)
        if message.get("role") in RESULT_ROLES:
            tool = self._open.get(message.get("tool_call_id") or message.get("name") or "")
            if tool is not None:
                self._tell(f"[result of the tool {tool}: {_shortened(message.get('content'))}]")
            return
        if calls:
            self._open.update(key for call in calls for key in _keys(call))
            self._tell(_text_of(message), *map(_called, calls))
            return
        self._open = {}
        if self._telling and message.get("role") == "assistant":
            self._tell(_text_of(message))
        else:
            self.told.append(message)
            self._telling = False

    def _tell(self, *lines: str) -> None:
        before = []
        if self.told and self.told[-1].get("role") == "assistant":
            before = [_text_of(self.told.pop())]
        text = "\n".join(line for line in (*before, *lines) if line)
        self.told.append({"role": "assistant", "content": text})
        self._telling = True


def _is_about_tools(message: JsonObject) -> bool:
    return message.get("role") in RESULT_ROLES or bool(_calls(message))


def _calls(message: JsonObject) -> list[JsonObject]:
    """The tool calls of a message, the deprecated `function_call` too."""
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, dict)]
    if isinstance(legacy := message.get("function_call"), dict):
        calls.append({"function": legacy})
    return calls


def _keys(call: JsonObject) -> Iterator[tuple[str, str]]:
    name = _name(call)
    yield name, name
    if isinstance(call_id := call.get("id"), str):
        yield call_id, name


def _name(call: JsonObject) -> str:
    return str(_body(call).get("name") or "unknown")


def _body(call: JsonObject) -> JsonObject:
    """What is called: a function, or a custom tool with free text as its input."""
    body = call.get("function") or call.get("custom")
    return body if isinstance(body, dict) else {}


def _called(call: JsonObject) -> str:
    arguments = _body(call).get("arguments") or _body(call).get("input") or ""
    return f"[called the tool {_name(call)} with {_shortened(str(arguments))}]"


def _shortened(content: object) -> str:
    return cut_middle(_content_text(content), LONGEST_TOLD)[0]


def _text_of(message: JsonObject) -> str:
    said = (_content_text(message.get("content")), message.get("refusal"))
    return "\n".join(text for text in said if isinstance(text, str) and text)


def _content_text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(filter(None, map(_part_text, content)))
    return content if isinstance(content, str) else ""


def _part_text(part: object) -> str:
    if kind := media_kind(part):
        return f"[{kind}]"
    text = (part.get("text") or part.get("refusal")) if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""
