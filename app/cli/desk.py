"""Where commands on keys, teams and money do their work: the use cases of the admin API.

They are opened on the database that a server of the same settings uses, which may run meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio

from app.cli.fields import FLAGS
from app.cli.terminal import endings
from app.config import Settings, load_settings
from app.errors import ConfigError, InvalidRequest, NotRegistered
from app.main import one_error, with_database
from app.serving.admin import Admin
from app.serving.usage import UsageService
from app.store.database import Database, open_database, parse_url
from app.store.migrate import ensure_schema
from app.store.redis import open_redis
from app.store.spend import StoredBooks
from app.store.teams import StoredRegister
from app.stores import KEYS_CHANNEL, background

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """What an administrator works with."""

    admin: Admin
    usage: UsageService


def at_desk(task: Callable[[Desk], Awaitable[T]]) -> T:
    """What comes of a task; errors become a message and an exit code."""

    async def run() -> T:
        with one_error():
            async with _opened(load_settings(os.environ)) as desk:
                return await task(desk)

    with endings(), _in_words_of_the_command_line():
        return anyio.run(run)


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """The database that a server with these settings uses, whatever tables it has.

    Raises ConfigError.
    """
    url = with_database(settings).database_url
    if url is None:
        raise ConfigError("DATABASE_URL names no database")
    async with open_database(url.get_secret_value()) as database:
        yield database


def database_shown(settings: Settings) -> str:
    """Where the database is, without the password."""
    url = with_database(settings).database_url
    return parse_url(url.get_secret_value()).render_as_string(hide_password=True) if url else ""


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened_database(settings))
        await ensure_schema(database)
        tell = await stack.enter_async_context(_telling(settings))
        pepper = settings.key_pepper
        secret = pepper.get_secret_value().encode() if pepper else None
        yield Desk(
            Admin(StoredRegister(database), secret, tell), UsageService(StoredBooks(database))
        )


@asynccontextmanager
async def _telling(settings: Settings) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """How servers hear at once that something has changed; without Redis they see it by polling."""
    if settings.redis_url is None:
        yield anyio.lowlevel.checkpoint
        return
    async with (
        background() as tasks,
        open_redis(settings.redis_url.get_secret_value(), tasks) as redis,
    ):
        yield lambda: redis.events.tell(KEYS_CHANNEL, b"changed")


@contextmanager
def _in_words_of_the_command_line() -> Iterator[None]:
    """Name options where the API names fields, and commands where it names addresses."""
    try:
        yield
    except InvalidRequest as error:
        words = error.message
        if error.param is not None:
            words = f"{FLAGS[error.param]}: {words.removeprefix(f'{error.param}: ')}"
        raise ConfigError(words) from None
    except NotRegistered as error:
        kind = "team" if "team" in error.message else "key"
        raise NotRegistered(
            f"{error.message}: give a name or an id that `moa {kind}s list` shows"
        ) from None
