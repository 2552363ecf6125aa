"""Reading what a fake was shown."""

from __future__ import annotations

import re

from app.upstream.fake import FakeCall, FakeModel

_BLOCK = re.compile(
    r"=== ((?:Response|Critique|Analysis) \d+)[^\n]*===\n(.*?)\n=== end of", re.DOTALL
)


def tail(call: FakeCall) -> str:
    """The last message of a call, which must be the user's."""
    message = call.messages[-1]
    assert message["role"] == "user"
    return str(message["content"])


def blocks(call: FakeCall) -> dict[str, str]:
    """The blocks a call was shown, by name, in their order."""
    return dict(_BLOCK.findall(tail(call)))


def texts(call: FakeCall) -> list[str]:
    """The texts a call was shown, in their order."""
    return list(blocks(call).values())


def seen(model: FakeModel) -> list[list[str]]:
    """The texts that each call of a model was shown."""
    return [texts(call) for call in model.calls]
