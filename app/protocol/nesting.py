"""How deep JSON from outside may be nested: deeper than it can be written again is refused."""

from __future__ import annotations

import orjson

MAX_DEPTH = 100
_ORJSON_DEPTH = 254  # what orjson writes; it reads deeper than that


def is_too_deep(raw: bytes, value: object) -> bool:
    """Whether `value`, which `raw` was parsed into, has more than MAX_DEPTH levels."""
    return raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and not _is_written(value)


def _is_written(value: object) -> bool:
    """Lets orjson's own limit do the walking."""
    wrapped = value
    for _ in range(_ORJSON_DEPTH - MAX_DEPTH):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except TypeError:
        return False
    return True
