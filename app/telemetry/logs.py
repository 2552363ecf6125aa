"""Sets up the standard library's logging: one JSON object or one readable line per message.

Loggers are named `moa.*`; what belongs to a message but not in its text goes in
`extra={"fields": {…}}`. Prompts, answers and keys go nowhere.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

LOGGERS = ("moa", "uvicorn")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor, colours it, ends a line or turns the direction of writing."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the end of line."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextLines(logging.Formatter):
    """`12:00:00.000 INFO moa.access request status=200 …`, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a trace under it if there is one."""
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        time = _time(record)[11:23]
        line = f"{time} {record.levelname} {record.name} {record.getMessage()} {fields}".rstrip()
        trace = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n".join(_CONTROL.sub(_escaped, each) for each in (line, *trace))


def set_up_logging(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["auto", "json", "text"],
    stream: TextIO | None = None,
) -> None:
    """Send our messages and uvicorn's to `stream` (standard error); replaces an earlier set-up.

    `auto` is text for a terminal and JSON for everything else.
    """
    stream = stream or sys.stderr
    readable = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines() if readable else JsonLines())
    handler.addFilter(_is_no_cancellation)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    # uvicorn's own access log would be a second line per request, without our ids.
    logging.getLogger("uvicorn.access").disabled = True


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """The server's trace of a request that it cut off itself; the request has left its own line."""
    raised = record.exc_info[0] if record.exc_info else None
    return raised is None or not issubclass(raised, asyncio.CancelledError)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields
