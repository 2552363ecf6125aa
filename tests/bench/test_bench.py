"""The bench measures what it says: the same graphs for all, whole answers only."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import load_config
from app.engine.compile import compile_graphs
from app.engine.measure import expected_calls
from app.upstream.fake import FakeModel
from app.upstream.fake_reply import Reply
from app.upstream.fake_server import FakeUpstream
from bench.load import drive, hold_open, request_bytes
from bench.report import Target
from bench.workload import GRAPHS, POOLS, gateway_config


def port_of(upstream: FakeUpstream) -> int:
    return int(upstream.base_url.split(":")[2].removesuffix("/v1"))


def test_the_gateway_runs_the_same_graphs_as_the_others(tmp_path: Path) -> None:
    file = tmp_path / "bench.yaml"
    file.write_text(gateway_config("http://127.0.0.1:1/v1"))
    config = load_config(file, {}).config
    compiled = compile_graphs(config.graphs, {name: FakeModel(name) for name in config.models})
    for name, graph in GRAPHS.items():
        calls = sum(len(layer) for layer in graph.layers) + 1
        assert expected_calls(compiled[name].graph) == calls
        assert config.models[compiled[name].graph.output.models[0].name].model == graph.aggregator
    assert {name: config.models[name].model for name in POOLS} == POOLS


@pytest.mark.parametrize("streamed", [True, False])
async def test_every_answer_is_counted_with_its_events(
    fake_upstream: FakeUpstream, streamed: object
) -> None:
    port = port_of(fake_upstream)
    request = request_bytes(port, "any?tokens=3&joined=false", stream=bool(streamed), key="k")
    result = await drive(port, request, concurrency=2, count=5)
    assert len(result.latencies) == len(fake_upstream.log.entries) == 5
    assert result.events == (5 * 4 if streamed else 0)
    assert fake_upstream.log.entries[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("model", ["any?status=500", "any?then=end&after=1", "any?then=cut"])
async def test_what_is_no_whole_answer_stops_the_bench(
    fake_upstream: FakeUpstream, model: str
) -> None:
    port = port_of(fake_upstream)
    with pytest.raises(ExceptionGroup) as failed:
        await drive(port, request_bytes(port, model, stream=True), concurrency=1, count=1)
    assert failed.group_contains((RuntimeError, ConnectionError))


async def test_streams_are_held_open_until_they_are_closed(fake_upstream: FakeUpstream) -> None:
    fake_upstream.replies["held"] = Reply(then="hang", after=1)
    port = port_of(fake_upstream)
    held = await hold_open(port, request_bytes(port, "held", stream=True), 3)
    assert [asked.ending for asked in fake_upstream.log.entries] == ["open"] * 3
    for transport in held:
        transport.close()
    await fake_upstream.log.reached(lambda log: all(asked.ending == "aborted" for asked in log))


@pytest.mark.parametrize(("value", "verdict"), [(1, "reach"), (2, "hit"), (3, "MISS")])
def test_a_target_has_a_limit_and_a_reach(value: float, verdict: str) -> None:
    assert Target("a", value, limit=2, reach=1, unit="ms").verdict == verdict
