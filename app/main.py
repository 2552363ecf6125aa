"""The composition root: the only file that knows everybody. Settings in, application out."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from logging import getLogger

from fastapi import FastAPI
from pydantic import SecretStr

from app.access.keyring import KeyPolicy, KeyRing
from app.access.keys import StaticKeys
from app.access.pricing import cost_of_call
from app.api.application import build_application
from app.api.middleware import Load
from app.api.services import Services
from app.api.streaming import Timing
from app.config import (
    Config,
    LoadedConfig,
    Settings,
    default_config_path,
    load_config,
    load_settings,
)
from app.errors import ConfigError
from app.interfaces import Cache
from app.serving.admin import Admin
from app.serving.admission import Admission, Policy
from app.serving.chat import ChatService
from app.serving.idempotency import Repeats
from app.serving.reload import CurrentRuntime, Reloader, reload_on_hangup, watch
from app.serving.responses import ResponseService
from app.serving.runtime import Runtime, build_runtime
from app.serving.usage import UsageService
from app.store.database import default_url
from app.store.spend import StoredBooks
from app.store.teams import StoredRegister
from app.stores import Stores, background, open_stores
from app.telemetry.logs import set_up_logging
from app.telemetry.metrics import Metrics
from app.upstream.deployment import Transports, open_transports
from app.upstream.local import embedded_servers
from app.upstream.local_spec import LlamaCppSpec
from app.upstream.probe import warm_up
from app.upstream.standing import Standings

_log = getLogger("moa.start")
COLLECTOR_THRESHOLDS = (20_000, 20, 50)


def create_app(
    settings: Settings,
    *,
    runtime: Runtime | None = None,
    environ: Mapping[str, str] = os.environ,
    on_start: Callable[[], None] = lambda: None,
    heed_hangup: bool = False,
) -> FastAPI:
    """The application; its lifespan reads the configuration and raises ConfigError if it is wrong.

    A `runtime` is served as it is, and no configuration is read. Settings that name no database
    have none: nothing is booked, and there are no virtual keys. `on_start` is called when all
    is ready. `heed_hangup`: the process is ours alone, and SIGHUP means to reload.
    """
    keys = _key_ring(settings)
    metrics = Metrics(cost_of_call)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.enter_context(one_error())
            stores = await stack.enter_async_context(open_stores(settings))
            current = CurrentRuntime(runtime) if runtime else None
            if current is None:
                current, reloader = await _open(settings, environ, stack, metrics, stores)
                tasks = await stack.enter_async_context(background())
                if settings.watch_config:
                    tasks.start_soon(watch, reloader)
                if heed_hangup:
                    tasks.start_soon(reload_on_hangup, reloader)
            services = _services(settings, current, metrics, stores)
            app.state.services = await _with_records(services, settings, keys, stores, stack)
            if not keys.is_required:
                _log.warning("open mode: no key is set, whoever reaches this address may call")
            on_start()
            yield

    return build_application(
        lifespan,
        keys=keys,
        max_body=settings.max_body_bytes,
        insecure=settings.insecure,
        load=Load(settings.max_concurrent_requests, metrics.in_flight),
        proxies=settings.trusted_proxies,
    )


@contextmanager
def one_error() -> Iterator[None]:
    """Raise what broke the start as itself: the task groups that were open by then wrap it."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


def _key_ring(settings: Settings) -> KeyRing:
    static = StaticKeys(key.get_secret_value() for key in settings.api_keys)
    pepper = settings.key_pepper
    secret = pepper.get_secret_value().encode() if pepper else None
    return KeyRing(static, KeyPolicy(settings.require_keys, settings.on_store_failure, secret))


async def _with_records(
    services: Services, settings: Settings, keys: KeyRing, stores: Stores, stack: AsyncExitStack
) -> Services:
    """The services with what only a database gives: virtual keys, their keeper, their reports."""
    if stores.database is None:
        return services
    admin = await _follow_keys(StoredRegister(stores.database), keys, stores, stack)

    def can_admit() -> bool:
        needs_stores = keys.has_virtual and settings.on_store_failure == "closed"
        return stores.are_up or not needs_stores

    books = UsageService(StoredBooks(stores.database))
    return replace(services, admin=admin, usage=books, can_admit=can_admit)


async def _follow_keys(
    register: StoredRegister, keys: KeyRing, stores: Stores, stack: AsyncExitStack
) -> Admin:
    """Have virtual keys known, and changes of them told and heard of, while the stack is open."""
    await stack.enter_async_context(keys.following(register))
    tasks = await stack.enter_async_context(background())
    tasks.start_soon(stores.hear_of_keys, keys.invalidate)

    async def changed() -> None:
        await stores.tell_of_keys()
        await keys.refresh()

    return Admin(register, keys.pepper, changed)


def create_worker() -> FastAPI:
    """The application of a worker process, which finds its settings in its environment."""
    settings = load_settings(os.environ)
    set_up_logging(settings.log_level, settings.log_format)
    return create_app(with_database(settings), on_start=calm_collector, heed_hangup=True)


def with_database(settings: Settings, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings with the database of the user's data folder where they name none."""
    if settings.database_url is not None:
        return settings
    return settings.model_copy(update={"database_url": SecretStr(default_url(environ))})


def calm_collector() -> None:
    """Tell the garbage collector that what exists now stays, and to look for cycles less often.

    With its defaults it took a sixth of the CPU under load: each request makes thousands of small
    objects and hardly a cycle. For processes that are ours alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


@dataclass(frozen=True, slots=True)
class _Builder:
    """What lives as long as the process, and every runtime is built on.

    `embedded` are the servers that were started with it, `addresses` their base URLs.
    """

    transports: Transports
    embedded: Mapping[str, LlamaCppSpec]
    addresses: Mapping[str, str]
    cache: Cache
    standings: Standings = field(default_factory=Standings)

    async def __call__(self, loaded: LoadedConfig) -> Runtime:
        """Compile and connect; raises ConfigError with file and line."""
        try:
            self._refuse_unstarted(loaded.config)
            runtime = build_runtime(
                loaded.config,
                self.transports,
                self.addresses,
                standings=self.standings,
                cache=self.cache,
                created=int(time.time()),
            )
        except ConfigError as error:
            raise loaded.located(error) from None
        await warm_up(runtime.deployments)
        return runtime

    def _refuse_unstarted(self, config: Config) -> None:
        for name, spec in _embedded(config).items():
            if self.embedded.get(name) != spec:
                raise ConfigError(
                    "embedded servers are started with the gateway: restart it to add or change "
                    "one",
                    path=f"upstreams.{name}.llama_cpp",
                )


async def _open(
    settings: Settings,
    environ: Mapping[str, str],
    stack: AsyncExitStack,
    metrics: Metrics,
    stores: Stores,
) -> tuple[CurrentRuntime, Reloader]:
    loaded = load_config(settings.config or default_config_path(environ).path, environ)
    for sentence in loaded.left_out:
        _log.info(sentence)
    embedded = _embedded(loaded.config)
    addresses = await stack.enter_async_context(embedded_servers(embedded, environ=environ))
    transports = await stack.enter_async_context(open_transports())
    build = _Builder(transports, embedded, addresses, stores.proposals)
    current = CurrentRuntime(await build(loaded))
    return current, Reloader(loaded, environ, current, build, metrics.reloaded)


def _embedded(config: Config) -> dict[str, LlamaCppSpec]:
    return {name: spec.llama_cpp for name, spec in config.upstreams.items() if spec.llama_cpp}


def _services(
    settings: Settings, current: CurrentRuntime, metrics: Metrics, stores: Stores
) -> Services:
    secret = settings.user_hash_key
    policy = Policy(settings.on_store_failure, settings.unknown_price)
    chat = ChatService(
        current,
        on_end=metrics.observe,
        admission=Admission(stores.ledger, stores.limiter, policy),
        hash_key=secret.get_secret_value().encode() if secret else None,
    )
    return Services(
        chat=chat,
        responses=ResponseService(chat, stores.responses),
        runtime=current,
        timing=Timing(settings.commit_after, settings.heartbeat, settings.heartbeat_style),
        metrics=metrics.render,
        repeats=Repeats(stores.repeats),
    )
