"""Puts the HTTP side together: routes, middleware, error answers. Knows no configuration file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from app import __version__
from app.access.caller import Right
from app.access.keyring import KeyRing
from app.api.errors import handle
from app.api.middleware import ANY_LOAD, Load, ordered_middleware
from app.api.middleware.proxies import Network
from app.api.openapi import schema_of
from app.api.paths import every_address
from app.api.rights import Anyone, NeedingRoute
from app.api.routes import (
    admin_keys,
    admin_spend,
    admin_teams,
    chat,
    embeddings,
    health,
    messages,
    metrics,
    models,
    responses,
    text_completions,
    usage,
)
from app.errors import MoaError

DESCRIPTION = "Answers OpenAI's chat completions with graphs of many models."


def build_application(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    *,
    keys: KeyRing,
    max_body: int,
    insecure: bool,
    load: Load = ANY_LOAD,
    proxies: Sequence[Network] = (),
) -> FastAPI:
    """The application; its lifespan sets `app.state.services`. `max_body` is in bytes.

    There is no page of API docs, since FastAPI's loads its scripts from elsewhere; the schema is
    at `/openapi.json`.
    """
    app = FastAPI(
        title="MoA Gateway",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=ordered_middleware(
            keys, max_body=max_body, insecure=insecure, load=load, proxies=proxies
        ),
    )
    for kind in (MoaError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)
    app.router.routes += _routes(app)
    app.openapi = schema_of(app)  # type: ignore[method-assign] # FastAPI's documented way
    return app


def _routes(app: FastAPI) -> list[BaseRoute]:
    """Every address, with what it needs; what is asked for most comes first."""

    async def openapi(request: Request) -> JSONResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        servers = {"servers": [{"url": root}]} if root else {}
        return JSONResponse({**app.openapi(), **servers})

    by_model: dict[str, ASGIApp] = {
        chat.PATH: chat.ChatCompletions(),
        text_completions.PATH: text_completions.TextCompletions(),
        embeddings.PATH: embeddings.Embeddings(),
    }
    plain: dict[str, ASGIApp] = {
        **{address: responses.Responses() for address in every_address(responses.PATH)},
        messages.PATH: messages.Messages(),
        messages.COUNT_PATH: messages.CountTokens(),
    }
    own = [
        *(
            _post(address, endpoint)
            for path, endpoint in by_model.items()
            for address in every_address(path, by_model=True)
        ),
        *(_post(address, endpoint) for address, endpoint in plain.items()),
        NeedingRoute("/openapi.json", openapi, need=Anyone.WITH_KEY, methods=["GET"]),
    ]
    parts = (models, responses, usage, health, metrics, admin_keys, admin_teams, admin_spend)
    # Not `include_router`, which would hide the routes, and what they need, behind another.
    return [*own, *(route for part in parts for route in part.router.routes)]


def _post(address: str, endpoint: ASGIApp) -> NeedingRoute:
    return NeedingRoute(address, endpoint, need=Right.CALL, methods=["POST"])
