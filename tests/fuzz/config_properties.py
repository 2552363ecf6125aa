"""What holds for every configuration file: it loads, or one ConfigError says where and why."""

from pathlib import Path

from app.config import load_config
from app.errors import ConfigError

SECRETS = {
    "SHORT_SECRET": "Qk7'zP\\w",
    "SECRET_AROUND": "Qk7'zP\\w-and-more",
    "LONG_SECRET": "Sec'ret\"" + "0123456789" * 9 + "the-end",
    "LINES_SECRET": "first\"line\nsecond'line\tend",
}
ENVIRON = {**SECRETS, "UNSET": " "}
_SHOWN = 6


def check(data: bytes, folder: Path) -> ConfigError | None:
    """The refusal, if it was refused: with the file, as text, and without a secret in it."""
    file = folder / "main.yaml"
    file.write_bytes(data)
    try:
        load_config(file, ENVIRON)
    except ConfigError as refusal:
        text = str(refusal)
        assert text.encode()
        assert str(file) in text
        assert not leaks(text), f"{leaks(text)} in {text}"
        return refusal
    return None


def leaks(text: str) -> list[str]:
    """The variables of whose values a part can be read, at either end."""
    return [
        name
        for name, value in SECRETS.items()
        for form in (value, repr(value)[1:-1])
        if form[: _SHOWN + 2] in text or form[-_SHOWN:] in text
    ]
