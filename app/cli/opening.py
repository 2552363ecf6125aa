"""From a configuration file to a runtime in this process; how a server opens one is `app.main`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from app.config import Config, DefaultConfig, LoadedConfig, default_config_path, load_config
from app.errors import ConfigError
from app.serving.runtime import Runtime, build_runtime
from app.upstream.deployment import Transports, open_transports
from app.upstream.local import embedded_servers
from app.upstream.local_spec import LlamaCppSpec

_NOT_STARTED = "http://127.0.0.1:9/v1"
"""Stands for an embedded server's address where nothing will be asked (port 9: discard)."""


def choose(flag: Path | None, setting: Path | None) -> DefaultConfig:
    """The configuration file and why it is this one; raises ConfigError if there is none."""
    if flag is not None:
        return DefaultConfig(flag, "Named on the command line.")
    if setting is not None:
        return DefaultConfig(setting, "Named by MOA_CONFIG.")
    return default_config_path(os.environ)


def load(path: Path) -> LoadedConfig:
    """Read and check a file against this process's environment; raises ConfigError."""
    return load_config(path, os.environ)


def embedded(config: Config) -> dict[str, LlamaCppSpec]:
    """The upstreams the gateway itself has to start."""
    return {name: spec.llama_cpp for name, spec in config.upstreams.items() if spec.llama_cpp}


async def compiled(loaded: LoadedConfig) -> Runtime:
    """What the file comes to, to look at: nothing is started, no connection is opened.

    Raises ConfigError with file, line and path.
    """
    addresses = dict.fromkeys(embedded(loaded.config), _NOT_STARTED)
    async with open_transports() as transports:
        return _build(loaded, transports, addresses)


@asynccontextmanager
async def opened(loaded: LoadedConfig) -> AsyncIterator[Runtime]:
    """A runtime that answers, with its embedded servers running; raises ConfigError."""
    async with (
        embedded_servers(embedded(loaded.config)) as addresses,
        open_transports() as transports,
    ):
        yield _build(loaded, transports, addresses)


def _build(loaded: LoadedConfig, transports: Transports, addresses: Mapping[str, str]) -> Runtime:
    try:
        return build_runtime(loaded.config, transports, addresses)
    except ConfigError as error:
        raise loaded.located(error) from None
