import asyncio
import io
import logging
from collections.abc import Iterator

import orjson
import pytest

from app.telemetry.logs import LOGGERS, set_up_logging


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = [
        (logger, logger.handlers[:], logger.level, logger.propagate)
        for logger in map(logging.getLogger, LOGGERS)
    ]
    access = logging.getLogger("uvicorn.access").disabled
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = access


def test_a_message_is_one_json_object_with_its_fields():
    out = io.StringIO()
    set_up_logging("info", "json", out)

    logging.getLogger("moa.access").info("request", extra={"fields": {"status": 200, "a": "b\nc"}})

    (line,) = out.getvalue().splitlines()
    parsed = orjson.loads(line)
    assert (parsed["level"], parsed["logger"], parsed["message"]) == (
        "info",
        "moa.access",
        "request",
    )
    assert (parsed["status"], parsed["a"]) == (200, "b\nc")


def test_a_trace_stays_within_its_json_object():
    out = io.StringIO()
    set_up_logging("info", "json", out)

    logging.getLogger("moa.error").error("bug", exc_info=ValueError("why"))

    (line,) = out.getvalue().splitlines()
    assert "ValueError: why" in orjson.loads(line)["trace"]


def test_a_value_that_is_no_json_is_logged_as_text():
    out = io.StringIO()
    set_up_logging("info", "json", out)

    logging.getLogger("moa").info("x", extra={"fields": {"path": io}})

    assert "module" in orjson.loads(out.getvalue())["path"]


def test_text_is_one_line_whatever_a_message_holds():
    out = io.StringIO()
    set_up_logging("info", "text", out)

    logging.getLogger("moa").info("one\r\nforged", extra={"fields": {"status": 200}})

    (line,) = out.getvalue().splitlines()
    assert line.endswith("INFO moa one\\r\\nforged status=200")


def test_less_serious_messages_are_left_out():
    out = io.StringIO()
    set_up_logging("warning", "json", out)

    logging.getLogger("moa").info("x")

    assert out.getvalue() == ""


def test_setting_up_twice_logs_once():
    out = io.StringIO()
    set_up_logging("info", "json", io.StringIO())
    set_up_logging("info", "json", out)

    logging.getLogger("moa").info("x")

    assert len(out.getvalue().splitlines()) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_auto_is_text_on_a_terminal_and_json_elsewhere():
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        set_up_logging("info", "auto", out)
        logging.getLogger("moa.access").info("request")

    assert terminal.getvalue().endswith("INFO moa.access request\n")
    assert orjson.loads(pipe.getvalue())["message"] == "request"


def test_nothing_that_moves_a_terminal_gets_through():
    out = io.StringIO()
    set_up_logging("info", "text", out)

    path = "/\x1b[2J\x07\x00\x7f\x9b31m\u2028\u202e\u00fc"
    logging.getLogger("moa").info("x", extra={"fields": {"path": path}})
    logging.getLogger("moa").error("bug", exc_info=ValueError("\x1b[2J"))

    text = out.getvalue()
    assert r"path=/\x1b[2J\x07\x00\x7f\x9b31m\u2028\u202e" + "\u00fc\n" in text
    assert text.endswith("ValueError: \\x1b[2J\n")


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_request_that_the_server_cut_off_itself_is_no_error_of_the_application(form):
    out = io.StringIO()
    set_up_logging("info", form, out)

    server = logging.getLogger("uvicorn")
    server.error("Exception in ASGI application", exc_info=asyncio.CancelledError())
    assert out.getvalue() == ""
    server.error("Exception in ASGI application", exc_info=ValueError())
    assert "ValueError" in out.getvalue()
