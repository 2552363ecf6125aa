"""The configuration under test: graphs of three layers and nested ones, pools, guards."""

from __future__ import annotations

import json
from importlib.util import find_spec

DEADLINE = 8.0
RATES = {
    "flaky-1": 0.12,
    "flaky-2": 0.12,
    "flaky-3": 0.12,
    "flaky-4": 0.12,
    "wild-1": 0.5,
    "wild-2": 0.5,
    "wild-h": 0.5,
}
PANEL = ["flaky-1", "flaky-2", "wild-1", "flaky-3"]
QUICK = {"quorum": 3, "grace": 0.2, "deadline": 2.0}
GRAPHS: dict[str, dict[str, object]] = {
    "deep": {
        "deadline": DEADLINE,
        "layers": [
            {"proposers": PANEL, **QUICK},
            {"proposers": PANEL, **QUICK},
            {"proposers": ["flaky-4", "wild-2", "pool"], **QUICK, "quorum": 2},
        ],
        "output": {"kind": "aggregate", "model": "flaky-4", "fallback": ["calm"]},
    },
    "strict": {
        "deadline": DEADLINE,
        "layers": [{"proposers": PANEL, "deadline": 2.0}] * 3,
        "min_references": 2,
        "aggregator": "flaky-1",
    },
    "outer": {
        "deadline": DEADLINE,
        "layers": [
            {
                "nodes": {
                    "inner": {"kind": "propose", "model": "deep"},
                    "pool": {"kind": "propose", "model": "pool", "fallback": ["wild-h"]},
                    "dead": {"kind": "propose", "model": "refused", "fallback": ["flaky-3"]},
                },
                "quorum": 2,
                "deadline": 5.0,
            }
        ],
        "output": {"kind": "aggregate", "model": "flaky-2"},
        "last_resort": "best_reference",
    },
    "judged": {
        "deadline": DEADLINE,
        "layers": [{"proposers": PANEL, **QUICK}],
        "output": {"kind": "select", "model": "wild-2"},
    },
    "httpx": {
        "deadline": DEADLINE,
        "layers": [{"proposers": ["wild-h", "wild-h", "flaky-1"], "deadline": 2.0}],
        "output": {"kind": "aggregate", "model": "wild-h", "fallback": ["calm"]},
    },
}
WRITERS: dict[str, tuple[str, ...]] = {
    "deep": ("flaky-4", "calm"),
    "strict": ("flaky-1",),
    "outer": ("flaky-2", "flaky-3", "flaky-4", "calm", "wild-1", "wild-2", "wild-h"),
    "judged": ("flaky-1", "flaky-2", "wild-1", "flaky-3"),
    "httpx": ("wild-h", "calm"),
    "flaky-1": ("flaky-1",),
    "wild-2": ("wild-2",),
    "refused": (),
    "pool": ("wild-1", "wild-2", "flaky-4", "calm"),
}
"""Who may write the answer of what is served, the proper one first; the others are declared."""
ALL_PROPER = frozenset({"judged", "pool"})
DECLARED = {"pool": frozenset({"calm"})}


def config(live: str, dead: str) -> str:
    """The configuration; JSON, which is YAML. What does not exist yet is left out."""
    limits = {"connect": 1.0, "first_token": 1.0, "idle": 0.5}
    upstreams: dict[str, dict[str, object]] = {
        "live": {"base_url": live, "timeouts": limits},
        "second": {"base_url": live, "timeouts": limits, "transport": "httpx"},
        "dead": {"base_url": dead, "timeouts": limits},
    }
    models: dict[str, dict[str, object]] = {
        name: {"upstream": "second" if name == "wild-h" else "live", "model": name}
        for name in (*RATES, "calm")
    }
    models["calm-h"] = {"upstream": "second", "model": "calm"}
    models["refused"] = {"upstream": "dead", "model": "refused"}
    models["pool"] = {"upstream": "live", "model": "wild-1"}
    _guard(upstreams, models)
    return json.dumps({"upstreams": upstreams, "models": models, "graphs": GRAPHS})


def _guard(upstreams: dict[str, dict[str, object]], models: dict[str, dict[str, object]]) -> None:
    """Retries, breakers, limits, hedges and fallbacks, as far as the schema has them."""
    if find_spec("app.upstream.assembly") is None:
        return
    settings: dict[str, object] = {
        "retries": 2,
        "breaker": {"failures": 8, "rest": 0.3, "longest_rest": 1.0},
        "concurrency": {"limit": 64, "queue": 64, "patience": 1.0},
    }
    for upstream in upstreams.values():
        upstream.update(settings)
    deployments = [
        {"upstream": "live", "model": "wild-1", "weight": 2},
        {"upstream": "second", "model": "wild-2"},
        {"upstream": "live", "model": "flaky-4"},
        {"upstream": "dead", "model": "refused"},
    ]
    models["pool"] = {
        "deployments": deployments,
        "hedge": {"quantile": 0.9, "least": 0.1},
        "fallback": ["calm"],
        "deadline": 6.0,
    }
