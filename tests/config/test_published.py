"""The published methods that are shipped: each is drawn, and asks exactly what its source asks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from rich.cells import cell_len

from app.cli.picture import WIDTH, draw
from app.config import NothingToServe, load_config
from app.engine.compile import compile_graphs
from app.engine.graph import OUTPUT
from app.engine.graph_model import GraphModel
from app.engine.measure import critical_path, expected_calls
from app.protocol.chat import ChatRequest
from app.upstream.fake import FakeCall, FakeModel
from tests.docs.pages import rows
from tests.engine.graphs import run

CONFIG = Path(__file__).parents[2] / "config"
FOLDER = CONFIG / "graphs/published"
FILES = sorted(FOLDER.glob("*.yaml"))
KEYS = dict.fromkeys(("TOGETHER_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY"), "test-key")
SOURCE = re.compile(r"arXiv \d{4}\.\d{5}|https://\S+[\w]")
SHOWN = re.compile(r"^=== (Response|Critique|Analysis) \d+ \[", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Method:
    """What a method prescribes: its calls layer by layer, the output node's last.

    A call is told by what it is shown: `6R` six responses, `1R 5C` one and five critiques, `3R 1A`
    three and an analysis, `` nothing. `path` is how many calls wait for one another.
    """

    path: int
    layers: tuple[Mapping[str, int], ...]

    @property
    def calls(self) -> int:
        return sum(number for layer in self.layers for number in layer.values())


FIRST, AGAIN = {"": 6}, {"6R": 6}
METHODS = {
    "analyse-then-write": Method(3, ({"": 3}, {"3R": 1}, {"3R 1A": 1})),
    "attention-moa": Method(4, ({"": 5}, {"1R": 25}, {"1R 5C": 5}, {"5R": 1})),
    "best-of-n": Method(2, (FIRST, {"6R": 1})),
    "moa": Method(3, (FIRST, AGAIN, {"6R": 1})),
    "moa-gpt-4o": Method(3, (FIRST, AGAIN, {"6R": 1})),
    "moa-lite": Method(2, (FIRST, {"6R": 1})),
    "rmoa": Method(
        10,
        (
            *(FIRST, {}),
            *({"3R": 6}, {"3R": 1}, {"6R": 1}),  # a round, the gate on what was picked, a residual
            *({"3R 1C": 6}, {"3R": 1}, {"6R": 1}),
            *({"3R 1C": 6}, {}, {"6R": 1}),
            {"3R 1C": 1},
        ),
    ),
    "self-consistency": Method(1, ({"": 40}, {})),
    "self-improvement": Method(6, ({"": 1}, {"1R": 5})),
    "self-moa": Method(2, (FIRST, {"6R": 1})),
    "self-moa-seq": Method(10, ({"": 30}, {"6R": 9})),
    "smoa": Method(6, ({"": 4}, {"4R": 1, "2R": 1}, {"2R": 4}, {"4R": 1}, {"2R": 1})),
}


@dataclass(slots=True)
class Panel:
    """A file's one graph over fakes that answer, judge and moderate; and what they are asked."""

    file: Path
    agree: bool = False
    graph: GraphModel = field(init=False)
    fakes: dict[str, FakeModel] = field(init=False)

    def __post_init__(self) -> None:
        config = load_config(self.file, KEYS).config
        numbers = count(1)
        self.fakes = {name: FakeModel(name, self._speaker(numbers)) for name in config.models}
        (self.graph,) = compile_graphs(config.graphs, self.fakes, config.limits).values()

    def _speaker(self, numbers: count[int]) -> Callable[[ChatRequest], str]:
        def speak(request: ChatRequest) -> str:
            last = str(request.conversation.messages[-1]["content"])
            if "Do they agree?" in last:
                return "yes" if self.agree else "no"
            if "Best: <number>, <number>" in last:
                return "Best: 2, 1"
            if "Best: <number>" in last:
                return "Best: 2"
            number = next(numbers)
            return f"Text {number} of many, {number * 7} words.\nThe answer is {number % 3 // 2}."

        return speak

    @property
    def calls(self) -> list[FakeCall]:
        return [call for fake in self.fakes.values() for call in fake.calls]

    def asked(self) -> tuple[Mapping[str, int], ...]:
        """Its calls as `Method.layers` has them."""
        layers = [Counter[str]() for _ in range(len(self.graph.graph.layers) + 1)]
        for call in self.calls:
            layers[call.step.layer - 1][view(call)] += 1
        return tuple(map(dict, layers))


def view(call: FakeCall) -> str:
    """What a call is shown, in short."""
    roles = Counter(SHOWN.findall(str(call.messages[-1]["content"])))
    return " ".join(
        f"{roles[role]}{role[0]}" for role in ("Response", "Critique", "Analysis") if roles[role]
    )


def panel(name: str, *, agree: bool = False) -> Panel:
    return Panel(FOLDER / f"{name}.yaml", agree)


each_method = pytest.mark.parametrize("name", METHODS)


def test_every_file_is_tested() -> None:
    assert sorted(file.stem for file in FILES) == sorted(METHODS)


@each_method
def test_a_file_holds_one_graph_of_its_name_and_says_where_it_is_published(name: str) -> None:
    file = FOLDER / f"{name}.yaml"
    assert panel(name).graph.name == f"published/{name}"
    comment, _, _ = file.read_text().partition("\ninclude:")
    assert SOURCE.search(comment)


@each_method
def test_the_measures_are_those_of_the_method(name: str) -> None:
    graph = panel(name).graph.graph
    assert expected_calls(graph) == METHODS[name].calls
    assert critical_path(graph) == METHODS[name].path


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("moa", "Qwen/Qwen1.5-110B-Chat"),
        ("moa-gpt-4o", "gpt-4o-2024-05-13"),
        ("moa-lite", "Qwen/Qwen1.5-72B-Chat"),
        ("self-moa", "Qwen/Qwen1.5-110B-Chat"),
        ("smoa", "Qwen/Qwen2-72B-Instruct"),
        ("attention-moa", "anthropic/claude-sonnet-4.5"),
    ],
)
def test_the_aggregator_is_that_of_the_paper(name: str, output: str) -> None:
    models = load_config(FOLDER / f"{name}.yaml", KEYS).config.models
    assert models[panel(name).graph.graph.output.models[0].name].model == output


@each_method
def test_the_graph_is_drawn(name: str) -> None:
    graph = panel(name).graph.graph
    picture = draw(graph)
    assert all(cell_len(line) <= WIDTH for line in picture.splitlines())
    for node in (node for layer in graph.layers for node in layer.nodes):
        assert re.search(rf"│ {re.escape(node.name)}\b", picture), node.name


@each_method
async def test_exactly_the_calls_of_the_method_are_made(name: str) -> None:
    asking = panel(name)
    asked = await run(asking.graph)
    assert asking.asked() == METHODS[name].layers
    assert asked.record.degraded == []
    assert asked.text.startswith("Text ")


def answers_in(call: FakeCall) -> list[str]:
    """The responses a call is shown, as they are shown."""
    last = str(call.messages[-1]["content"])
    return re.findall(
        r"^=== Response \d+ \[\w+\] ===\n(.*?)\n=== end of", last, re.DOTALL | re.MULTILINE
    )


def answer_of(call: FakeCall) -> str:
    return "".join(call.script.tokens)


def answers_of(asking: Panel, layer: int) -> list[str]:
    calls = [call for call in asking.calls if call.step.layer == layer]
    return [answer_of(call) for call in calls]


async def test_best_of_n_returns_one_answer_word_for_word() -> None:
    asking = panel("best-of-n")
    asked = await run(asking.graph)
    (judge,) = [call for call in asking.calls if call.step.node == OUTPUT]
    assert asked.text == answers_in(judge)[1]
    assert asked.text in answers_of(asking, 1)


async def test_self_consistency_returns_a_sample_with_the_most_frequent_answer() -> None:
    asking = panel("self-consistency")
    asked = await run(asking.graph)
    samples = answers_of(asking, 1)
    answer, votes = Counter(sample.split()[-1] for sample in samples).most_common(1)[0]
    assert votes > len(samples) / 2
    assert asked.text in samples
    assert asked.text.endswith(answer)


async def test_self_moa_seq_takes_every_sample_in_once_and_carries_the_best_so_far() -> None:
    asking = panel("self-moa-seq")
    await run(asking.graph)
    steps = [call for call in asking.calls if call.step.node == OUTPUT]
    shown = [answers_in(step) for step in steps]
    for before, window in zip(steps, shown[1:], strict=False):
        assert window[:3] == [answer_of(before)] * 3
    taken = [*shown[0], *(sample for window in shown[1:] for sample in window[3:])]
    assert sorted(taken) == sorted(answers_of(asking, 1))


async def test_self_improvement_shows_a_revision_nothing_but_the_last_attempt() -> None:
    asking = panel("self-improvement")
    asked = await run(asking.graph)
    attempts = [answer_of(call) for call in asking.calls]
    assert [answers_in(call) for call in asking.calls[1:]] == [[text] for text in attempts[:-1]]
    assert asked.text == attempts[-1]


async def test_attention_moa_gives_each_model_its_own_answer_and_what_all_five_said_of_it() -> None:
    asking = panel("attention-moa")
    await run(asking.graph)
    drafts = {call.step.node: answer_of(call) for call in asking.calls if call.step.layer == 1}
    for call in asking.calls:
        if call.step.layer == 3:
            own = call.step.node.removesuffix("-revised")
            assert answers_in(call) == [drafts[own]]
            reviews = [
                answer_of(review)
                for review in asking.calls
                if review.step.layer == 2 and answers_in(review) == [drafts[own]]
            ]
            last = str(call.messages[-1]["content"])
            assert len(reviews) == 5
            assert all(review in last for review in reviews)


async def test_smoa_ends_after_a_round_that_agrees_and_keeps_the_two_best() -> None:
    asking = panel("smoa", agree=True)
    asked = await run(asking.graph)
    assert asking.asked() == ({"": 4}, {"4R": 1, "2R": 1}, {}, {}, {"2R": 1})
    assert asked.notes("stopped_early") == ["layer 2"]


async def test_rmoa_ends_when_its_most_diverse_answers_agree() -> None:
    asking = panel("rmoa", agree=True)
    asked = await run(asking.graph)
    assert asking.asked() == (FIRST, {}, {"3R": 6}, {"3R": 1}, *[{}] * 7, {"3R": 1})
    assert asked.notes("stopped_early") == ["layer 4"]


def test_editors_find_the_schema_of_every_file() -> None:
    for file in FOLDER.rglob("*.yaml"):
        first, _, _ = file.read_text().partition("\n")
        _, _, schema = first.partition("# yaml-language-server: $schema=")
        assert (file.parent / schema).resolve() == CONFIG / "schema.json", file


def test_no_model_is_kept_that_no_method_uses() -> None:
    texts = [file.read_text() for file in FILES]
    models = {model for file in FILES for model in load_config(file, KEYS).config.models}
    assert [model for model in sorted(models) if not any(model in text for text in texts)] == []


def test_all_of_them_can_be_included_beside_the_gateway_s_own_graphs(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(f"include: [{CONFIG / 'gateway.yaml'}, {FOLDER}/*.yaml]\n")
    graphs = load_config(file, KEYS).config.graphs
    assert {f"published/{name}" for name in METHODS} < set(graphs)
    assert "moa-openai" in graphs


def test_the_gateway_s_own_configuration_leaves_them_out() -> None:
    graphs = load_config(CONFIG / "gateway.yaml", KEYS).config.graphs
    assert not [name for name in graphs if name.startswith("published/")]


@each_method
def test_without_a_key_the_message_names_it(name: str) -> None:
    with pytest.raises(NothingToServe, match=r"[A-Z]+_API_KEY"):
        load_config(FOLDER / f"{name}.yaml", {})


def test_the_documentation_lists_every_method_with_its_file_and_calls() -> None:
    told = {}
    for _, source, file, calls, _ in rows("docs/graphs.md", "published"):
        match = re.search(r"\[`([\w-]+)\.yaml`\]", file)
        assert match, file
        assert SOURCE.search(source), source
        told[match[1]] = int(calls.split()[0])
    assert told == {name: method.calls for name, method in METHODS.items()}
