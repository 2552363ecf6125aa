"""Responses over a store: chains, references, what is kept and for whom."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest, MoaError, ResponseNotFound, UpstreamRejected
from app.protocol.chat import Batch
from app.protocol.json_types import JsonObject
from app.protocol.responses.request import parse_response_call
from app.serving import kept_responses
from app.serving.kept_responses import KEPT_FOR
from app.serving.responses import ResponseService
from app.store.memory import MemoryCache
from app.upstream.fake import Answer, FakeModel, Script
from tests.serving.served import Ear, House

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


class Office:
    """A service for responses, its model, its store and the time."""

    def __init__(self, answer: Answer = "Alpha.") -> None:
        self.model, self.time = FakeModel("m", answer), 0.0
        self.store = MemoryCache(lambda: self.time)
        self.service = ResponseService(
            House({"m": self.model}).service, self.store, now=lambda: 1_700_000_000.0
        )
        self._runs = 0

    async def ask(self, *, caller: str = "one", **fields: Any) -> JsonObject:
        """One whole answer."""
        self._runs += 1
        call = parse_response_call(orjson.dumps({"model": "m", "input": "Why?", **fields}))
        run = await self.service.open(call, run_id=f"{self._runs:024x}", caller=caller)
        ear = Ear()

        async def emit(batch: Batch) -> None:
            run.events.encode(batch)
            await ear(batch)

        await run.execute(emit)
        return run.whole(ear.answer, run.usage(), run.extension())

    def heard(self) -> list[tuple[str, object]]:
        """What the model was asked last."""
        messages = self.model.calls[-1].messages
        return [(message["role"], message["content"]) for message in messages]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_stored_as_it_was_told(stream: bool) -> None:  # noqa: FBT001 - a case
    office = Office()
    told = await office.ask(stream=stream)
    assert await office.service.find("one", told["id"]) == told
    assert told["output"][0]["content"][0]["text"] == "Alpha."


async def test_a_conversation_goes_on_from_a_response() -> None:
    office = Office()
    first = await office.ask(input="Why?")
    second = await office.ask(input="And how?", previous_response_id=first["id"])
    await office.ask(input="And when?", previous_response_id=second["id"])
    assert office.heard() == [
        ("user", "Why?"),
        ("assistant", "Alpha."),
        ("user", "And how?"),
        ("assistant", "Alpha."),
        ("user", "And when?"),
    ]


async def test_instructions_are_not_taken_over() -> None:
    office = Office()
    first = await office.ask(instructions="Be brief.")
    await office.ask(instructions="Be long.", previous_response_id=first["id"])
    assert [content for role, content in office.heard() if role == "system"] == ["Be long."]


async def test_a_function_is_called_and_its_result_sent_alone() -> None:
    office = Office(Script("", tool_calls=(CALL,)))
    first = await office.ask()
    result = {"type": "function_call_output", "call_id": "c1", "output": "4"}
    await office.ask(input=[result], previous_response_id=first["id"])
    user, call, answer = office.model.calls[-1].messages
    assert user["role"] == "user"
    assert call["tool_calls"] == [CALL]
    assert answer == {"role": "tool", "tool_call_id": "c1", "content": "4"}


async def test_a_stored_item_may_be_referred_to() -> None:
    office = Office()
    first = await office.ask()
    (said,) = first["output"]
    await office.ask(input=[{"id": said["id"]}, {"role": "user", "content": "And?"}])
    assert office.heard() == [("assistant", "Alpha."), ("user", "And?")]


@pytest.mark.parametrize("item_id", ["msg_" + "0" * 24 + "_0", "", "x", "msg_" + "0" * 23 + "1_7"])
async def test_a_reference_to_nothing_is_refused(item_id: str) -> None:
    office = Office()
    await office.ask()
    with pytest.raises(InvalidRequest) as caught:
        await office.ask(input=[{"type": "item_reference", "id": item_id}])
    assert caught.value.param == "input[0].id"


async def test_an_item_referred_to_twice_is_refused() -> None:
    office = Office()
    reference = {"type": "item_reference", "id": (await office.ask())["output"][0]["id"]}
    with pytest.raises(InvalidRequest) as caught:
        await office.ask(input=[reference, {"role": "user", "content": "?"}, reference])
    assert caught.value.param == "input[2].id"


async def test_a_turn_is_read_once_for_all_references_to_it() -> None:
    office = Office()
    told = await office.ask(input=[{"role": "user", "content": str(n)} for n in range(50)])
    reads, get = [], office.store.get

    async def counted(key: str) -> bytes | None:
        reads.append(key)
        return await get(key)

    office.store.get = counted  # type: ignore[method-assign] # to count
    run_id = told["id"].removeprefix("resp_")
    await office.ask(input=[{"id": f"msg_{run_id}_in{n}"} for n in range(50)])
    assert [content for _, content in office.heard()] == [str(n) for n in range(50)]
    assert len(reads) == 1


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "content": "x"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "output": [1]},
        {"type": "function_call_output", "call_id": "c", "output": "4", "content": [{}]},
        {"type": "reasoning", "content": [1], "output": [{}]},
        {"role": "user", "content": "Why?", "output": [None]},
    ],
)
async def test_a_field_that_an_item_does_not_have_may_be_anything(item: JsonObject) -> None:
    office = Office()
    told = await office.ask(input=[{"role": "user", "content": "Hi"}, item])
    assert len(await office.service.items("one", told["id"])) == 2


async def test_nothing_is_kept_that_is_not_to_be_stored() -> None:
    office = Office()
    told = await office.ask(store=False)
    assert len(office.store) == 0
    with pytest.raises(ResponseNotFound):
        await office.service.find("one", told["id"])
    with pytest.raises(InvalidRequest) as caught:
        await office.ask(previous_response_id=told["id"])
    assert caught.value.code == "previous_response_not_found"


async def test_nobody_reads_deletes_or_goes_on_from_anothers() -> None:
    office = Office()
    told = await office.ask(caller="one")
    for attempt in (office.service.find, office.service.forget, office.service.items):
        with pytest.raises(ResponseNotFound):
            await attempt("two", told["id"])
    with pytest.raises(InvalidRequest):
        await office.ask(caller="two", previous_response_id=told["id"])
    with pytest.raises(InvalidRequest):
        await office.ask(caller="two", input=[{"id": told["output"][0]["id"]}])
    assert await office.service.find("one", told["id"]) == told


async def test_a_deleted_turn_ends_what_goes_on_from_it() -> None:
    office = Office()
    first = await office.ask()
    second = await office.ask(previous_response_id=first["id"])
    await office.service.forget("one", first["id"])
    with pytest.raises(ResponseNotFound):
        await office.service.find("one", first["id"])
    with pytest.raises(ResponseNotFound):
        await office.service.forget("one", first["id"])
    with pytest.raises(InvalidRequest) as caught:
        await office.ask(previous_response_id=second["id"])
    assert caught.value.param == "previous_response_id"


async def test_responses_are_kept_for_thirty_days() -> None:
    office = Office()
    told = await office.ask()
    office.time = KEPT_FOR - 1
    assert await office.service.find("one", told["id"]) == told
    office.time = KEPT_FOR
    with pytest.raises(ResponseNotFound):
        await office.service.find("one", told["id"])


async def test_a_conversation_may_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_responses, "MAX_TURNS", 2)
    office = Office()
    told: JsonObject = {"id": None}
    for _ in range(3):
        told = await office.ask(previous_response_id=told["id"])
    with pytest.raises(InvalidRequest, match="more than 2 turns"):
        await office.ask(previous_response_id=told["id"])


async def test_a_failed_run_keeps_nothing_and_names_the_clients_field() -> None:
    error = UpstreamRejected(
        "The upstream found it wrong.", status=400, param="messages[0].content"
    )
    office = Office(error)
    with pytest.raises(MoaError) as caught:
        await office.ask()
    assert caught.value.param == "input"
    assert len(office.store) == 0


async def test_all_input_of_a_conversation_is_listed() -> None:
    office = Office()
    first = await office.ask(input="Why?")
    second = await office.ask(input="How?", previous_response_id=first["id"])
    items = await office.service.items("one", second["id"])
    assert [item["role"] for item in items] == ["user", "assistant", "user"]
    assert len({item["id"] for item in items}) == 3


async def test_ids_are_those_of_the_run() -> None:
    told = await Office().ask()
    assert told["id"] == "resp_" + "0" * 23 + "1"
    assert re.fullmatch(r"msg_[0-9a-f]{24}_0", told["output"][0]["id"])
