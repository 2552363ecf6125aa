from __future__ import annotations

import re
from typing import Any

import anyio
import pytest

from app.errors import (
    DeadlineExceeded,
    GraphFailed,
    MoaError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.interfaces import Abilities
from app.protocol.chat import ChatRequest, Conversation
from app.record import Degradation, Outcome
from app.upstream.fake import Answer, FakeModel, Script
from tests.engine.graphs import Asked, build, question, run

DOWN = UpstreamUnavailable("The upstream 'x' cannot be reached.")
HANGS = Script(hang=True)


def fakes(**answers: Answer | list[Answer]) -> dict[str, FakeModel]:
    return {name: FakeModel(name, answer) for name, answer in answers.items()}


def moa(models: dict[str, FakeModel], **graph: Any) -> Any:
    """A graph of all the fakes but `agg` in one layer, and `agg` as its aggregator."""
    layer = graph.pop("layer", {})
    proposers = [name for name in models if not name.startswith("agg")]
    spec = {"layers": [{"proposers": proposers, **layer}], **graph}
    if "output" not in spec:
        spec["aggregator"] = "agg"
    return build({"moa": spec}, models)["moa"]


def last_message(model: FakeModel, call: int = -1) -> str:
    return str(model.calls[call].messages[-1]["content"])


def responses(text: str) -> list[str]:
    """The references in a block, in the order shown."""
    return re.findall(r"=== Response \d+[^\n]*===\n(.*?)\n=== end of", text, re.DOTALL)


async def test_the_aggregator_sees_every_proposal_and_writes_the_answer() -> None:
    models = fakes(a="Alpha.", b="Beta.", agg="Both.")
    asked = await run(moa(models, shuffle=False))
    assert asked.text == "Both."
    assert responses(last_message(models["agg"])) == ["Alpha.", "Beta."]


async def test_references_come_last_in_the_user_role_and_the_conversation_stays() -> None:
    models = fakes(a="Alpha.", agg="Done.")
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"})
    await run(moa(models), ChatRequest(Conversation(messages)))
    seen = models["agg"].calls[0].messages
    assert seen[:2] == messages
    assert [m["role"] for m in seen[2:]] == ["user"]


async def test_proposers_of_the_first_layer_see_the_bare_conversation() -> None:
    models = fakes(a="Alpha.", agg="Done.")
    await run(moa(models))
    assert models["a"].calls[0].messages == question().conversation.messages


async def test_a_second_layer_sees_the_references_of_the_first() -> None:
    models = fakes(a="Alpha.", b="Beta.", agg="Done.")
    graph = {"layers": [{"proposers": ["a"]}, {"proposers": ["b"]}], "aggregator": "agg"}
    await run(build({"moa": graph}, models)["moa"])
    assert responses(last_message(models["b"])) == ["Alpha."]
    assert responses(last_message(models["agg"])) == ["Beta."]


async def test_a_skip_edge_carries_references_past_a_layer() -> None:
    models = fakes(a="Alpha.", b="Beta.", agg="Done.")
    graph = {
        "layers": [
            {"nodes": {"first": {"model": "a"}}},
            {"nodes": {"second": {"model": "b", "inputs": ["first"]}}},
        ],
        "output": {"model": "agg", "inputs": ["second", "first"]},
        "shuffle": False,
    }
    await run(build({"moa": graph}, models)["moa"])
    assert responses(last_message(models["agg"])) == ["Beta.", "Alpha."]


async def test_each_sample_is_a_call_and_a_reference_of_its_own() -> None:
    models = fakes(a=["One.", "Two.", "Three."], agg="Done.")
    graph = {
        "layers": [{"nodes": {"many": {"model": "a", "samples": 3, "temperature": 0.9}}}],
        "aggregator": "agg",
    }
    await run(build({"moa": graph}, models)["moa"], question(seed=5))
    assert sorted(responses(last_message(models["agg"]))) == ["One.", "Three.", "Two."]
    assert len({call.params["seed"] for call in models["a"].calls}) == 3
    assert {call.params["temperature"] for call in models["a"].calls} == {0.9}


async def test_a_graph_is_a_model_of_another_graph() -> None:
    models = fakes(a="Alpha.", b="Beta.", inner_out="Inner.", agg="Outer.")
    graphs = {
        "outer": {"layers": [{"proposers": ["inner", "b"]}], "aggregator": "agg"},
        "inner": {"layers": [{"proposers": ["a"]}], "aggregator": "inner_out"},
    }
    asked = await run(build(graphs, models)["outer"])
    assert asked.text == "Outer."
    assert set(responses(last_message(models["agg"]))) == {"Inner.", "Beta."}
    where = {(c.target.model, c.graph, c.is_output) for c in asked.record.calls}
    assert where == {
        ("a", "outer/inner/inner", False),
        ("inner_out", "outer/inner/inner", False),
        ("b", "outer", False),
        ("agg", "outer", True),
    }


async def test_tokens_of_the_output_node_pass_as_they_come() -> None:
    gate = anyio.Event()
    models = fakes(a="Alpha.", agg=Script(text=("One", " two"), after=1, gate=gate))
    asked = Asked()
    streamed = ChatRequest(question().conversation, stream=True)
    async with anyio.create_task_group() as group:
        group.start_soon(run, moa(models), streamed, asked)
        await models["agg"].sent(1)
        assert asked.text == "One"
        gate.set()
    assert asked.text == "One two"


async def test_proposers_are_asked_unstreamed_even_for_a_streamed_request() -> None:
    models = fakes(a="Alpha.", agg="Done.")
    await run(moa(models), ChatRequest(question().conversation, stream=True))
    assert (models["a"].calls[0].request.stream, models["agg"].calls[0].request.stream) == (
        False,
        True,
    )


async def test_one_dead_proposer_does_not_kill_the_request_and_is_declared() -> None:
    models = fakes(a=DOWN, b="Beta.", c="Gamma.", agg="Done.")
    asked = await run(moa(models))
    assert asked.text == "Done."
    assert asked.record.degraded == [Degradation.QUORUM_MISSED]
    assert "The upstream" not in last_message(models["agg"])


async def test_a_missed_quorum_is_no_degradation_while_enough_answered() -> None:
    models = fakes(a=DOWN, b="Beta.", c="Gamma.", agg="Done.")
    asked = await run(moa(models, layer={"quorum": 2}))
    assert asked.record.degraded == []


async def test_who_is_late_is_cancelled_booked_and_noted() -> None:
    models = fakes(a="Alpha.", b=HANGS, agg="Done.")
    asked = await run(moa(models, layer={"quorum": 1}))
    assert models["b"].calls[0].cancelled
    assert [c.outcome for c in asked.record.calls if c.target.model == "b"] == [Outcome.CANCELLED]
    assert asked.notes("late") == ["b"]


async def test_a_stream_cut_in_the_middle_is_no_reference() -> None:
    cut = Script(text=("Half", " an answer"), after=1, error=UpstreamMalformed("Cut."))
    models = fakes(a=cut, b="Beta.", agg="Done.")
    await run(moa(models))
    assert responses(last_message(models["agg"])) == ["Beta."]


async def test_an_empty_answer_is_no_reference() -> None:
    models = fakes(a=Script(text=""), b="Beta.", agg="Done.")
    asked = await run(moa(models))
    assert responses(last_message(models["agg"])) == ["Beta."]
    assert asked.record.degraded == [Degradation.QUORUM_MISSED, Degradation.SINGLE_REFERENCE]


async def test_a_refusal_is_dropped_when_others_answered() -> None:
    models = fakes(a=Script(text="", refusal="I can't do that."), b="Beta.", c="C.", agg="Done.")
    asked = await run(moa(models, shuffle=False))
    assert responses(last_message(models["agg"])) == ["Beta.", "C."]
    assert asked.notes("refusals_dropped") == ["output"]


async def test_refusals_are_shown_when_nobody_answered() -> None:
    models = fakes(a=Script(text="", refusal="No."), b=Script(text="", refusal="No!"), agg="Sorry.")
    await run(moa(models, shuffle=False))
    assert responses(last_message(models["agg"])) == ["No.", "No!"]


async def test_a_single_survivor_is_returned_word_for_word_where_configured() -> None:
    models = fakes(a=DOWN, b="Beta.", agg="Done.")
    asked = await run(moa(models, single_reference="return"))
    assert asked.text == "Beta."
    assert asked.answer.finish_reason(0) == "stop"
    assert models["agg"].calls == []
    assert Degradation.SINGLE_REFERENCE in asked.record.degraded


async def test_a_layer_of_one_is_not_degraded_by_its_one_reference() -> None:
    asked = await run(moa(fakes(a="Alpha.", agg="Done.")))
    assert asked.record.degraded == []


async def test_without_any_reference_the_request_fails_and_the_aggregator_is_not_paid() -> None:
    models = fakes(a=DOWN, b=DOWN, agg="Done.")
    with pytest.raises(GraphFailed) as failed:
        await run(moa(models))
    assert failed.value.status == 502
    assert [failure.node for failure in failed.value.failures] == ["a", "b"]
    assert models["agg"].calls == []


async def test_without_any_reference_the_output_model_answers_alone_where_configured() -> None:
    models = fakes(a=DOWN, agg="Alone.")
    asked = await run(moa(models, on_empty="answer"))
    assert asked.text == "Alone."
    assert models["agg"].calls[0].messages == question().conversation.messages
    assert Degradation.NO_REFERENCES in asked.record.degraded


async def test_a_dead_first_layer_makes_no_calls_in_the_second() -> None:
    models = fakes(a=DOWN, b="Beta.", agg="Done.")
    graph = {"layers": [{"proposers": ["a"]}, {"proposers": ["b"]}], "aggregator": "agg"}
    with pytest.raises(GraphFailed):
        await run(build({"moa": graph}, models)["moa"])
    assert models["b"].calls == []


async def test_a_dead_second_layer_leaves_the_references_of_skip_edges() -> None:
    models = fakes(a="Alpha.", b=DOWN, agg="Done.")
    graph = {
        "layers": [{"nodes": {"x": {"model": "a"}}}, {"nodes": {"y": {"model": "b"}}}],
        "output": {"model": "agg", "inputs": ["y", "x"]},
    }
    asked = await run(build({"moa": graph}, models)["moa"])
    assert responses(last_message(models["agg"])) == ["Alpha."]
    assert Degradation.QUORUM_MISSED in asked.record.degraded


async def test_fewer_references_than_min_references_is_a_failure() -> None:
    with pytest.raises(GraphFailed, match="1 of 2"):
        await run(moa(fakes(a=DOWN, b="Beta.", agg="Done."), min_references=2))


@pytest.mark.parametrize(
    ("errors", "status", "retry_after"),
    [
        (
            [UpstreamRateLimited("x", retry_after=9), UpstreamRateLimited("x", retry_after=4)],
            429,
            4,
        ),
        ([UpstreamTimeout("x"), UpstreamTimeout("x")], 504, None),
        ([UpstreamRejected("x", status=422), UpstreamRejected("x", status=400)], 422, None),
        ([UpstreamRateLimited("x", retry_after=9), UpstreamTimeout("x")], 502, None),
    ],
)
async def test_the_status_of_a_total_failure_follows_from_its_causes(
    errors: list[MoaError], status: int, retry_after: float | None
) -> None:
    with pytest.raises(GraphFailed) as failed:
        await run(moa(fakes(a=errors[0], b=errors[1], agg="Done.")))
    assert (failed.value.status, failed.value.retry_after) == (status, retry_after)


async def test_all_proposers_late_is_a_timeout() -> None:
    with pytest.raises(GraphFailed) as failed:
        await run(moa(fakes(a=HANGS, b=HANGS, agg="Done."), layer={"deadline": 0.02}))
    assert failed.value.status == 504
    assert [failure.node for failure in failed.value.failures] == ["a", "b"]


async def test_the_output_falls_back_while_it_has_said_nothing() -> None:
    models = fakes(a="Alpha.", agg=DOWN, agg2="Second.")
    graph = moa(models, output={"model": "agg", "fallback": ["agg2"]})
    asked = await run(graph)
    assert asked.text == "Second."
    assert asked.record.degraded == [Degradation.FALLBACK]


async def test_after_its_first_token_the_output_never_falls_back() -> None:
    broken = Script(text=("One", " two"), after=1, error=UpstreamMalformed("Cut."))
    models = fakes(a="Alpha.", agg=broken, agg2="Second.")
    graph = moa(models, output={"model": "agg", "fallback": ["agg2"]}, last_resort="best_reference")
    asked = Asked()
    with pytest.raises(UpstreamMalformed):
        await run(graph, ChatRequest(question().conversation, stream=True), asked)
    assert asked.text == "One"
    assert asked.answer.finish_reason(0) is None
    assert models["agg2"].calls == []


async def test_the_last_resort_is_the_longest_reference_that_is_no_refusal() -> None:
    models = fakes(a="Short.", b="A longer answer.", c="I'm sorry, but I cannot.", agg=DOWN)
    asked = await run(moa(models, last_resort="best_reference"))
    assert asked.text == "A longer answer."
    assert asked.record.degraded[-1] is Degradation.BEST_REFERENCE


async def test_a_failed_output_is_an_error_and_says_not_to_pay_again() -> None:
    with pytest.raises(GraphFailed) as failed:
        await run(moa(fakes(a="Alpha.", agg=DOWN)))
    assert (failed.value.status, failed.value.should_retry) == (502, False)


async def test_a_request_the_output_model_finds_wrong_keeps_its_status() -> None:
    wrong = UpstreamRejected("Rejected.", status=400, param="stop", code="invalid_value")
    with pytest.raises(GraphFailed) as failed:
        await run(moa(fakes(a="Alpha.", agg=wrong)))
    assert (failed.value.status, failed.value.param) == (400, "stop")


async def test_the_deadline_of_a_graph_ends_it_and_cancels_everything() -> None:
    models = fakes(a=HANGS, agg="Done.")
    with pytest.raises(DeadlineExceeded):
        await run(moa(models, deadline=0.25))
    assert models["a"].calls[0].cancelled


async def test_a_leaving_client_cancels_all_proposers() -> None:
    models = fakes(a=HANGS, b=HANGS, agg="Done.")
    asked = Asked()
    async with anyio.create_task_group() as group:
        group.start_soon(run, moa(models), question(), asked)
        await models["b"].started()
        group.cancel_scope.cancel()
    assert models["a"].calls[0].cancelled
    assert models["b"].calls[0].cancelled
    assert {call.outcome for call in asked.record.calls} == {Outcome.CANCELLED}


async def test_after_a_tool_result_the_panel_is_left_out() -> None:
    models = fakes(a="Alpha.", agg="Done.")
    messages = (
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "w"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    )
    asked = await run(moa(models), ChatRequest(Conversation(messages)))
    assert models["a"].calls == []
    assert models["agg"].calls[0].messages == messages
    assert asked.record.degraded == []


async def test_proposers_never_get_tools_and_the_output_owns_them() -> None:
    models = fakes(a="Alpha.", agg="Done.")
    tools = [{"type": "function", "function": {"name": "w"}}]
    await run(moa(models), question(tools=tools, tool_choice="auto"))
    assert not {"tools", "tool_choice"} & models["a"].calls[0].params.keys()
    assert models["agg"].calls[0].params["tools"] == tools


async def test_progress_is_told_as_reasoning_and_never_as_content() -> None:
    models = fakes(a=DOWN, b="Beta.", agg="Done.")
    asked = await run(moa(models), ChatRequest(question().conversation, progress=True))
    assert asked.text == "Done."
    assert "asking a, b" in asked.answer.reasoning(0)
    assert "1 of 2 answered; nothing from a" in asked.answer.reasoning(0)


async def test_a_bug_in_one_node_leaves_the_others_their_answers() -> None:
    models = fakes(a=ValueError("bug"), b="Beta.", agg="Done.")
    asked = await run(moa(models))
    assert asked.text == "Done."
    assert asked.record.degraded[0] is Degradation.QUORUM_MISSED


async def test_the_shuffle_follows_the_seed_of_the_run() -> None:
    orders = []
    for seed in (1, 1, 2, 3, 4):
        models = fakes(a="A.", b="B.", c="C.", d="D.", agg="Done.")
        asked = Asked()
        asked.record.seed = seed
        await run(moa(models), asked=asked)
        orders.append(tuple(responses(last_message(models["agg"]))))
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


async def test_a_late_node_of_a_nested_graph_does_not_hide_why_the_graph_failed() -> None:
    models = fakes(a="Alpha.", b=HANGS, inner_out="Inner.", agg="Done.")
    limited = UpstreamRateLimited("Busy.", retry_after=3)
    models["c"] = FakeModel("c", limited)
    graphs = {
        "outer": {
            "layers": [{"proposers": ["inner"]}, {"proposers": ["c"]}],
            "aggregator": "agg",
        },
        "inner": {"layers": [{"proposers": ["a", "b"], "quorum": 1}], "aggregator": "inner_out"},
    }
    with pytest.raises(GraphFailed) as failed:
        await run(build(graphs, models)["outer"])
    assert (failed.value.status, failed.value.retry_after) == (429, 3)
    assert failed.value.type == "rate_limit_error"


async def test_a_role_alone_is_no_token_and_another_model_may_still_be_asked() -> None:
    broken = Script(text=("", "never"), after=1, error=DOWN)
    models = fakes(a="Alpha.", agg=broken, agg2="Second.")
    graph = moa(models, output={"model": "agg", "fallback": ["agg2"]})
    asked = await run(graph, ChatRequest(question().conversation, stream=True))
    assert asked.text == "Second."


async def test_an_empty_answer_gives_way_to_a_fallback() -> None:
    models = fakes(a=Script(text=""), agg=Script(text=""), agg2="Second.")
    graph = {
        "layers": [{"nodes": {"x": {"model": "a", "fallback": ["agg2"]}}}],
        "output": {"model": "agg", "fallback": ["agg2"]},
    }
    asked = await run(build({"moa": graph}, models)["moa"])
    assert responses(last_message(models["agg"])) == ["Second."]
    assert asked.text == "Second."


async def test_an_empty_answer_without_a_fallback_reaches_the_client_as_it_is() -> None:
    models = fakes(a="Alpha.", agg=Script(text="", finish_reason="length"))
    asked = await run(moa(models))
    assert (asked.text, asked.answer.finish_reason(0)) == ("", "length")


async def test_a_reference_that_hit_its_length_says_so_as_an_answer() -> None:
    models = fakes(a=Script(text="Cut of", finish_reason="length"), agg="Done.")
    asked = await run(moa(models, single_reference="return"))
    assert asked.answer.finish_reason(0) == "length"


async def test_an_output_model_without_tools_reads_their_history_as_text() -> None:
    models = fakes(a="Alpha.", agg="Done.")
    models["agg"].abilities = Abilities(tools=False)
    call = {"id": "1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
    messages = (
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        {"role": "user", "content": "And now?"},
    )
    await run(moa(models), ChatRequest(Conversation(messages)))
    seen = models["agg"].calls[0].messages
    assert "tool" not in {message["role"] for message in seen}
    assert "sunny" in str(seen)


async def test_a_reference_that_was_also_chosen_is_shown_once() -> None:
    models = {name: FakeModel(name, f"It is {name}.") for name in ("a", "b", "w")}
    spec = {
        "layers": [
            {"proposers": ["a", "b"]},
            {"nodes": {"best": {"kind": "select", "by": "longest"}}},
        ],
        "output": {"model": "w", "inputs": ["best", "a", "b"]},
    }
    await run(build({"moa": spec}, models)["moa"])
    shown = str(models["w"].calls[0].messages[-1]["content"])
    assert (shown.count("It is a."), shown.count("It is b.")) == (1, 1)
