"""What all commands share of the terminal: its two consoles, and how an ending becomes a code.

Everything printed is plain text to rich: no markup is read in names, paths or answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from app.errors import ConfigError, MoaError, StoreUnavailable

EXIT_FAILED = 1
"""The command ran and came to nothing."""
EXIT_REFUSED = 2
"""What the operator gave is wrong: a flag, a setting, the configuration."""
EXIT_INTERRUPTED = 130
"""Ctrl-C: 128 and the number of SIGINT, as shells have it."""


def stdout() -> Console:
    """Where results go."""
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True)


def stderr() -> Console:
    """Where progress and complaints go."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


@contextmanager
def endings() -> Iterator[None]:
    """Turn errors that an operator can understand into a message on stderr and an exit code."""
    try:
        yield
    except ConfigError as error:
        complain(error.message)
        raise typer.Exit(EXIT_REFUSED) from None
    except StoreUnavailable as error:
        complain(error.message + _why(error.__cause__))
        raise typer.Exit(EXIT_FAILED) from None
    except MoaError as error:
        complain(error.message.replace("\n", " "))
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _why(cause: BaseException | None) -> str:
    """The server's or the system's own words; of what a library says about a statement nothing."""
    cause = getattr(cause, "orig", None) or cause
    if isinstance(cause, OSError | sqlite3.Error) or hasattr(cause, "sqlstate"):
        return f" ({' '.join(str(cause).split())})"
    return ""


def complain(message: str) -> None:
    """Say on stderr what went wrong."""
    stderr().print(f"moa: {message}", style="red")
