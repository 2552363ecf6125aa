"""Requests for embeddings are run and booked like any; only models that make them take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from app.errors import InvalidRequest, ModelNotFound, UpstreamUnavailable
from app.protocol.json_types import JsonObject
from app.protocol.usage import Usage
from app.record import Outcome, Step, Target
from app.serving.embeddings import embeddings_of
from app.upstream.fake import FakeModel
from tests.serving.served import Ear, House, chat


@dataclass(eq=False)
class Vectors(FakeModel):
    """A model that makes embeddings."""

    failure: Exception | None = None
    seen: list[Mapping[str, object]] = field(default_factory=list, init=False)

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        self.seen.append(params)
        call = step.begin(Target(self.name, "fake", "fake-up"))
        step.end(call, Outcome.FAILED if self.failure else Outcome.OK, usage=Usage(7))
        if self.failure:
            raise self.failure
        return [{"object": "embedding", "index": 0, "embedding": [1.0]}]


async def test_an_embedding_is_a_run_like_any_other() -> None:
    model = Vectors("m")
    house = House({"m": model})
    run, ear = house.open(chat("m", input="a", user="ann"), asking=embeddings_of), Ear()
    await run.execute(ear)
    assert ear.answer.extras["data"][0]["embedding"] == [1.0]
    assert run.usage()["prompt_tokens"] == 7
    assert house.ended == [run.record]
    assert (run.record.model, run.record.outcome) == ("m", Outcome.OK)
    [seen] = model.seen
    assert seen["input"] == "a"
    assert len(str(seen["user"])) == 64


async def test_its_failure_is_the_runs() -> None:
    house = House({"m": Vectors("m", failure=UpstreamUnavailable("down"))})
    run = house.open(chat("m", input="a"), asking=embeddings_of)
    with pytest.raises(UpstreamUnavailable):
        await run.execute(Ear())
    assert run.record.outcome is Outcome.FAILED


def test_graphs_and_models_that_only_chat_make_none() -> None:
    graph = {"layers": [{"proposers": ["m"]}], "aggregator": "m"}
    house = House({"m": FakeModel("m")}, {"panel": graph})
    for name in ("panel", "m"):
        with pytest.raises(InvalidRequest) as caught:
            house.open(chat(name, input="a"), asking=embeddings_of)
        assert caught.value.param == "model"
    with pytest.raises(ModelNotFound):
        house.open(chat("none", input="a"), asking=embeddings_of)
    assert house.ended == []
