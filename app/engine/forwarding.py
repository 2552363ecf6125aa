"""Which request parameter goes to which node: the caller's, the node's own, or neither.

The table of the design (§5): what a client asks of the *answer* (format, tools, stop words, seed)
reaches the output node alone; a proposer writes prose, at its own temperature.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

NODE_FIRST = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
"""Inner nodes: the node's own, else the caller's. Output: the caller's, else the node's."""

NODE_ONLY = ("max_tokens", "reasoning_effort", "verbosity", "service_tier")
"""Inner nodes: the node's own. Output: the caller's, else the node's."""

_MAX_TOKENS = ("max_tokens", "max_completion_tokens")
_SEED_RANGE = 2**31


def inner_params(
    own: Mapping[str, object], caller: Mapping[str, object], *, salt: str
) -> dict[str, object]:
    """Parameters of a node in a layer.

    `salt` tells samples apart: a caller's seed becomes a different but repeatable one for each,
    since one seed for all would make the samples of a model identical.
    """
    params: dict[str, object] = {
        name: value for name in NODE_FIRST if (value := own.get(name, caller.get(name))) is not None
    }
    params.update({name: own[name] for name in NODE_ONLY if name in own})
    if isinstance(seed := caller.get("seed"), int):
        params["seed"] = crc32(f"{seed}:{salt}".encode()) % _SEED_RANGE
    return params


def output_params(own: Mapping[str, object], caller: Mapping[str, object]) -> dict[str, object]:
    """Parameters of the output node: all of the caller's, the node's own where he set none."""
    defaults = dict(own)
    if any(caller.get(name) is not None for name in _MAX_TOKENS):
        defaults.pop("max_tokens", None)
    given = {name: value for name, value in caller.items() if value is not None}
    nulls = {name: value for name, value in caller.items() if value is None}
    return {**nulls, **defaults, **given}


def output_cap(params: Mapping[str, object]) -> int | None:
    """The cap on written tokens in these parameters, if they set one.

    Of both the larger: a server may know only one of the names.
    """
    values = (params.get(name) for name in _MAX_TOKENS)
    return max((value for value in values if isinstance(value, int)), default=None)
