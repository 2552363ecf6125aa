"""Everything that can go wrong with an upstream, as `app.errors`; translated here and nowhere else.

A client reads the operator's name of the upstream and our own words. What the upstream wrote goes
into `detail`, for logs, with our secrets struck out; of its `code` and `param` only values from
the lists below go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import orjson

from app.errors import (
    UpstreamConnectTimeout,
    UpstreamDenied,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.protocol.completion import error_in
from app.protocol.json_types import JsonObject
from app.protocol.nesting import is_too_deep
from app.upstream.error_words import (
    CODES,
    CONTEXT_CODE,
    FIELDS,
    NO_MONEY,
    REASONS,
    STATUS_BY_WORD,
    TELLS_CONTEXT,
    TELLS_TEMPLATE,
)
from app.upstream.transport import (
    ConnectTimeout,
    ReadTimeout,
    Refused,
    TransportError,
    Unreadable,
)

MAX_DETAIL = 2_000
_MAX_RETRY_AFTER = 86_400.0
_REDIRECTS = range(300, 400)
_FAULTS = range(500, 600)
_IN_BAND = frozenset(str(status) for status in range(400, 600))
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_PARAM = re.compile(r"([A-Za-z_]{1,40})(?:[.\[][A-Za-z0-9_.\[\]]{0,60})?")

Header = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class ErrorTranslator:
    """Speaks of one upstream by its configured name; `secrets` never appear in what it says."""

    upstream: str
    secrets: tuple[str, ...] = ()

    def transport(self, error: TransportError, *, answering: bool) -> UpstreamError:
        """A broken connection; `answering`: a good status had come, so an answer was cut."""
        detail = self._detail(str(error))
        if isinstance(error, ConnectTimeout):
            return UpstreamConnectTimeout(self._says("could not be reached in time"), detail=detail)
        if isinstance(error, ReadTimeout):
            return self.silent(detail)
        if isinstance(error, Refused):
            what = "is at an address that the gateway does not connect to"
            return UpstreamUnavailable(self._says(what), should_retry=False, detail=detail)
        if answering:
            return UpstreamMalformed(self._says("broke off in the middle"), detail=detail)
        if isinstance(error, Unreadable):
            return UpstreamMalformed(self._says("does not speak HTTP"), detail=detail)
        return UpstreamUnavailable(self._says("could not be reached"), detail=detail)

    def silent(self, detail: str | None = None) -> UpstreamTimeout:
        """No token in time, or none after the last one."""
        return UpstreamTimeout(self._says("was silent for too long"), detail=detail)

    def malformed(self, what: str, head: bytes = b"") -> UpstreamMalformed:
        """An answer that is none; `what` completes "Upstream 'x' …"."""
        return _quoting(UpstreamMalformed(self._says(what), detail=self._detail(head)))

    def status(self, status: int, header: Header, body: bytes) -> UpstreamError:
        """An answer with a status other than success; `body` may be cut."""
        error = _error_object(body)
        detail = self._detail(b"HTTP %d: %b" % (status, body))
        wait = retry_after(header, datetime.now(UTC))
        return _quoting(self._judge(status, error, detail, wait))

    def inside(self, error: JsonObject) -> UpstreamError:
        """An error object in an answer whose status had promised success."""
        detail = self._detail(b"in the answer: " + orjson.dumps(error))
        return _quoting(self._judge(_status_of(error), error, detail, None))

    def _judge(
        self, status: int, error: JsonObject, detail: str, retry: float | None
    ) -> UpstreamError:
        text = f"{error.get('code')} {error.get('type')} {error.get('message')}"
        if status in {400, 413, 422} or (status in _FAULTS and TELLS_TEMPLATE.search(text)):
            return self._rejected(status, error, text, detail)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            no_money = bool(NO_MONEY.search(text))
            return UpstreamRateLimited(
                self._says("has no quota left" if no_money else "limits our rate"),
                retry_after=retry,
                should_retry=False if no_money else None,
                detail=detail,
            )
        if status in {401, 403}:
            return UpstreamDenied(
                self._says("refused the gateway's credentials"), should_retry=False, detail=detail
            )
        if status in {408, 504, 524}:
            return UpstreamTimeout(self._says("took too long, it says"), detail=detail)
        return self._unavailable(status, detail, retry)

    def _rejected(self, status: int, error: JsonObject, text: str, detail: str) -> UpstreamRejected:
        code = _known_code(error, text)
        return UpstreamRejected(
            self._says(REASONS.get(code or "", "refused the request as sent")),
            status=int(HTTPStatus.BAD_REQUEST) if status in _FAULTS else status,
            code=code,
            param=_known_param(error.get("param")),
            detail=detail,
        )

    def _unavailable(self, status: int, detail: str, retry: float | None) -> UpstreamUnavailable:
        """404 is no 404 of the client's: the operator's address or model id is wrong."""
        if status in _REDIRECTS:
            what = "answered with a redirect, and redirects are not followed"
        elif status == HTTPStatus.NOT_FOUND:
            what = "does not know the configured model or address"
        else:
            what = f"answered with status {status}"
        permanent = status in {501, 508} or (status not in _FAULTS and status not in {409, 425})
        return UpstreamUnavailable(
            self._says(what),
            retry_after=retry,
            should_retry=False if permanent else None,
            detail=detail,
        )

    def _says(self, what: str) -> str:
        return f"Upstream '{self.upstream}' {what}."

    def _detail(self, text: str | bytes) -> str:
        if isinstance(text, bytes):
            text = text[: 2 * MAX_DETAIL].decode("utf-8", "replace")
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:MAX_DETAIL]


_Error = TypeVar("_Error", bound=UpstreamError)


def _quoting(error: _Error) -> _Error:
    error.quotes = True
    return error


def retry_after(header: Header, now: datetime) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or an HTTP date).

    RFC 9110, 10.2.3; the first is OpenAI's. Never negative, a day at most, None if unreadable.
    """
    milliseconds = (header("retry-after-ms") or "").strip()
    if _SECONDS.fullmatch(milliseconds):
        return min(float(milliseconds) / 1000, _MAX_RETRY_AFTER)
    value = (header("retry-after") or "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), _MAX_RETRY_AFTER)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    seconds = (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)


def _error_object(body: bytes) -> JsonObject:
    """The error in a body of any shape (`{"error": …}`, `[{"error": …}]`, bare); {} if none."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body[:MAX_DETAIL].decode("utf-8", "replace")}
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict) or is_too_deep(body, parsed):
        return {}
    return error_in(parsed) or parsed


def _status_of(error: JsonObject) -> int:
    """The status an error object means: a number in `code` or `status`, else a known word."""
    for name in ("code", "status", "status_code"):
        value = error.get(name)
        if str(value) in _IN_BAND:
            return int(str(value))
    for name in ("code", "type"):
        status = STATUS_BY_WORD.get(str(error.get(name)).lower())
        if status is not None:
            return status
    return 500


def _known_code(error: JsonObject, text: str) -> str | None:
    if TELLS_CONTEXT.search(text):
        return CONTEXT_CODE
    code = error.get("code")
    return code if isinstance(code, str) and code in CODES else None


def _known_param(param: object) -> str | None:
    match = _PARAM.fullmatch(param) if isinstance(param, str) else None
    return match[0] if match and match[1] in FIELDS else None
