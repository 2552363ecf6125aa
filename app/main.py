"""The composition root: the only file that knows everybody. Settings in, application out."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from logging import getLogger

from fastapi import FastAPI

from app.access.keys import StaticKeys
from app.access.pricing import cost_of_call
from app.api.application import build_application
from app.api.services import Services
from app.api.streaming import Timing
from app.config import Settings, default_config_path, load_config, load_settings
from app.errors import ConfigError
from app.serving.chat import ChatService
from app.serving.idempotency import Repeats
from app.serving.responses import ResponseService
from app.serving.runtime import Runtime, build_runtime
from app.store.memory import MemoryCache
from app.telemetry.logs import set_up_logging
from app.telemetry.metrics import Metrics
from app.upstream.deployment import Deployment, open_transports
from app.upstream.local import embedded_servers
from app.upstream.probe import warm_up

_log = getLogger("moa.start")
COLLECTOR_THRESHOLDS = (20_000, 20, 50)


def create_app(
    settings: Settings,
    *,
    runtime: Runtime | None = None,
    environ: Mapping[str, str] = os.environ,
    on_start: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application; its lifespan reads the configuration and raises ConfigError if it is wrong.

    A `runtime` is served as it is, and no configuration is read. `on_start` is called when all
    is ready.
    """
    keys = StaticKeys(key.get_secret_value() for key in settings.api_keys)
    metrics = Metrics(cost_of_call)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            serving = runtime or await _build(settings, environ, stack)
            app.state.services = _services(settings, serving, metrics)
            if not keys:
                _log.warning("open mode: no key is set, whoever reaches this address may call")
            on_start()
            yield

    return build_application(
        lifespan, keys=keys, max_body=settings.max_body_bytes, insecure=settings.insecure
    )


def create_worker() -> FastAPI:
    """The application of a worker process, which finds its settings in its environment."""
    settings = load_settings(os.environ)
    set_up_logging(settings.log_level, settings.log_format)
    return create_app(settings, on_start=calm_collector)


def calm_collector() -> None:
    """Tell the garbage collector that what exists now stays, and to look for cycles less often.

    With its defaults it took a sixth of the CPU under load: each request makes thousands of small
    objects and hardly a cycle. For processes that are ours alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def _build(settings: Settings, environ: Mapping[str, str], stack: AsyncExitStack) -> Runtime:
    loaded = load_config(settings.config or default_config_path(environ).path, environ)
    for sentence in loaded.left_out:
        _log.info(sentence)
    upstreams = loaded.config.upstreams
    embedded = {name: spec.llama_cpp for name, spec in upstreams.items() if spec.llama_cpp}
    addresses = await stack.enter_async_context(embedded_servers(embedded, environ=environ))
    transports = await stack.enter_async_context(open_transports())
    try:
        runtime = build_runtime(loaded.config, transports, addresses, created=int(time.time()))
    except ConfigError as error:
        raise loaded.located(error) from None
    models = (each.model for each in runtime.served.values())
    await warm_up(model for model in models if isinstance(model, Deployment))
    return runtime


def _services(settings: Settings, runtime: Runtime, metrics: Metrics) -> Services:
    secret = settings.user_hash_key
    chat = ChatService(
        lambda: runtime,
        on_end=metrics.observe,
        hash_key=secret.get_secret_value().encode() if secret else None,
    )
    return Services(
        chat=chat,
        responses=ResponseService(chat, MemoryCache(time.monotonic)),
        runtime=lambda: runtime,
        timing=Timing(settings.commit_after, settings.heartbeat, settings.heartbeat_style),
        metrics=metrics.render,
        repeats=Repeats(MemoryCache(time.monotonic)),
    )
