"""The root of the exception tree, and what stops a start."""

from __future__ import annotations

from typing import ClassVar


class MoaError(Exception):
    """Root of the tree.

    `message` is safe for clients, `detail` is for logs only, `param` names the request field at
    fault, `retry_after` is in seconds, `should_retry` tells SDKs (`x-should-retry`) whether a
    second try can help; None leaves it to the status. `kind` is the closed vocabulary of metrics.
    """

    status: int = 500
    type: str = "server_error"
    code: str | None = None
    retry_after: float | None = None
    should_retry: bool | None = None
    kind: ClassVar[str] = "moa_internal"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else type(self).code
        self.detail = detail
        if retry_after is not None:
            self.retry_after = retry_after
        if should_retry is not None:
            self.should_retry = should_retry


class ConfigError(MoaError):
    """A configuration that cannot be served: where, what was found, what is accepted."""

    kind = "moa_config"

    def __init__(self, message: str, *, file: str | None = None, path: str | None = None) -> None:
        self.file = file
        self.path = path
        where = ": ".join(part for part in (file, path) if part)
        super().__init__(f"{where}: {message}" if where else message)
