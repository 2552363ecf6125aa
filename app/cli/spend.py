"""`moa spend`: what was spent, by key, team, graph and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, TypeAlias, get_args

import orjson
import typer

from app.access.register import GroupBy, Period, Spent
from app.api.usage_bodies import spend_csv, spend_told
from app.cli.desk import Desk, at_desk
from app.cli.owners import show_rows, usd
from app.cli.spans import day
from app.cli.terminal import endings, stdout
from app.errors import ConfigError

GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
FORMATS = ("table", "json", "csv")
NOBODY: Mapping[GroupBy, str] = {
    "key": "(static keys, open mode)",
    "team": "(no team)",
    "graph": "(unknown)",
    "model": "(unknown)",
}
Report: TypeAlias = Mapping[GroupBy, Sequence[Spent]]


def spend(
    *,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First day, UTC; the month's.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Last day, UTC; today.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="|".join(GROUPS), help="One table instead of all four."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="How it is printed.")
    ] = "table",
) -> None:
    """Show what was spent, this month unless days are given; the dearest come first."""
    with endings():
        days = _day("--from", first), _day("--to", last)
        groups = GROUPS if by is None else tuple(each for each in GROUPS if each == by)
        if not groups:
            raise ConfigError(f"--by: found {by!r}, expected {', '.join(GROUPS)}")
        if form not in FORMATS:
            raise ConfigError(f"--format: found {form!r}, expected {', '.join(FORMATS)}")

    async def look(desk: Desk) -> tuple[Period, Report]:
        period = desk.usage.period(*days)
        return period, {each: await desk.usage.report(period, each) for each in groups}

    period, report = at_desk(look)
    {"table": _show_tables, "json": _show_json, "csv": _show_csv}[form](period, report)


def _day(flag: str, text: str | None) -> date | None:
    try:
        return None if text is None else day(text)
    except ValueError:
        raise ConfigError(f"{flag}: found {text!r}, expected a day such as 2027-01-31") from None


def _show_tables(period: Period, report: Report) -> None:
    stdout().print(f"from {period.first} to {period.last}, in UTC", style="dim")
    for by, lines in report.items():
        stdout().print()
        rows = [_row(line.name or NOBODY[by], line) for line in lines]
        show_rows(_HEAD[by], [*rows, _row("total", _total(lines))], right=1)


_HEAD = {by: (by.upper(), "CALLS", "TOKENS IN", "OUT", "CACHED", "COST") for by in GROUPS}


def _row(name: str, line: Spent) -> tuple[str, ...]:
    counts = (line.calls, line.tokens_in, line.tokens_out, line.tokens_cached)
    return (name, *map(str, counts), usd(line.cost))


def _total(lines: Sequence[Spent]) -> Spent:
    return Spent(
        "",
        "",
        sum(line.calls for line in lines),
        sum(line.tokens_in for line in lines),
        sum(line.tokens_out for line in lines),
        sum(line.tokens_cached for line in lines),
        sum(line.cost for line in lines),
    )


def _show_json(period: Period, report: Report) -> None:
    told = {
        by: spend_told(period, by, lines).model_dump(mode="json", by_alias=True)
        for by, lines in report.items()
    }
    value = next(iter(told.values())) if len(told) == 1 else told
    stdout().out(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _show_csv(period: Period, report: Report) -> None:
    """One table after the other, with an empty line between them."""
    del period
    typer.echo("\r\n".join(spend_csv(by, lines) for by, lines in report.items()), nl=False)
