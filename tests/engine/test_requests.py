"""The request a node puts to its model, and the notes about what was cut on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.graph import Turn
from app.engine.reference import Reference
from app.engine.requests import RESERVED_OUTPUT, inner_request, output_request
from app.errors import InvalidRequest
from app.interfaces import Abilities
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.json_types import JsonObject
from app.record import Degradation, RunRecord, Step
from app.upstream.fake import FakeModel
from tests.engine.graphs import Ticks, build, question

IMAGE: JsonObject = {"type": "image_url", "image_url": {"url": "data:,"}}
FILE: JsonObject = {"type": "file", "file": {"file_id": "f"}}
AUDIO: JsonObject = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
TOOLS: tuple[JsonObject, ...] = (
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "Sun"},
)


def turn(
    request: ChatRequest,
    *texts: str,
    output: bool = False,
    node: dict[str, Any] | None = None,
    **graph: Any,
) -> Turn:
    """A turn of the node `n` of a layer, or of the output node, given references."""
    own = {"model": "m", **(node or {})}
    spec: dict[str, Any] = {
        "layers": [{"nodes": {"n": {"model": "m"} if output else own}}],
        "output": own if output else {"model": "m"},
        **graph,
    }
    built = build({"g": spec}, {"m": FakeModel("m")})["g"].graph
    chosen = built.output if output else built.layers[0].nodes[0]
    references = tuple(Reference(f"r{number}", 0, text) for number, text in enumerate(texts))
    record = RunRecord("run", "g", Ticks(), seed=1)
    return Turn(built, chosen, request, references, Step(record, "g", 1, chosen.name), "abc123")


def model(**abilities: Any) -> FakeModel:
    return FakeModel("m", abilities=Abilities(**abilities))


def notes(at: Turn) -> list[tuple[str, str, str]]:
    return [(note.what, note.node, note.detail) for note in at.step.run.notes]


def asked(*content: object) -> ChatRequest:
    return ChatRequest(Conversation(({"role": "user", "content": list(content)},)))


@pytest.mark.parametrize("build_request", [inner_request, output_request])
def test_without_references_nothing_is_put_into_the_conversation(build_request: Any) -> None:
    request = question()
    at = turn(request, output=build_request is output_request)
    assert build_request(at, model()).conversation is request.conversation
    assert notes(at) == []


@pytest.mark.parametrize("build_request", [inner_request, output_request])
def test_references_come_last_and_no_message_before_them_changes(build_request: Any) -> None:
    request = question()
    at = turn(request, "Alpha.", output=build_request is output_request)
    found = build_request(at, model()).conversation.messages
    assert found[:-1] == request.conversation.messages
    assert found[-1]["role"] == "user"
    assert "=== Response 1 [abc123] ===\nAlpha." in found[-1]["content"]


def test_an_inner_node_is_asked_unstreamed_and_the_output_node_as_the_client_asked() -> None:
    streamed = ChatRequest(question().conversation, stream=True)
    assert not inner_request(turn(streamed), model()).stream
    assert output_request(turn(streamed, output=True), model()).stream
    assert not output_request(turn(question(), output=True), model()).stream


def test_samples_of_a_node_get_seeds_of_their_own() -> None:
    at = turn(question(seed=3))
    again = Turn(at.graph, at.node, at.request, (), Step(at.step.run, "g", 1, "n", 1), "abc123")
    assert inner_request(at, model()).params != inner_request(again, model()).params
    assert inner_request(at, model()).params == inner_request(at, model()).params


def test_tool_history_is_told_to_an_inner_node_and_untouched_for_the_output_node() -> None:
    request = ChatRequest(Conversation(TOOLS), {"tools": [{"type": "function"}]})
    inner = inner_request(turn(request), model())
    assert [m["role"] for m in inner.conversation.messages] == ["user", "assistant", "user"]
    assert "tools" not in inner.params
    output = output_request(turn(request, output=True), model())
    assert output.conversation.messages == TOOLS
    assert output.params == request.params


@pytest.mark.parametrize("build_request", [inner_request, output_request])
def test_a_role_prompt_joins_the_callers_system_message(build_request: Any) -> None:
    messages = ({"role": "system", "content": "S"}, {"role": "user", "content": "Q"})
    at = turn(
        ChatRequest(Conversation(messages)),
        output=build_request is output_request,
        node={"system": "Doubt."},
    )
    found = build_request(at, model()).conversation.messages
    assert found == ({"role": "system", "content": "S\n\nDoubt."}, messages[1])


@pytest.mark.parametrize(
    ("part", "abilities", "kind"),
    [
        (IMAGE, {"vision": False}, "image"),
        (FILE, {"vision": False}, "file"),
        (AUDIO, {"audio": False}, "audio"),
    ],
)
@pytest.mark.parametrize("build_request", [inner_request, output_request])
def test_a_node_that_cannot_take_a_medium_gets_a_note_in_its_place(
    build_request: Any, part: JsonObject, abilities: dict[str, bool], kind: str
) -> None:
    at = turn(asked(part), output=build_request is output_request)
    [message] = build_request(at, model(**abilities)).conversation.messages
    assert message["content"][0]["type"] == "text"
    assert notes(at) == [("media_noted", at.node.name, kind)]


def test_media_reach_every_node_that_does_not_say_no() -> None:
    request = asked(IMAGE, AUDIO, FILE)
    at = turn(request)
    assert inner_request(at, model()).conversation is request.conversation
    assert inner_request(at, model(audio=False)).conversation.messages[0]["content"][0] == IMAGE


def test_where_the_graph_says_skip_a_blind_inner_node_is_left_out() -> None:
    at = turn(asked(IMAGE), media="skip")
    with pytest.raises(InvalidRequest, match="image"):
        inner_request(at, model(vision=False))
    assert notes(at) == [("media_skipped", "n", "image")]


def test_where_the_graph_says_skip_a_blind_output_node_still_answers() -> None:
    at = turn(asked(IMAGE), media="skip", output=True)
    output_request(at, model(vision=False))
    assert notes(at) == [("media_noted", "output", "image")]


def test_a_model_without_a_window_is_never_trimmed_for() -> None:
    request = question("x" * 900_000)
    at = turn(request, "y" * 20_000)
    messages = inner_request(at, model()).conversation.messages
    assert messages[0] == request.conversation.messages[0]
    assert "y" * 20_000 in messages[1]["content"]
    assert notes(at) == []


def long_talk(turns: int) -> ChatRequest:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": f"{n} " + "x" * 300} for n in range(turns * 2)]
    return ChatRequest(Conversation((*messages, {"role": "user", "content": "Last?"})))


def test_a_small_window_loses_the_oldest_turns_and_the_run_says_so() -> None:
    at = turn(long_talk(20))
    conversation = inner_request(at, model(context=2_048)).conversation
    assert conversation.tokens <= 2_048 - RESERVED_OUTPUT
    assert conversation.messages[-1]["content"] == "Last?"
    dropped = 41 - len(conversation.messages)
    assert notes(at) == [("turns_trimmed", "n", str(dropped))]


def test_a_question_that_does_not_fit_skips_the_node_and_the_run_says_so() -> None:
    at = turn(question("x" * 9_000))
    with pytest.raises(InvalidRequest) as caught:
        inner_request(at, model(context=2_048))
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert [note[0] for note in notes(at)] == ["context_skipped"]


def test_the_callers_conversation_is_never_trimmed_for_the_output_node() -> None:
    request = long_talk(20)
    found = output_request(turn(request, output=True), model(context=2_048))
    assert found.conversation is request.conversation


def test_references_share_what_the_window_leaves_and_the_cut_ones_are_named() -> None:
    at = turn(question(), "x" * 20_000, "short", output=True, shuffle=False)
    found = output_request(at, model(context=4_096)).conversation
    assert found.tokens <= 4_096 - RESERVED_OUTPUT
    assert found.tokens > 1_500
    assert notes(at) == [("reference_cut", "output", "r0")]


def test_a_reference_is_capped_even_without_a_window() -> None:
    at = turn(question(), "x" * 20_000, output=True, max_reference_tokens=100)
    assert output_request(at, model()).conversation.tokens < 600
    assert notes(at) == [("reference_cut", "output", "r0")]


def test_no_room_for_references_is_noted_and_degrades_the_output_alone() -> None:
    request = question("x" * 2_700)
    inner = turn(request, "a", "b")
    assert inner_request(inner, model(context=2_048)).conversation is request.conversation
    assert notes(inner) == [("references_left_out", "n", "2")]
    assert inner.step.run.degraded == []
    output = turn(request, "a", "b", output=True)
    assert output_request(output, model(context=2_048)).conversation is request.conversation
    assert notes(output) == [("references_left_out", "output", "2")]
    assert output.step.run.degraded == [Degradation.NO_REFERENCES]


def test_the_callers_cap_is_kept_free_in_the_output_nodes_window() -> None:
    at = turn(question(max_completion_tokens=3_000), "x" * 20_000, output=True)
    found = output_request(at, model(context=4_096))
    assert found.conversation.tokens <= 4_096 - 3_000
    assert found.params == {"max_completion_tokens": 3_000}


def test_an_inner_node_without_a_cap_is_capped_by_what_its_model_can_write() -> None:
    at = turn(question(max_tokens=7))
    assert inner_request(at, model(max_output=500)).params == {"max_tokens": 500}
    assert inner_request(at, model()).params == {}
    own = turn(question(), node={"max_tokens": 50})
    assert inner_request(own, model(max_output=500)).params == {"max_tokens": 50}


def test_an_output_as_long_as_the_window_leaves_half_of_it_to_the_question() -> None:
    at = turn(question("x" * 3_000), "Alpha.")
    found = inner_request(at, model(context=4_096, max_output=4_096))
    assert found.params == {"max_tokens": 2_048}
    assert "Alpha." in found.conversation.messages[-1]["content"]


def test_the_nodes_instruction_comes_before_the_graphs_and_the_graphs_before_ours() -> None:
    def instruction(**says: Any) -> str:
        request = output_request(turn(question(), "Alpha.", output=True, **says), model())
        return str(request.conversation.messages[-1]["content"]).partition("\n\n")[0]

    assert instruction(node={"instruction": "Node."}, instruction="Graph.") == "Node."
    assert instruction(instruction="Graph.") == "Graph."
    assert instruction().startswith("Before you answer")


def test_the_order_of_references_follows_the_runs_seed() -> None:
    texts = [f"text {number}" for number in range(6)]

    def block(seed: int, *, shuffle: bool = True) -> str:
        at = turn(question(), *texts, output=True, shuffle=shuffle)
        at.step.run.seed = seed
        return str(output_request(at, model()).conversation.messages[-1]["content"])

    assert block(1) == block(1)
    assert len({block(seed) for seed in range(10)}) > 5
    assert block(1, shuffle=False) == block(2, shuffle=False)


@given(
    st.lists(st.integers(0, 6_000), min_size=1, max_size=8),
    st.integers(0, 6_000),
    st.integers(1_024, 16_000),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 20_000)),
)
def test_what_is_sent_fits_the_window_with_the_answer(
    sizes: list[int],
    asked_size: int,
    context: int,
    output: bool,  # noqa: FBT001 - hypothesis hands it in
    max_output: int | None,
) -> None:
    request = question("q" * asked_size)
    at = turn(request, *("=== Response é" * (size // 10) + "." for size in sizes), output=output)
    limited = model(context=context, max_output=max_output)
    try:
        found = (output_request if output else inner_request)(at, limited)
    except InvalidRequest:
        assert request.conversation.tokens >= context // 2
        return
    if len(found.conversation.messages) > 1:
        reserved = found.params.get("max_tokens") or min(
            max_output or RESERVED_OUTPUT, -(-context // 2)
        )
        assert isinstance(reserved, int)
        assert found.conversation.tokens + reserved <= context
