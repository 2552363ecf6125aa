"""Field types of the upstream specs: what is an address, a header, a key, and what is refused.

No message repeats the value it refuses: it may be a secret.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

OURS = frozenset({"model", "messages", "stream", "stream_options"})
"""Body fields the gateway writes itself."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-moa-hops",
    }
)


def _header_name(name: str) -> str:
    if name.lower() in _FRAMING:
        raise ValueError(f"the gateway sets the header {name.lower()} itself")
    return name.lower()


def _header_value(value: str) -> str:
    if not value.isascii() or _CONTROL.search(value) or value != value.strip():
        raise ValueError(
            "a header value is plain ASCII, without line breaks, control characters or outer spaces"
        )
    return value


def _api_key(key: SecretStr) -> SecretStr:
    _header_value(key.get_secret_value())
    return key


def _base_url(url: str) -> str:
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("an address must not hold spaces, line breaks or control characters")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        hint = "" if "://" in url else ": http:// or https:// is missing at its start"
        raise ValueError(f"expected an address such as https://api.example.com/v1{hint}")
    if "@" in parts.netloc:
        raise ValueError("an address must not hold credentials: use api_key")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("an address must not hold a query or fragment: use query")
    _ = parts.port  # raises ValueError where it is no port
    return url.rstrip("/")


def _proxy(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("expected a proxy such as http://proxy.example.com:3128")
    return url


def _free_field(name: str) -> str:
    if name in OURS:
        raise ValueError(f"the gateway writes {name} itself")
    return name


def _droppable(name: str) -> str:
    return name if name == "stream_options" else _free_field(name)


def _one_of_each(headers: object) -> object:
    """Names differ by case only in the file: one of two values would be lost without a word."""
    if isinstance(headers, dict):
        seen: set[str] = set()
        for name in headers:
            if str(name).lower() in seen:
                raise ValueError(f"the header {str(name).lower()} is there twice")
            seen.add(str(name).lower())
    return headers


HeaderName: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", max_length=128),
    AfterValidator(_header_name),
]
HeaderValue: TypeAlias = Annotated[str, AfterValidator(_header_value)]
Headers: TypeAlias = Annotated[dict[HeaderName, HeaderValue], BeforeValidator(_one_of_each)]
ApiKey: TypeAlias = Annotated[SecretStr, AfterValidator(_api_key)]
Proxy: TypeAlias = Annotated[SecretStr, AfterValidator(_proxy)]
BaseUrl: TypeAlias = Annotated[str, AfterValidator(_base_url)]
FieldName: TypeAlias = Annotated[str, StringConstraints(min_length=1), AfterValidator(_free_field)]
DroppedField: TypeAlias = Annotated[str, AfterValidator(_droppable)]
Usd: TypeAlias = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
