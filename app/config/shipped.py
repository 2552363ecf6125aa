"""The configuration files that come with the gateway, and which of them serves by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.config.load import load_config
from app.config.problems import NothingToServe
from app.errors import ConfigError

PROVIDERS = "gateway.yaml"
EMBEDDED = "local.yaml"


@dataclass(frozen=True, slots=True)
class DefaultConfig:
    """The file that serves when none is named; `reason` is one sentence for the log."""

    path: Path
    reason: str


def default_config_path(environ: Mapping[str, str], folder: Path = Path("config")) -> DefaultConfig:
    """`gateway.yaml` if it leaves something to serve, else the embedded `local.yaml`.

    Both are looked for in `folder`, then where the gateway is installed. Raises ConfigError if
    `gateway.yaml` is wrong in any other way, or if neither file is there.
    """
    providers = _find(PROVIDERS, folder)
    reason = f"there is no {folder / PROVIDERS}"
    if providers is not None:
        try:
            loaded = load_config(providers, environ)
        except NothingToServe as nothing:
            reason = nothing.message
            if nothing.variables:
                reason = f"no provider variable is set ({', '.join(nothing.variables)})"
        else:
            names = ", ".join(loaded.config.upstreams)
            return DefaultConfig(
                providers, f"Serving {providers}: it has what it needs for {names}."
            )
    embedded = _find(EMBEDDED, folder)
    if embedded is None:
        raise ConfigError(
            f"neither {folder / PROVIDERS} nor {folder / EMBEDDED} is there: use --config FILE"
        )
    return DefaultConfig(embedded, f"Serving {embedded}, the embedded model, because {reason}.")


def _find(name: str, folder: Path) -> Path | None:
    package = Path(__file__).parent
    places = (folder, package / "shipped", package.parents[1] / "config")
    return next((place / name for place in places if (place / name).is_file()), None)
