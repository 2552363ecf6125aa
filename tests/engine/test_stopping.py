from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.engine.stopping import StopSpec, read_verdict
from app.errors import ConfigError, UpstreamUnavailable
from app.upstream.fake import FakeModel, Script
from app.upstream.fake_embedding import FakeEmbedder
from tests.engine.graphs import Asked, build, run

DOWN = UpstreamUnavailable("Upstream 'x' cannot be reached.")


class Panel:
    """Two layers of the same proposers, the first with a gate, and an aggregator."""

    def __init__(self, *answers: Any, stop: Any, output: Any = None, **more: Any) -> None:
        self.first = {f"a{at}": FakeModel(f"a{at}", text) for at, text in enumerate(answers)}
        self.second = FakeModel("b", "Second thoughts.")
        self.agg = FakeModel("agg", "Done.")
        models = {**self.first, "b": self.second, "agg": self.agg, **more.pop("models", {})}
        layer = {"proposers": list(self.first), "stop": stop, **more}
        spec = {"layers": [layer, {"nodes": {"b": {"model": "b"}}}], "shuffle": False}
        spec["output"] = {"model": "agg", **(output or {})}
        self.graph = build({"moa": spec}, models)["moa"]

    async def run(self) -> Asked:
        return await run(self.graph)

    @property
    def went_on(self) -> bool:
        return bool(self.second.calls)

    @property
    def shown(self) -> str:
        return str(self.agg.calls[0].messages[-1]["content"])


async def test_when_all_say_the_same_the_other_layers_are_skipped_and_that_is_said() -> None:
    panel = Panel("**It is 42.**", "it is  42", stop={"when": "exact"})
    asked = await panel.run()
    assert not panel.went_on
    assert asked.text == "Done."
    assert asked.notes("stopped_early") == ["layer 1"]
    assert [note.detail for note in asked.record.notes if note.what == "stopped_early"] == ["exact"]


async def test_stopping_early_is_no_degradation() -> None:
    panel = Panel("42", "42", stop={"when": "exact"})
    assert (await panel.run()).record.degraded == []


async def test_the_output_works_on_the_references_of_the_layer_that_agreed() -> None:
    panel = Panel("It is 42.", "It is 42", stop={"when": "exact"})
    await panel.run()
    assert "It is 42." in panel.shown
    assert panel.shown.count("=== end of Response") == 2


async def test_inputs_of_the_output_that_were_skipped_are_simply_missing() -> None:
    panel = Panel("42", "42", stop={"when": "exact"}, output={"inputs": ["b", "a0"]})
    asked = await panel.run()
    assert asked.text == "Done."
    assert panel.shown.count("=== end of Response") == 2


async def test_when_one_dissents_the_next_layer_runs() -> None:
    panel = Panel("42", "42", "43", stop={"when": "exact"})
    asked = await panel.run()
    assert panel.went_on
    assert asked.notes("stopped_early") == []
    assert "Second thoughts." in panel.shown


@pytest.mark.parametrize("answers", [("42",), ("42", DOWN), ("42", "I'm sorry, I can't help.")])
async def test_one_answer_alone_is_no_agreement(answers: tuple[Any, ...]) -> None:
    panel = Panel(*answers, stop={"when": "exact"})
    await panel.run()
    assert panel.went_on


@pytest.mark.parametrize(("threshold", "stops"), [(0.5, True), (0.95, False)])
async def test_ngrams_agree_from_the_threshold_on(threshold: float, *, stops: bool) -> None:
    one = "the red fox jumps over the dog"
    panel = Panel(one, f"{one} again", stop={"when": "ngram", "threshold": threshold})
    await panel.run()
    assert panel.went_on is not stops


async def test_the_least_alike_two_decide_not_the_mean() -> None:
    same = "the red fox jumps over the dog"
    stop = {"when": "ngram", "threshold": 0.5}
    panel = Panel(*[same] * 6, "nobody has ever seen one", stop=stop)
    await panel.run()
    assert panel.went_on


async def test_embeddings_agree_from_the_threshold_on() -> None:
    embedder = FakeEmbedder("emb")
    stop = {"when": "embedding", "model": "emb", "threshold": 0.9}
    panel = Panel("a red fox", "fox red a", stop=stop, models={"emb": embedder})
    asked = await panel.run()
    assert not panel.went_on
    [call] = [call for call in asked.record.calls if call.target.model == "emb"]
    assert call.node == "layer 1 stop"


async def test_without_embeddings_the_panel_goes_on_and_that_is_said() -> None:
    embedder = FakeEmbedder("emb", failure=DOWN)
    stop = {"when": "embedding", "model": "emb"}
    panel = Panel("same", "same", stop=stop, models={"emb": embedder})
    asked = await panel.run()
    assert panel.went_on
    assert asked.notes("stop_unclear") == ["layer 1 stop"]


@pytest.mark.parametrize(("says", "stops"), [("Yes.", True), ("**No**, they differ.", False)])
async def test_a_judge_decides(says: str, *, stops: bool) -> None:
    judge = FakeModel("judge", says)
    stop = {"when": "judge", "model": "judge"}
    panel = Panel("Paris", "It is Paris", stop=stop, models={"judge": judge})
    asked = await panel.run()
    assert panel.went_on is not stops
    assert asked.notes("stop_unclear") == []
    question = str(judge.calls[0].messages[-1]["content"])
    assert "It is Paris" in question
    assert "yes or no" in question.splitlines()[-1]


@pytest.mark.parametrize("answer", ["Perhaps.", "yes or no", "Yesterday it was.", DOWN, ""])
async def test_an_unclear_or_failing_judge_lets_the_panel_go_on(answer: Any) -> None:
    judge = FakeModel("judge", answer)
    stop = {"when": "judge", "model": "judge"}
    panel = Panel("Paris", "Paris", stop=stop, models={"judge": judge})
    asked = await panel.run()
    assert panel.went_on
    assert asked.notes("stop_unclear") == ["layer 1 stop"]


async def test_a_slow_judge_is_waited_for_no_longer_than_the_layer() -> None:
    judge = FakeModel("judge", Script(hang=True))
    stop = {"when": "judge", "model": "judge"}
    panel = Panel("Paris", "Paris", stop=stop, models={"judge": judge}, deadline=0.2)
    asked = await panel.run()
    assert panel.went_on
    assert judge.calls[0].cancelled
    assert asked.notes("stop_unclear") == ["layer 1 stop"]


async def test_outliers_are_dropped_before_agreement_is_looked_for() -> None:
    same = "the red fox jumps over the dog"
    stop = {"when": "exact"}
    panel = Panel(same, same, "cheese of Normandy", stop=stop, filter="cluster")
    asked = await panel.run()
    assert not panel.went_on
    assert asked.notes("outlier_dropped") == ["a2"]
    assert "Normandy" not in panel.shown


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("yes", True),
        ("Yes, they do.", True),
        ("**Yes**", True),
        ("Answer: no", False),
        ('"No."', False),
        ("yes/no", None),
        ("Yes and no.", None),
        ("Not really", None),
        ("They agree.", None),
        ("", None),
    ],
)
def test_a_verdict_is_the_first_word(text: str, *, verdict: bool | None) -> None:
    assert read_verdict(text) is verdict


@pytest.mark.parametrize(
    "wrong",
    [
        {"when": "judge"},
        {"when": "embedding"},
        {"when": "exact", "model": "m"},
        {"when": "exact", "threshold": 0.5},
        {"when": "ngram", "threshold": 0},
        {},
    ],
)
def test_a_gate_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StopSpec.model_validate(wrong)


def test_a_gate_with_nothing_to_skip_is_refused() -> None:
    models = {"a": FakeModel("a"), "agg": FakeModel("agg")}
    layers = [{"proposers": ["a", "a"], "stop": {"when": "exact"}}]
    with pytest.raises(ConfigError) as caught:
        build({"moa": {"layers": layers, "aggregator": "agg"}}, models)
    assert caught.value.path == "graphs.moa.layers[0].stop"
