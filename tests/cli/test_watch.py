"""What is shown of a run, from records made by hand."""

from __future__ import annotations

import io

from rich.console import Console

from app.cli.watch import LiveTable, PlainLines, table
from app.protocol.usage import Usage
from app.record import CallRecord, Outcome, RunRecord, Step, Target


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A record whose calls begin and end at the moments a test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.record = RunRecord("run-1", "moa", self.clock)

    def begin(self, node: str, *, at: float, sample: int = 0, graph: str = "moa") -> CallRecord:
        self.clock.now = at
        step = Step(self.record, graph, 1, node, sample, is_output=node == "output")
        return step.begin(Target("smollm2", "local", "smollm2-135m"))

    def end(self, call: CallRecord, outcome: Outcome, *, at: float, **result: object) -> None:
        self.clock.now = at
        Step(self.record).end(call, outcome, **result)  # type: ignore[arg-type]


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=100, markup=False, highlight=False), out


def drawn(run: Run) -> list[str]:
    console, out = plain()
    console.print(table(run.record, run.record.calls))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_the_table_has_a_row_for_each_call_with_its_state() -> None:
    run = Run()
    good, bad, late = (run.begin(name, at=1.0) for name in ("good", "bad", "late"))
    run.begin("slow", at=2.0)
    run.end(good, Outcome.OK, at=2.5, usage=Usage(10, 20))
    run.end(bad, Outcome.FAILED, at=3.0, error_kind="upstream_timeout")
    run.end(late, Outcome.CANCELLED, at=3.0, usage=Usage(10, 3, estimated=True))
    run.clock.now = 6.0
    assert drawn(run) == [
        "✓ layer 1 good smollm2 1.5 s 20 tokens",
        "✗ layer 1 bad smollm2 2.0 s upstream_timeout",
        "- layer 1 late smollm2 2.0 s about 3 tokens",
        "● layer 1 slow smollm2 4.0 s",
    ]


def test_samples_have_numbers_and_nested_nodes_their_path() -> None:
    run = Run()
    run.begin("twice", at=0.0)
    run.begin("twice", at=0.0, sample=1)
    run.begin("leaf", at=0.0, graph="moa/critic/inner")
    assert [line.split()[3] for line in drawn(run)] == ["twice#1", "twice#2", "critic/inner/leaf"]


def test_plain_lines_tell_each_beginning_and_each_ending_once() -> None:
    run, (console, out) = Run(), plain()
    lines = PlainLines(console)
    first = run.begin("a", at=0.0)
    lines.look(run.record)
    run.end(first, Outcome.OK, at=1.0, usage=Usage(1, 2))
    second = run.begin("b", at=1.0)
    run.end(second, Outcome.FAILED, at=1.5, error_kind="upstream_empty")
    lines.look(run.record)
    lines.look(run.record)
    lines.end(run.record)
    assert out.getvalue().splitlines() == [
        "layer 1, a: asking smollm2",
        "layer 1, a: ok 2 tokens after 1.0 s",
        "layer 1, b: asking smollm2",
        "layer 1, b: failed upstream_empty after 0.5 s",
    ]


def test_the_live_table_ends_without_the_answers_own_call_and_gives_the_cursor_back() -> None:
    run, out = Run(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, legacy_windows=False)
    with LiveTable(console) as live:
        run.begin("proposer", at=0.0)
        live.look(run.record)
        run.begin("output", at=1.0)
        live.end(run.record)
        shown = len(out.getvalue())
        live.look(run.record)
        live.end(run.record)
        assert len(out.getvalue()) == shown
    written = out.getvalue()
    assert "proposer" in written
    assert "output" not in written
    assert written.endswith("\x1b[?25h")
