"""The lists of the documentation say what the code says: no word more, none less."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal

from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app import errors
from app.access.keyring import KeyRing
from app.access.keys import StaticKeys
from app.api.application import build_application
from app.errors import GraphFailed, MoaError, UpstreamRejected
from app.protocol.usage import Usage
from app.record import Degradation, Outcome, RunRecord, Step, Target
from app.telemetry.metrics import Metrics
from tests.docs.pages import ROOT, listed, rows

SOURCES = sorted((ROOT / "app").rglob("*.py"))


def error_classes() -> list[type[MoaError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, MoaError)
    ]


def noted() -> Iterator[str]:
    """The first argument of every `….note(…)` in the code."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="note"), args=[ast.Constant(value=what), *_]):
                    yield str(what)
                case ast.Call(func=ast.Attribute(attr="note")):
                    raise AssertionError(f"{source}:{node.lineno}: a note that is no plain word")


def test_every_package_has_its_one_line_in_the_architecture() -> None:
    app = ROOT / "app"
    packages = [f"app/{init.parent.relative_to(app)}/" for init in app.glob("*/**/__init__.py")]
    modules = [f"app/{file.name}" for file in app.glob("*.py") if file.name != "__init__.py"]
    assert sorted(listed("docs/architecture.md", "packages")) == sorted([*packages, *modules])


def test_every_file_named_in_the_architecture_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    names = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|json|md))`", text))
    assert len(names) > 10
    missing = [n for n in names if not (ROOT / n).exists() and not (ROOT / "app" / n).exists()]
    assert missing == []


def test_the_glossary_lists_every_outcome() -> None:
    assert listed("docs/glossary.md", "outcomes") == list(Outcome)


def test_the_glossary_lists_every_degradation_reason() -> None:
    assert listed("docs/glossary.md", "degradations") == list(Degradation)


def test_the_glossary_lists_every_note() -> None:
    in_the_first_column = [row[0].strip("`") for row in rows("docs/glossary.md", "notes")]
    assert sorted(in_the_first_column) == sorted(set(noted()))


def test_the_glossary_lists_every_error_kind() -> None:
    kinds = {error.kind for error in error_classes()}
    assert sorted(listed("docs/glossary.md", "kinds")) == sorted(kinds)


def test_the_api_lists_every_error_code_under_its_status() -> None:
    told = {
        (row[0], code.strip("` "))
        for row in rows("docs/api.md", "errors")
        for code in row[1].split(",")
    }
    for error in error_classes():
        if error.code is not None:
            assert error.code in {code for _, code in told}, error.__name__
        if error.code is not None and error not in {UpstreamRejected, GraphFailed}:
            assert (str(error.status), error.code) in told, error.__name__


def test_the_api_lists_every_header_of_ours() -> None:
    page = (ROOT / "docs/api.md").read_text()
    used = {h for source in SOURCES for h in re.findall(r"\bx-moa-[a-z-]+", source.read_text())}
    assert {"x-moa-run-id", "x-moa-hops"} <= used
    assert [header for header in used if f"`{header}`" not in page] == []


def test_the_api_lists_every_address() -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = build_application(lifespan, keys=KeyRing(StaticKeys(())), max_body=1024, insecure=False)
    page = (ROOT / "docs/api.md").read_text()
    addresses = [
        f"{method.upper()} {path}".replace("{name}", "{id}")
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]
    assert "POST /v1/chat/completions" in addresses
    assert [address for address in addresses if f"`{address}`" not in page] == []


def test_operations_lists_every_metric_with_its_labels() -> None:
    told = {
        row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1]))
        for row in rows("docs/operations.md", "metrics")
    }
    assert told == measured()


def measured() -> dict[str, set[str]]:
    """Every metric and its labels, from runs in which everything happens that is counted."""
    metrics = Metrics(lambda call: None if call.node == "unpriced" else Decimal(1))
    run = RunRecord("run", "graph", clock=lambda: 0.0)
    run.degrade(Degradation.FALLBACK)
    for node, outcome in (("unpriced", Outcome.OK), ("priced", Outcome.FAILED)):
        step = Step(run, "graph", node=node)
        call = step.begin(Target("model", "upstream", "id"))
        call.first_token = 0.0
        step.end(call, outcome, usage=Usage(1, 1))
    run.close(Outcome.OK)
    metrics.observe(run)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                name = family.name + ("_total" if family.type == "counter" else "")
                found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found
