"""Process settings: what differs between two machines that run the same configuration file.

Read from `MOA_*` variables; models and graphs never go here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, IPvAnyNetwork, SecretStr, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.fields import parse_duration

PREFIX = "MOA_"
UNPREFIXED = frozenset({"database_url", "redis_url"})
"""Fields whose variables are named as everybody names them."""


def _seconds(value: object) -> object:
    """Seconds from a duration or from a plain number, which in the environment is text too."""
    if not isinstance(value, str):
        return value
    try:
        seconds = float(value)
    except ValueError:
        return parse_duration(value)
    return parse_duration(seconds)


def _comma_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    entries = tuple(entry.strip() for entry in value.split(","))
    if not all(entries):
        raise ValueError("found an empty entry")
    if len(set(entries)) < len(entries):
        raise ValueError("found an entry twice")
    return entries


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema({"x-accepted": "seconds above 0 or a duration such as 500ms, 5s, 2m or 1h"}),
]
Bytes = Annotated[
    ByteSize,
    Field(ge=1024),
    WithJsonSchema({"x-accepted": "a number of bytes or a size such as 32MiB, at least 1KiB"}),
]
KeyList = Annotated[
    tuple[SecretStr, ...],
    BeforeValidator(_comma_list),
    WithJsonSchema({"x-accepted": "different keys separated by commas"}),
]
Networks = Annotated[
    tuple[IPvAnyNetwork, ...],
    BeforeValidator(_comma_list),
    WithJsonSchema({"x-accepted": "addresses or networks such as 10.0.0.0/8, between commas"}),
]


class Settings(BaseSettings):
    """How this process runs; every field is a variable `MOA_<NAME>`, but for two addresses.

    `Settings()` reads the process environment; wrong values raise pydantic's `ValidationError`.
    Use `load_settings` for messages an operator can act on.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 lets the system choose.")
    config: Path | None = Field(
        None,
        description="Configuration file. Unset: `config/gateway.yaml` if that leaves something to "
        "serve with the provider keys that are set, else the embedded `config/local.yaml`.",
    )
    workers: int = Field(1, ge=1, le=256, description="Server processes sharing the port.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least serious message that is logged."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto",
        description="One JSON object or one readable line per message; `auto` is text on a "
        "terminal and JSON elsewhere.",
    )
    api_keys: KeyList = Field(
        (),
        description="Keys that clients may present, separated by commas. Without any the gateway "
        "is open and listens on loopback only.",
    )
    require_keys: bool = Field(
        default=False,
        description="Ask for a key although none was ever set or created. Once one was, a key is "
        "always asked for.",
    )
    key_pepper: SecretStr | None = Field(
        None,
        min_length=16,
        description="Key of the HMAC under which virtual keys are stored. Unset: their SHA-256. "
        "With another one than they were made with, no virtual key is known.",
    )
    insecure: bool = Field(
        default=False, description="Listen on other addresses than loopback although no key is set."
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses and networks of the proxies in front of this gateway, separated by "
        "commas. Only their `X-Forwarded-For` tells who the client is; unset: nobody's does.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="Where keys, teams and the books are: `sqlite+aiosqlite:////path/to/file` or "
        "`postgresql+asyncpg://…`. Unset: `moa/moa.db` in the user's data folder "
        "(`XDG_DATA_HOME`, else `~/.local/share`).",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="A Redis that all replicas share, for rate limits, caches and stored "
        "responses: `redis://…`. Unset: this process's memory.",
    )
    on_store_failure: Literal["open", "closed"] = Field(
        "closed",
        description="While the database or Redis is away: `closed` refuses what cannot be "
        "checked or reserved, and knows keys it has seen for 60 s more; `open` goes on.",
    )
    unknown_price: Literal["allow", "deny", "assume_max"] = Field(
        "allow",
        description="A call whose price nobody knows, for a key with a budget: goes on and is "
        "counted as unpriced, is refused, or is booked at the dearest price there is.",
    )
    commit_after: Seconds = Field(
        8.0,
        description="Seconds a stream's response headers are held back, so that early failures "
        "are real HTTP statuses.",
    )
    heartbeat: Seconds = Field(
        10.0, description="Seconds between signs of life in a stream that has nothing to say yet."
    )
    heartbeat_style: Literal["comment", "delta", "off"] = Field(
        "comment",
        description="The sign of life: an SSE comment, or an empty delta for clients that cannot "
        "read comments, or none.",
    )
    max_body_bytes: Bytes = Field(
        ByteSize(32 * 1024 * 1024), description="The largest request body that is read."
    )
    max_concurrent_requests: int = Field(
        1000,
        ge=1,
        description="Requests a process works on at the same time; one more is answered 503 with "
        "`retry-after` at once.",
    )
    user_hash_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="Key of the HMAC under which a client's `user` and `safety_identifier` go "
        "upstream. Unset: a random one for each start.",
    )
    drain_timeout: Seconds = Field(
        30.0, description="Seconds that running requests get to end after a stop signal."
    )
    watch_config: bool = Field(
        default=True,
        description="Whether a change of the configuration's files is taken up without a restart.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then variables; no files, and no JSON inside a variable."""
        del env_settings, dotenv_settings, file_secret_settings
        return (init_settings, _Variables(settings_cls, os.environ))

    @classmethod
    def read(cls, environ: Mapping[str, str], **overrides: object) -> Settings:
        """Settings from these variables instead of the process environment's."""
        given = InitSettingsSource(cls, init_kwargs=overrides)
        return cls(_build_sources=((given, _Variables(cls, environ)), overrides))


class _Variables(PydanticBaseSettingsSource):
    """Variables as plain text, one a field. An empty one counts as unset, except for keys."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self.environ = environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        text = self.environ.get(variable(field_name))
        empty = text == "" and field_name != "api_keys"
        return None if empty else text, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


def variable(field_name: str) -> str:
    """The name of the variable that sets a field."""
    return field_name.upper() if field_name in UNPREFIXED else PREFIX + field_name.upper()
