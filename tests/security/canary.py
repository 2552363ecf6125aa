"""Planted secrets: one of every kind, made anew for each run, and where they must never turn up."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

KINDS = (
    *("static-key", "virtual-key", "pepper", "hash-key", "upstream-key", "upstream-header"),
    *("upstream-query", "extra-body", "proxy-password", "database-password", "redis-password"),
    *("wrong-key", "question", "system-prompt", "answer", "reasoning", "tool-arguments"),
    *("person", "caller-header", "caller-query", "upstream-error"),
)


@dataclass
class Canaries:
    """The planted texts by kind, and every place that was looked at with what was there."""

    planted: dict[str, str] = field(default_factory=dict)
    places: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.planted |= {kind: f"canary-{kind}-{secrets.token_hex(8)}" for kind in KINDS}

    def __getitem__(self, kind: str) -> str:
        return self.planted[kind]

    def look(self, place: str, text: str | bytes, but_for: tuple[str, ...] = ()) -> None:
        """Add a place; what belongs there, such as an answer in an answer, is taken out first."""
        raw = text.encode() if isinstance(text, str) else text
        for kind in but_for:
            raw = raw.replace(self.planted[kind].encode(), b"")
        self.places[place] = self.places.get(place, b"") + raw

    def found(self) -> list[tuple[str, str]]:
        """Which secret is in which place, in any of the ways that secrets are written."""
        return [
            (kind, place)
            for place, text in self.places.items()
            for kind, secret in self.planted.items()
            if any(form in text for form in _forms(secret))
        ]


def _forms(secret: str) -> set[bytes]:
    """As it is, for addresses, in base64 (at each of the three places it can begin)."""
    raw = secret.encode()
    encoded = {b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)}
    return {raw, quote(secret).encode(), raw.hex().encode(), *encoded}


def environment(canaries: Canaries, database: str) -> Mapping[str, str]:
    """The variables of a gateway with all of its secrets set."""
    return {
        "MOA_API_KEYS": canaries["static-key"],
        "MOA_KEY_PEPPER": canaries["pepper"],
        "MOA_USER_HASH_KEY": canaries["hash-key"],
        "MOA_LOG_LEVEL": "debug",
        "MOA_LOG_FORMAT": "json",
        "DATABASE_URL": database,
        "CANARY_KEY": canaries["upstream-key"],
        "CANARY_HEADER": canaries["upstream-header"],
        "CANARY_QUERY": canaries["upstream-query"],
        "CANARY_BODY": canaries["extra-body"],
        "CANARY_PROXY": f"http://proxy:{canaries['proxy-password']}@127.0.0.1:9",
    }


CONFIG = """\
upstreams:
  fake:
    base_url: "BASE"
    api_key: "${CANARY_KEY}"
    headers: {x-team: "${CANARY_HEADER}"}
    query: {key: "${CANARY_QUERY}"}
    extra_body: {secret: "${CANARY_BODY}"}
    retries: 0
    breaker: off
  dead: {base_url: "http://127.0.0.1:9/v1", api_key: "${CANARY_KEY}", query: {k: "${CANARY_QUERY}"}}
  proxied: {base_url: "http://api.example/v1", api_key: "${CANARY_KEY}", proxy: "${CANARY_PROXY}"}
models:
  good: {upstream: fake, model: good-up, price: {input: 1, output: 2}}
  refused: {upstream: fake, model: refused-up}
  broken: {upstream: fake, model: broken-up}
  cut: {upstream: fake, model: cut-up}
  garbage: {upstream: fake, model: garbage-up}
  tools: {upstream: fake, model: tools-up}
  dead: {upstream: dead, model: dead-up}
  proxied: {upstream: proxied, model: proxied-up}
graphs:
  panel: {layers: [{proposers: [good, refused, cut], quorum: 1}], aggregator: good}
  failing: {layers: [{proposers: [refused, dead]}], aggregator: good}
"""
MODELS = (
    *("good", "refused", "broken", "cut", "garbage", "tools", "dead", "proxied"),
    *("panel", "failing"),
)
WRONG_PLACES = (
    'models: {a: {upstream: "${CANARY_KEY}", model: x}}',
    'upstreams: {a: {base_url: "${CANARY_PROXY}"}}',
    'upstreams: {"${CANARY_KEY}": {}}',
    'graphs: {g: {layers: [{proposers: ["${CANARY_KEY}"]}], aggregator: "${CANARY_HEADER}"}}',
    'upstreams: {a: {base_url: "http://a.example", retries: "${CANARY_QUERY}"}}',
    'upstreams: {a: {base_url: "http://a.example", api_key: "${CANARY_KEY}\\n"}}',
    'include: ["${CANARY_KEY}"]',
)
"""Configurations with a secret where it is told back by a careless message."""
