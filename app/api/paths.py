"""The path that decides which route is taken, and the paths open to everybody."""

from __future__ import annotations

from starlette._utils import get_route_path
from starlette.routing import Match
from starlette.types import Scope

POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
METRICS_PATH = "/metrics"
MESSAGES_PATH = "/v1/messages"
"""What is here and below speaks Anthropic's API, in its errors too."""


def route_path(scope: Scope) -> str:
    """The path as the router sees it: a guard that looked at another one could be walked around."""
    return get_route_path(scope)


def allowed_methods(scope: Scope) -> str:
    """What `Allow` says of an address (RFC 9110 §10.2.1): the methods of all routes it has."""
    routes = scope["app"].router.routes
    found = [
        method
        for method in ("GET", "POST", "PATCH", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ", ".join(found).replace("GET", "GET, HEAD")  # wherever GET is answered, HEAD is


def model_in_path(scope: Scope) -> str | None:
    """The model that the address names, as Azure's do; None where the body has to."""
    found: str | None = scope.get("path_params", {}).get("model")
    return found


def every_address(path: str, *, by_model: bool = False) -> tuple[str, ...]:
    """A path under `/v1` and the other addresses it has: bare, and `by_model` Azure's.

    Azure: https://learn.microsoft.com/azure/ai-services/openai/reference. Its `api-version` is not
    read.
    """
    bare = path.removeprefix("/v1")
    azure = (f"/openai/deployments/{{model:path}}{bare}",) if by_model else ()
    return (path, bare, *azure)


def speaks_anthropic(scope: Scope) -> bool:
    """Whether this address is one of Anthropic's API."""
    path = route_path(scope)
    return path == MESSAGES_PATH or path.startswith(f"{MESSAGES_PATH}/")
