"""Sets up the standard library's logging: one JSON object or one readable line per message.

Loggers are named `moa.*`; what belongs to a message but not in its text goes in
`extra={"fields": {…}}`. Prompts, answers and keys go nowhere.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

LOGGERS = ("moa", "uvicorn")


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
        line = line.replace("\n", "\\n").replace("\r", "\\r")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


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
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    # uvicorn's own access log would be a second line per request, without our ids.
    logging.getLogger("uvicorn.access").disabled = True


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields
