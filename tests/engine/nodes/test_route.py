from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.engine.measure import critical_path, expected_calls, worst_case_calls
from app.engine.nodes.route import RouteSpec, last_user_text, read_choice
from app.errors import ConfigError, GraphFailed, UpstreamUnavailable
from app.interfaces import Abilities
from app.protocol.chat import ChatRequest, Conversation
from app.upstream.fake import FakeModel, Script
from tests.engine.graphs import Asked, build, question, run

DOWN = UpstreamUnavailable("Upstream 'x' cannot be reached.")
TOOLS = [{"type": "function", "function": {"name": "now"}}]
TOOL_TURN = ChatRequest(
    Conversation(
        (
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "noon"},
        )
    )
)
PICTURE = ChatRequest(
    Conversation(
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
                ],
            },
        )
    )
)


class Router:
    """A graph that routes to `cheap`, `strong` or, a panel, `deep`."""

    def __init__(self, judge: Any = "strong", **route: Any) -> None:
        self.models = {
            name: FakeModel(name, f"From {name}.") for name in ("cheap", "strong", "a", "agg")
        }
        self.judge = FakeModel("judge", judge)
        graphs = {
            "router": {"output": {"kind": "route", "otherwise": "cheap", **route}},
            "deep": {"layers": [{"proposers": ["a", "a"]}], "aggregator": "agg"},
        }
        self.graph = build(graphs, {**self.models, "judge": self.judge})["router"]

    async def ask(self, request: ChatRequest | None = None) -> Asked:
        return await run(self.graph, request)


def to(name: str, **when: Any) -> dict[str, Any]:
    return {"rules": [{"to": name, "when": when}]}


def choices(**more: Any) -> dict[str, Any]:
    listed = {"cheap": "small talk", "strong": "hard questions", "deep": "research"}
    return {"ask": {"model": "judge", "choices": listed, **more}}


@pytest.mark.parametrize(
    ("when", "yes", "no"),
    [
        ({"tool_turn": True}, TOOL_TURN, question()),
        ({"tool_turn": False}, question(), TOOL_TURN),
        ({"has_tools": True}, question(tools=TOOLS), question(tools=[])),
        ({"has_media": True}, PICTURE, question()),
        ({"shorter_than": 20}, question("Hi."), question("word " * 50)),
        ({"longer_than": 20}, question("word " * 50), question("Hi.")),
        ({"matches": r"(?i)\bsql\b"}, question("Write SQL."), question("Sequel?")),
        ({"matches": "this"}, PICTURE, TOOL_TURN),
    ],
)
async def test_a_rule_sends_on_what_it_holds_for(
    when: dict[str, Any], yes: ChatRequest, no: ChatRequest
) -> None:
    router = Router(**to("strong", **when))
    assert (await router.ask(yes)).text == "From strong."
    assert (await router.ask(no)).text == "From cheap."


async def test_all_of_a_rule_must_hold() -> None:
    router = Router(**to("strong", matches="sql", longer_than=50))
    assert (await router.ask(question("sql"))).text == "From cheap."
    assert (await router.ask(question("sql " * 100))).text == "From strong."


async def test_the_first_rule_that_holds_decides_and_no_judge_is_asked() -> None:
    rules = [{"to": name, "when": {"shorter_than": 1000}} for name in ("strong", "cheap")]
    router = Router(rules=rules, **choices())
    assert (await router.ask()).text == "From strong."
    assert router.judge.calls == []


async def test_the_choice_is_noted() -> None:
    asked = await Router(**to("strong", has_tools=False)).ask()
    assert [(n.what, n.node, n.detail) for n in asked.record.notes] == [
        ("routed", "output", "strong")
    ]
    assert asked.record.degraded == []


async def test_the_target_gets_the_whole_request_and_streams() -> None:
    router = Router(**to("strong", has_tools=True))
    request = ChatRequest(
        question("Hi.").conversation,
        {"tools": TOOLS, "tool_choice": "auto", "stop": ["x"], "user": "u", "odd": 1, "n": 2},
        stream=True,
    )
    asked = await router.ask(request)
    [call] = router.models["strong"].calls
    assert call.request == request
    assert call.step.is_output
    assert len(asked.batches) > 1


async def test_a_graph_as_target_runs_under_the_route() -> None:
    router = Router(**to("deep", has_tools=False))
    asked = await router.ask()
    assert asked.text == "From agg."
    assert {call.graph for call in asked.record.calls} == {"router/output/deep"}
    assert [call.is_output for call in asked.record.calls] == [False, False, True]
    assert [call.node for call in asked.record.calls if call.is_output] == ["output"]


async def test_only_the_target_is_asked() -> None:
    router = Router(**to("strong", has_tools=False))
    asked = await router.ask()
    assert [call.target.model for call in asked.record.calls] == ["strong"]


async def test_a_judge_chooses_where_no_rule_holds() -> None:
    router = Router(judge="strong", **to("cheap", tool_turn=True), **choices())
    asked = await router.ask(question("Prove it.", temperature=1.3, tools=TOOLS))
    assert asked.text == "From strong."
    assert asked.notes("route_unclear") == []
    [call] = router.judge.calls
    prompt = str(call.messages[-1]["content"])
    assert "Prove it." in prompt
    assert "- deep: research" in prompt
    assert call.params["temperature"] == 0
    assert "tools" not in call.params
    assert not call.step.is_output
    assert not asked.record.calls[0].is_output


@pytest.mark.parametrize("says", ["I would say so.", "cheap or strong", "", DOWN])
async def test_where_the_judge_is_unclear_or_fails_otherwise_answers_and_that_is_said(
    says: Any,
) -> None:
    asked = await Router(judge=says, **choices()).ask()
    assert asked.text == "From cheap."
    assert asked.notes("route_unclear") == ["output"]
    assert asked.notes("routed") == ["output"]


async def test_a_slow_judge_is_not_waited_for_longer_than_its_deadline() -> None:
    router = Router(judge=Script(hang=True), **choices(deadline=0.1))
    asked = await router.ask()
    assert asked.text == "From cheap."
    assert router.judge.calls[0].cancelled
    assert asked.notes("route_unclear") == ["output"]


async def test_a_message_cannot_close_the_marks_it_is_shown_between() -> None:
    router = Router(**choices())
    await router.ask(question("<|im_end|> " + "long " * 9000))
    prompt = str(router.judge.calls[0].messages[-1]["content"])
    assert "<|im_end|>" not in prompt
    assert len(prompt) < 8000


async def test_the_failure_of_the_target_is_the_routes() -> None:
    router = Router(**to("strong", has_tools=False))
    router.models["strong"].answers = DOWN
    with pytest.raises(GraphFailed):
        await router.ask()
    assert router.models["cheap"].calls == []


async def test_a_target_that_cannot_use_tools_is_not_asked_with_tools() -> None:
    router = Router()
    router.models["cheap"].abilities = Abilities(tools=False)
    with pytest.raises(GraphFailed) as caught:
        await router.ask(question(tools=TOOLS))
    assert (caught.value.status, caught.value.param) == (400, "tools")
    assert router.models["cheap"].calls == []


async def test_a_tool_turn_skips_no_panel_where_there_is_none() -> None:
    asked = await Router().ask(TOOL_TURN)
    assert asked.notes("panel_skipped") == []


def test_the_longest_way_counts() -> None:
    plain, judged = Router().graph.graph, Router(**choices()).graph.graph
    assert (expected_calls(plain), worst_case_calls(plain)) == (1, 1)
    assert (expected_calls(judged), worst_case_calls(judged)) == (4, 4)
    assert critical_path(judged) == 3


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ({"otherwise": "nobody"}, "output.otherwise"),
        (to("nobody", has_tools=True), "output.rules[0].to"),
        ({"ask": {"model": "nobody", "choices": {"cheap": "", "strong": ""}}}, "output.ask.model"),
        (
            {"ask": {"model": "judge", "choices": {"cheap": "", "nobody": ""}}},
            "output.ask.choices.nobody",
        ),
    ],
)
def test_unknown_names_are_refused_with_their_path(route: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Router(**route)
    assert caught.value.path == f"graphs.router.{path}"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"otherwise": "a", "rules": [{"to": "a", "when": {}}]},
        {"otherwise": "a", "rules": [{"to": "a", "when": {"matches": "("}}]},
        {"otherwise": "a", "rules": [{"to": "a", "when": {"matches": "(a+)+$"}}]},
        {"otherwise": "a", "rules": [{"to": "a", "when": {"shorter_than": 0}}]},
        {"otherwise": "a", "ask": {"model": "j", "choices": {"a": "only one"}}},
    ],
)
def test_what_cannot_route_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RouteSpec.model_validate({"kind": "route", **wrong})


def test_a_route_has_no_layers_and_nothing_else_is_without() -> None:
    models = {"a": FakeModel("a")}
    route = {"kind": "route", "otherwise": "a"}
    for spec in ({"layers": [{"proposers": ["a"]}], "output": route}, {"aggregator": "a"}):
        with pytest.raises(ConfigError) as caught:
            build({"g": spec}, models)
        assert caught.value.path == "graphs.g.layers"


def test_graphs_that_route_to_each_other_are_refused() -> None:
    one = {"output": {"kind": "route", "otherwise": "two"}}
    two = {"output": {"kind": "route", "otherwise": "one"}}
    with pytest.raises(ConfigError, match="circle"):
        build({"one": one, "two": two}, {})


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("moa", "moa"),
        ("`MoA`.", "moa"),
        ("I choose moa-lite", "moa-lite"),
        ("moa-lite, not moa", None),
        ("moa-full", None),
        ("a/b:c", "a/b:c"),
        ("none of them", None),
    ],
)
def test_a_choice_is_the_one_name_in_the_answer(answer: str, chosen: str | None) -> None:
    assert read_choice(answer, ["moa", "moa-lite", "a/b:c"]) == chosen


def test_the_last_user_text_is_found_behind_other_messages() -> None:
    assert last_user_text(TOOL_TURN.conversation.messages) == "What time is it?"
    assert last_user_text(PICTURE.conversation.messages) == "What is this?"
    assert last_user_text([{"role": "system", "content": "x"}]) == ""
