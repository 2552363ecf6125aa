"""`moa ask`: one question to a graph in this process, without a server."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio
import orjson
import typer
from rich.console import Console

from app.access.pricing import cost_of_run
from app.cli.estimate import dollars
from app.cli.opening import choose, compiled, embedded, load, opened
from app.cli.terminal import EXIT_REFUSED, complain, endings, stderr, stdout
from app.cli.watch import LiveTable, PlainLines, Silent, Watcher, watch
from app.config import LoadedConfig, load_settings
from app.errors import GraphFailed, MoaError
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest, Conversation
from app.protocol.json_types import JsonObject
from app.protocol.request import ChatCall, Wishes
from app.record import RunRecord
from app.serving.chat import ChatRun, ChatService
from app.serving.runtime import Runtime

_KEPT_CONTROLS = "\n\t"
_DELETED = dict.fromkeys(
    code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _KEPT_CONTROLS
)


def ask(
    question: Annotated[str, typer.Argument(help="The question; `-` reads it from stdin.")],
    *,
    graph: Annotated[
        str | None,
        typer.Option("--graph", "-g", help="A graph or model; by default the first graph."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="A system message.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print answer, usage and run as JSON.")
    ] = False,
) -> None:
    """Ask a graph, watch its proposers at work, read the answer as it is written."""
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        complain("the question is empty")
        raise typer.Exit(EXIT_REFUSED)
    with endings():
        loaded = load(choose(config, load_settings(os.environ).config).path)
        if embedded(loaded.config):
            stderr().print("starting the embedded model …", style="dim")
        anyio.run(_ask, _Question(text, system, graph, as_json=as_json), loaded)


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    system: str | None
    graph: str | None
    as_json: bool

    def call(self, runtime: Runtime) -> ChatCall:
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = (*system, {"role": "user", "content": self.text})
        return ChatCall(
            model=self.graph or next(iter(runtime.served)),
            request=ChatRequest(Conversation(messages), stream=not self.as_json),
            include_usage=True,
            wishes=Wishes(include=("run",), progress="off"),
        )


async def _ask(question: _Question, loaded: LoadedConfig) -> None:
    if question.graph is not None:
        (await compiled(loaded)).resolve(question.graph)  # a wrong name costs no waiting
    async with opened(loaded) as runtime:
        service = ChatService(lambda: runtime, on_end=_keep_nothing)
        run = service.open(question.call(runtime), run_id=f"run-{secrets.token_hex(6)}")
        with _watcher(question) as watcher:
            writer = _Writer(run.record, watcher, None if question.as_json else stdout())
            await _run(run, writer, watcher)
    if question.as_json:
        stdout().out(orjson.dumps(_to_json(run, writer.answer)).decode())
    else:
        stderr().print(_bill(run.record), style="dim")


def _keep_nothing(record: RunRecord) -> None:
    del record


async def _run(run: ChatRun, writer: _Writer, watcher: Watcher) -> None:
    failure: MoaError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(watch, run.record, watcher)
        try:
            await run.execute(writer)
        except MoaError as error:
            failure = error
        finally:
            writer.end()
        group.cancel_scope.cancel()
    # Raised out here, since a task group would wrap it in an ExceptionGroup.
    if failure is not None:
        for line in _causes(failure):
            stderr().print(line, style="dim")
        raise failure


def _causes(failure: MoaError, place: str = "") -> Iterator[str]:
    """`node: detail`, what clients are never told; an upstream's own words stay on one line."""
    if isinstance(failure, GraphFailed):
        for each in failure.failures:
            yield from _causes(each.error, f"{place}{'/' if place else ''}{each.node}")
    elif failure.detail:
        detail = " ".join(failure.detail.split()).translate(_DELETED)
        yield f"{place}: {detail}" if place else detail


@contextmanager
def _watcher(question: _Question) -> Iterator[Watcher]:
    console = stderr()
    if question.as_json:
        yield Silent()
    elif console.is_terminal and stdout().is_terminal:
        with LiveTable(console) as live:
            yield live
    else:
        yield PlainLines(console)


class _Writer:
    """Takes the answer in and, if there is a console, writes its text as it comes."""

    def __init__(self, record: RunRecord, watcher: Watcher, console: Console | None) -> None:
        self.answer = Answer()
        self._record, self._watcher, self._console = record, watcher, console
        self._last, self._is_writing = "\n", False

    async def __call__(self, batch: Batch) -> None:
        """The run's `Emit`."""
        self.answer.add(batch)
        text = _text(batch)
        if not text or self._console is None:
            return
        if not self._is_writing:
            self._is_writing = True
            self._watcher.end(self._record)
        # A model's text must not move the cursor or set the title of somebody's terminal.
        shown = text.translate(_DELETED) if self._console.is_terminal else text
        self._console.file.write(shown)
        self._console.file.flush()
        self._last = text[-1]

    def end(self) -> None:
        """End the last line of the answer, then show the last state of the run."""
        if self._last != "\n" and self._console is not None:
            self._console.file.write("\n")
            self._console.file.flush()
        self._watcher.end(self._record)


def _text(batch: Batch) -> str:
    """The text for the reader in these chunks: content, or a refusal in its place."""
    deltas = (
        choice.get("delta") or {}
        for chunk in batch
        for choice in chunk.choices
        if not choice.get("index")
    )
    return "".join(
        value
        for delta in deltas
        for name in ("content", "refusal")
        if isinstance(value := delta.get(name), str)
    )


def _bill(record: RunRecord) -> str:
    usage, seconds = record.usage(), (record.ended or record.clock()) - record.started
    parts = [
        f"{usage.prompt} + {usage.completion} tokens",
        f"cost {dollars(cost_of_run(record))}",
        f"{seconds:.1f} s",
    ]
    if record.degraded:
        parts.append(f"degraded: {', '.join(record.degraded)}")
    return " · ".join(parts)


def _to_json(run: ChatRun, answer: Answer) -> JsonObject:
    return {
        "model": run.model,
        "answer": answer.text(),
        "usage": run.usage(),
        "moa": run.extension(),
    }
