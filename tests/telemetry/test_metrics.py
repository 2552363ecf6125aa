import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from app.protocol.usage import Usage
from app.record import CallRecord, Outcome, RunRecord, Step, Target
from app.telemetry.metrics import Metrics, overhead

PRICE = Decimal("0.25")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def a_call(
    run: RunRecord,
    started: float,
    ended: float | None,
    *,
    node: str = "n",
    outcome: Outcome = Outcome.OK,
    kind: str | None = None,
    usage: Usage | None = None,
) -> CallRecord:
    call = Step(run, "g", node=node).begin(Target("pool", "up", "up/model"))
    call.started, call.ended, call.outcome = started, ended, outcome
    call.error_kind, call.usage = kind, usage
    return call


def a_run(
    seconds: float = 4.0, outcome: Outcome = Outcome.OK, kind: str | None = None
) -> RunRecord:
    clock = Clock()
    run = RunRecord("r", "g", clock)
    clock.now = seconds
    run.close(outcome, kind)
    return run


def lines(
    *runs: RunRecord, cost: Callable[[CallRecord], Decimal | None] = lambda _: PRICE
) -> set[str]:
    metrics = Metrics(cost)
    for run in runs:
        metrics.observe(run)
    return set(metrics.render().decode().splitlines())


def test_a_run_counts_once_with_its_ending():
    runs = a_run(), a_run(), a_run(outcome=Outcome.FAILED, kind="upstream_timeout")
    for run in runs:
        a_call(run, 0, 4).first_token = 2.0
    text = lines(*runs)

    assert 'moa_requests_total{graph="g",outcome="ok"} 2.0' in text
    assert 'moa_requests_total{graph="g",outcome="upstream_timeout"} 1.0' in text
    assert 'moa_request_seconds_sum{graph="g"} 12.0' in text
    assert 'moa_time_to_first_token_seconds_sum{graph="g"} 6.0' in text


def test_a_run_without_a_token_has_no_time_to_the_first():
    run = a_run()
    a_call(run, 0, 4)

    assert not [line for line in lines(run) if "first_token_seconds_count" in line]


def test_calls_are_counted_by_node_model_and_outcome():
    run = a_run()
    a_call(run, 0, 1.5, node="a")
    a_call(run, 0, 2, node="b", outcome=Outcome.FAILED, kind="upstream_timeout")
    a_call(run, 0, 1, node="c", outcome=Outcome.CANCELLED)

    text = lines(run)

    assert 'moa_node_seconds_sum{graph="g",model="pool",node="a",outcome="ok"} 1.5' in text
    assert 'moa_upstream_errors_total{kind="upstream_timeout",upstream="up"} 1.0' in text
    assert len([line for line in text if line.startswith("moa_upstream_errors_total")]) == 1


def test_billed_tokens_and_cost_are_added_up():
    run = a_run()
    a_call(run, 0, 1, usage=Usage(prompt=10, completion=3, cached=4))
    a_call(run, 1, 2, usage=Usage(prompt=1, completion=1), outcome=Outcome.CANCELLED)
    a_call(run, 1, 2, outcome=Outcome.FAILED, kind="other")

    text = lines(run)

    assert 'moa_tokens_total{kind="prompt",model="pool"} 11.0' in text
    assert 'moa_tokens_total{kind="completion",model="pool"} 4.0' in text
    assert 'moa_tokens_total{kind="cached",model="pool"} 4.0' in text
    assert not [line for line in text if 'kind="reasoning"' in line]
    assert 'moa_cost_usd_total{model="pool"} 0.5' in text


def test_an_unknown_price_is_counted_and_is_not_zero():
    run = a_run()
    a_call(run, 0, 1, usage=Usage(1, 1))

    text = lines(run, cost=lambda _: None)

    assert 'moa_unpriced_calls_total{model="pool"} 1.0' in text
    assert not [line for line in text if line.startswith("moa_cost_usd_total{")]


def test_each_reason_of_degradation_is_counted():
    run = a_run()
    run.degrade("quorum_missed")

    assert 'moa_degraded_total{graph="g",reason="quorum_missed"} 1.0' in lines(run)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], 4.0),
        ([(0.0, 4.0)], 0.0),
        ([(0.5, 2.0), (1.0, 1.5), (2.5, 4.0)], 1.0),
        ([(2.5, 4.0), (0.5, 2.0)], 1.0),
        ([(1.0, None)], 1.0),
        ([(1.0, 9.0)], 1.0),
    ],
)
def test_overhead_is_the_time_no_upstream_was_waited_for(
    calls: list[tuple[float, float | None]], expected: float
):
    run = a_run()
    for started, ended in calls:
        a_call(run, started, ended)

    assert overhead(run, 4.0) == pytest.approx(expected)


def test_two_servers_in_one_process_have_metrics_of_their_own():
    one, other = Metrics(lambda _: None), Metrics(lambda _: None)

    one.observe(a_run())

    assert b'graph="g"' in one.render()
    assert b'graph="g"' not in other.render()


def test_worker_processes_are_added_up(tmp_path: Path):
    program = """
from app.record import Outcome, RunRecord
from app.telemetry.metrics import Metrics
metrics, run = Metrics(lambda _: None), RunRecord("r", "g", lambda: 0.0)
run.close(Outcome.OK)
metrics.observe(run)
print(metrics.render().decode())
"""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    outputs = [
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program], env=environ, capture_output=True, check=True, text=True
        ).stdout
        for _ in range(2)
    ]

    assert 'moa_requests_total{graph="g",outcome="ok"} 2.0' in outputs[1]
