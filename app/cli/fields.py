"""What keys and teams can be given on the command line: options, how they are read and checked.

Whatever is read goes through the body of the admin API, so both accept the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.access.caller import Right
from app.access.windows import BudgetWindow
from app.api.admin_bodies import KeyChange, KeyWanted, NewTeam, TeamChange
from app.cli.spans import moment
from app.config.expected import expected_at
from app.errors import ConfigError

NOTHING = ("none", "never")
"""What takes a limit away."""
Given = Mapping[str, Any]
Body = type[KeyWanted] | type[KeyChange] | type[NewTeam] | type[TeamChange]


@dataclass(frozen=True, slots=True)
class Field:
    """An option for one field of a body; `read` raises ValueError for what is not accepted."""

    name: str
    flag: str
    metavar: str
    accepted: str
    help: str
    read: Callable[[str], object]
    nothing: object = None
    is_repeated: bool = False


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text.removeprefix("$"))
    except InvalidOperation:
        raise ValueError from None


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError
    return names


def _rights(text: str) -> frozenset[Right]:
    return frozenset(map(Right, _names(text)))


def _window(text: str) -> str:
    if text not in _WINDOWS:
        raise ValueError
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return int(text)


def label(text: str) -> tuple[str, str]:
    """Name and value; without a value the label is taken away."""
    name, found, value = text.partition("=")
    if not found or not name:
        raise ValueError
    return name, value


def _expiry(text: str) -> datetime:
    return moment(text, datetime.now(UTC))


_WINDOWS: tuple[BudgetWindow, ...] = ("hour", "day", "week", "month")
_NUMBER = "a whole number, or none"
_LIST = "names separated by commas, or none"
NAME = Field("name", "--name", "NAME", "another name", "Another name.", str)
LIMITS = (
    Field(
        "budget",
        "--budget",
        "USD",
        "USD such as 10 or 0.50, or none",
        "USD it may spend in each window, or none.",
        _amount,
    ),
    Field(
        "budget_window",
        "--budget-window",
        "|".join(_WINDOWS),
        f"{', '.join(_WINDOWS)}, or none",
        "When the budget starts anew, by the calendar in UTC; none: never.",
        _window,
    ),
    Field("requests_per_minute", "--rpm", "N", _NUMBER, "Requests a minute, or none.", _count),
    Field("tokens_per_minute", "--tpm", "N", _NUMBER, "Tokens a minute, or none.", _count),
    Field(
        "concurrent", "--concurrent", "N", _NUMBER, "Requests at the same time, or none.", _count
    ),
    Field(
        "models", "--models", "A,B", _LIST, "Graphs and models it may use; none: all.", _names, ()
    ),
    Field("vendors", "--vendors", "X,Y", _LIST, "Upstreams it may reach; none: all.", _names, ()),
)
OF_TEAMS = LIMITS
OF_KEYS = (
    Field("team", "--team", "TEAM", "a team's name or id, or none", "Its team, or none.", str),
    *LIMITS,
    Field(
        "rights",
        "--rights",
        "R,S",
        f"some of {', '.join(Right)}, separated by commas",
        f"What it may do: {', '.join(Right)}.",
        _rights,
        frozenset(),
    ),
    Field(
        "expires",
        "--expires",
        "90d|DATE",
        "a time from now such as 12h or 90d, a date such as 2027-01-31, or never",
        "When it stops to work: a time from now or a date (UTC), or never.",
        _expiry,
    ),
    Field(
        "labels",
        "--label",
        "K=V",
        "NAME=VALUE",
        "A label, as often as wanted; without a value it is taken away.",
        label,
        is_repeated=True,
    ),
)
FLAGS = {**{field.name: field.flag for field in (NAME, *OF_KEYS)}, "from": "--from", "to": "--to"}


def taking(fields: Sequence[Field]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a command take these options; it gets their texts, by field, as `given`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**arguments: Any) -> None:
            given = {field.name: arguments.pop(field.name) for field in fields}
            command(given=given, **arguments)

        own = inspect.signature(command, eval_str=True)
        kept = [each for each in own.parameters.values() if each.name != "given"]
        parameters = [*kept, *map(_parameter, fields)]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # PEP 362
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(field: Field) -> inspect.Parameter:
    kind: Any = list[str] | None if field.is_repeated else str | None
    option = typer.Option(field.flag, metavar=field.metavar, help=field.help)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def changes(body: Body, fields: Sequence[Field], given: Given, **known: object) -> dict[str, Any]:
    """The changes that the options ask for, checked. Raises ConfigError naming the option."""
    asked = {**known, **_read(fields, given)}
    if "budget" in asked and asked["budget"] is None:
        asked.setdefault("budget_window", None)
    try:
        return body(**asked).changes()
    except ValidationError as error:
        schema = body.model_json_schema()
        raise ConfigError(
            "\n".join(_refusal(each, schema, known) for each in error.errors())
        ) from None


def _read(fields: Sequence[Field], given: Given) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields:
        text = given.get(field.name)
        if field.is_repeated and text:
            found[field.name] = dict(_one(field, each) for each in text)
        elif text is not None and not field.is_repeated:
            found[field.name] = _one(field, text)
    return found


def _one(field: Field, text: str) -> Any:
    if text in NOTHING and field.read is not label:
        return field.nothing
    try:
        return field.read(text)
    except ValueError:
        raise ConfigError(f"{field.flag}: found {text!r}, expected {field.accepted}") from None


def _refusal(problem: Any, schema: dict[str, Any], known: Mapping[str, object]) -> str:
    name = str(problem["loc"][0])
    flag = "NAME" if name in known and name == "name" else FLAGS[name]
    wanted = expected_at(schema, (name,)) if name != "name" else _NAME_RULE
    return f"{flag}: found {_told(problem['input'])}, expected {wanted or problem['msg']}"


def _told(found: object) -> str:
    return str(found) if isinstance(found, int | float | Decimal) else repr(found)


_NAME_RULE = "1 to 100 characters, no space at either end"
LONGEST_OVERLAP = timedelta(days=30)
