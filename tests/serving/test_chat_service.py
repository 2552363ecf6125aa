"""Opening a run: names, abilities, and who asked."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from app.errors import InvalidRequest, ModelNotFound
from app.interfaces import Abilities
from app.upstream.fake import FakeModel
from tests.serving.served import Ear, House, chat

LITE = {"lite": {"layers": [{"proposers": ["a"]}], "aggregator": "b"}}


def fakes(**abilities: bool) -> dict[str, FakeModel]:
    return {"a": FakeModel("a"), "b": FakeModel("b", abilities=Abilities(**abilities))}


def test_an_unknown_model_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ModelNotFound) as caught:
        House(fakes(), LITE, {"gpt": "lite"}).open(chat("nope"))
    assert caught.value.message == ("The model 'nope' does not exist. There are: lite, a, b, gpt.")
    assert (caught.value.status, caught.value.param) == (404, "model")


def test_a_very_long_unknown_name_is_not_repeated_whole() -> None:
    with pytest.raises(ModelNotFound) as caught:
        House(fakes()).open(chat("n" * 5_000))
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(("asked", "serves"), [("gpt", "lite"), ("lite", "lite"), ("a", "a")])
def test_a_run_keeps_the_requested_name_and_records_what_serves_it(asked: str, serves: str) -> None:
    run = House(fakes(), LITE, {"gpt": "lite"}).open(chat(asked), hops=2)
    assert run.model == asked
    assert (run.record.model, run.record.run_id, run.record.hops) == (serves, "run-1", 2)


@pytest.mark.parametrize("caller", ["", "9f86d081"])
def test_a_run_records_who_asked(caller: str) -> None:
    assert House(fakes()).open(chat("a"), caller=caller).record.caller == caller


def test_runs_have_seeds_of_their_own() -> None:
    house = House(fakes())
    assert len({house.open(chat("a")).record.seed for _ in range(5)}) > 1


async def sent(house: House, model: FakeModel, **params: object) -> dict[str, object]:
    await house.open(chat(model.name, **params)).execute(Ear())
    return dict(model.calls[-1].params)


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
async def test_a_person_reaches_the_model_as_a_keyed_hash(field: str) -> None:
    models = fakes()
    found = await sent(House(models, hash_key=b"k"), models["a"], **{field: "ann@example.org"})
    assert found == {field: hmac.new(b"k", b"ann@example.org", hashlib.sha256).hexdigest()}
    assert len(str(found[field])) <= 64


async def test_one_person_has_one_hash_and_another_person_another() -> None:
    models = fakes()
    house = House(models, hash_key=None)
    ann = await sent(house, models["a"], user="ann")
    assert await sent(house, models["a"], user="ann") == ann
    assert await sent(house, models["a"], user="bob") != ann


async def test_without_a_key_each_process_hashes_differently() -> None:
    models = fakes()
    one, two = House(models, hash_key=None), House(models, hash_key=None)
    assert await sent(one, models["a"], user="ann") != await sent(two, models["a"], user="ann")


async def test_no_proposer_learns_of_a_person_and_the_output_node_the_hash_alone() -> None:
    models = fakes()
    house = House(models, LITE)
    await house.open(chat("lite", user="ann", safety_identifier="ann")).execute(Ear())
    assert models["a"].calls[0].params == {}
    assert set(models["b"].calls[0].params) == {"user", "safety_identifier"}
    assert "ann" not in str(models["b"].calls[0].params)


async def test_other_fields_and_nulls_reach_the_model_as_they_came() -> None:
    models = fakes()
    params: dict[str, object] = {"user": None, "metadata": {"user": "ann"}, "x_own": [1]}
    assert await sent(House(models), models["a"], **params) == params


def test_the_clients_own_parameters_are_never_changed() -> None:
    call = chat("a", user="ann")
    House(fakes()).open(call)
    assert call.request.params == {"user": "ann"}


@pytest.mark.parametrize("name", ["b", "lite"])
@pytest.mark.parametrize("field", ["tools", "functions"])
def test_tools_are_refused_where_the_answering_model_cannot_use_them(name: str, field: str) -> None:
    house = House(fakes(tools=False), LITE)
    with pytest.raises(InvalidRequest) as caught:
        house.open(chat(name, **{field: [{"type": "function"}]}))
    assert (caught.value.status, caught.value.param) == (400, field)


def test_a_json_schema_is_refused_where_the_answering_model_cannot_keep_to_one() -> None:
    house = House(fakes(json_schema=False), LITE)
    with pytest.raises(InvalidRequest) as caught:
        house.open(chat("lite", response_format={"type": "json_schema", "json_schema": {}}))
    assert caught.value.param == "response_format"


@pytest.mark.parametrize(
    "params",
    [
        {"tools": []},
        {"tools": None},
        {"response_format": None},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}},
    ],
)
def test_a_model_of_few_abilities_is_still_asked_what_it_can(params: dict[str, object]) -> None:
    House(fakes(tools=False, json_schema=False)).open(chat("b", **params))


def test_what_a_proposer_cannot_do_does_not_matter() -> None:
    models = {"a": FakeModel("a", abilities=Abilities(tools=False)), "b": FakeModel("b")}
    House(models, LITE).open(chat("lite", tools=[{"type": "function"}]))


def test_a_refused_call_leaves_no_record_behind() -> None:
    house = House(fakes())
    with pytest.raises(ModelNotFound):
        house.open(chat("nope"))
    assert house.ended == []
