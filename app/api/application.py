"""Puts the HTTP side together: routes, middleware, error answers. Knows no configuration file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app import __version__
from app.access.keys import StaticKeys
from app.api.errors import handle
from app.api.middleware import ordered_middleware
from app.api.openapi import schema_of
from app.api.paths import every_address
from app.api.routes import (
    chat,
    embeddings,
    health,
    messages,
    metrics,
    models,
    responses,
    text_completions,
)
from app.errors import MoaError

DESCRIPTION = "Answers OpenAI's chat completions with graphs of many models."


def build_application(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    *,
    keys: StaticKeys,
    max_body: int,
    insecure: bool,
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
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=ordered_middleware(keys, max_body=max_body, insecure=insecure),
    )
    for kind in (MoaError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)
    app.router.routes[:0] = [
        Route(address, endpoint, methods=["POST"])
        for path, endpoint in (
            (chat.PATH, chat.ChatCompletions()),
            (text_completions.PATH, text_completions.TextCompletions()),
            (embeddings.PATH, embeddings.Embeddings()),
        )
        for address in every_address(path, by_model=True)
    ]
    app.router.routes += [
        Route(address, responses.Responses(), methods=["POST"])
        for address in every_address(responses.PATH)
    ]
    app.router.routes += [
        Route(messages.PATH, messages.Messages(), methods=["POST"]),
        Route(messages.COUNT_PATH, messages.CountTokens(), methods=["POST"]),
    ]
    for part in (models, responses, health, metrics):
        app.include_router(part.router)
    app.openapi = schema_of(app)  # type: ignore[method-assign] # FastAPI's documented way
    return app
