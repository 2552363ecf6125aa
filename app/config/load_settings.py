"""Settings from the environment, with refusals and warnings an operator can act on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.config.expected import expected_at
from app.config.problems import found
from app.config.settings import PREFIX, Settings, variable
from app.errors import ConfigError


def load_settings(environ: Mapping[str, str], **overrides: object) -> Settings:
    """Settings from `MOA_*` variables; `overrides` (a command line's flags) win.

    Raises ConfigError naming every variable with a wrong value, what was found (never for
    secrets) and what is accepted.
    """
    try:
        return Settings.read(environ, **overrides)
    except ValidationError as error:
        lines = [_line(detail, environ, overrides) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def unknown_settings(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each `MOA_*` variable that is no setting: most likely a misspelt one."""
    known = {variable(name) for name in Settings.model_fields}
    strange = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return tuple(_warning(name, known) for name in strange)


def _warning(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{name} is no setting and has no effect{hint}"


def _line(detail: ErrorDetails, environ: Mapping[str, str], overrides: Mapping[str, object]) -> str:
    name = str(detail["loc"][0])
    if name not in Settings.model_fields:
        return f"{name}: unknown setting, accepted: {', '.join(Settings.model_fields)}"
    source = f"--{name.replace('_', '-')}" if name in overrides else variable(name)
    wanted = expected_at(Settings.model_json_schema(), (name,)) or detail["msg"]
    value = overrides.get(name, environ.get(variable(name)))
    what = _found_secretly(detail) if _is_secret(name) else found(value)
    return f"{source}: {what}, expected {wanted}"


def _found_secretly(detail: ErrorDetails) -> str:
    sentence = detail["msg"].removeprefix("Value error, ")
    return sentence if sentence.startswith("found") else "found something else"


def _is_secret(name: str) -> bool:
    return "SecretStr" in repr(Settings.model_fields[name].annotation)
