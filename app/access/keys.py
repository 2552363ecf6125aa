"""Keys as texts: what a client presents, the operator's static ones, and how new ones are made.

Only digests are kept. A key of the operator's choosing is compared, never looked up; one that we
made has 256 random bits and is looked up by its digest.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from hashlib import sha256

from app.access.caller import Caller

CALLER_DIGITS = 32
"""Of a digest, as the caller's id: long enough (128 bits) that no two keys share it."""
SIGN = "moa-"
"""How every key begins that we made."""
_PREFIX_BYTES, _SECRET_BYTES = 4, 32


def new_secret() -> tuple[str, str]:
    """A new key, to be shown once, and the start of it that may be shown for ever."""
    prefix = SIGN + secrets.token_hex(_PREFIX_BYTES)
    return f"{prefix}-{secrets.token_urlsafe(_SECRET_BYTES)}", prefix


def digest_of(secret: bytes, pepper: bytes | None = None) -> str:
    """What a key that we made is found by: its SHA-256, or with a pepper its HMAC, in hex."""
    if pepper is None:
        return sha256(secret).hexdigest()
    return hmac.digest(pepper, secret, "sha256").hex()


class StaticKeys:
    """The keys of `MOA_API_KEYS`."""

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
