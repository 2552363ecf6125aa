"""Static keys: what a client presents against what the operator set. No limits, no store.

Only SHA-256 digests are kept. A key of the operator's choosing is compared, never looked up.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

CALLER_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as logs may know it: the start of the digest of the key.

    Long enough (128 bits) that no two keys share it: what is kept for one caller hangs on it.
    """

    id: str


class StaticKeys:
    """The keys of `MOA_API_KEYS`; without any the gateway is in open mode."""

    def __init__(self, keys: Iterable[str]) -> None:
        digests = dict.fromkeys(sha256(key.encode()).digest() for key in keys)
        self._callers = tuple((digest, Caller(digest.hex()[:CALLER_DIGITS])) for digest in digests)

    def __bool__(self) -> bool:
        return bool(self._callers)

    def find(self, presented: bytes) -> Caller | None:
        """The caller with this key; takes equally long for every key, known or not."""
        digest = sha256(presented).digest()
        found: Caller | None = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def presented_key(authorization: bytes | None, *api_keys: bytes | None) -> bytes | None:
    """The key a client sends: as a bearer, else in `x-api-key` (Anthropic) or `api-key` (Azure)."""
    others = (key.strip() for key in api_keys if key)
    return (authorization and bearer(authorization)) or next(filter(None, others), None)


def bearer(authorization: bytes) -> bytes | None:
    """The key in an `Authorization: Bearer …` header (RFC 6750 §2.1), None if there is none."""
    scheme, _, key = authorization.partition(b" ")
    return key.strip() or None if scheme.lower() == b"bearer" else None
