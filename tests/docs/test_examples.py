"""The examples and the programs of the README, run as they are against a gateway."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.protocol.json_types import JsonObject
from app.upstream.fake_server import FakeUpstream, Reply
from tests.docs.gateway import PATIENCE, clean_environment, serving
from tests.docs.pages import ROOT, Block, blocks

EXAMPLES = ROOT / "examples"
NODE = shutil.which("node")
CURL = shutil.which("curl")
ANSWER = "Because air scatters blue light most."
README = "http://127.0.0.1:8000"

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


def run(
    *command: str, code: int = 0, stdin: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(  # noqa: S603 - the examples
        command,
        cwd=ROOT,
        env={**clean_environment(), **variables},
        input=stdin,
        text=True,
        timeout=PATIENCE,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def over_the_fake(config: Path, folder: Path, upstream: FakeUpstream) -> Path:
    """A copy of a configuration over the fake upstream, and of the files beside it."""
    shutil.copytree(config.parent, folder, dirs_exist_ok=True)
    tree = yaml.safe_load(config.read_text())
    tree["upstreams"] = {name: {"base_url": upstream.base_url} for name in tree["upstreams"]}
    copy = folder / config.name
    copy.write_text(yaml.safe_dump(tree, sort_keys=False))
    return copy


@pytest.fixture(scope="module")
def embedded_default(
    tmp_path_factory: pytest.TempPathFactory, _fake_upstream_server: FakeUpstream
) -> Iterator[str]:
    """What `make run` serves without any key, with the fake in the place of the embedded model."""
    folder = tmp_path_factory.mktemp("default")
    with serving(
        over_the_fake(ROOT / "config/local.yaml", folder, _fake_upstream_server)
    ) as address:
        yield address


@pytest.fixture
def answering(fake_upstream: FakeUpstream) -> FakeUpstream:
    fake_upstream.replies["smollm2-135m-instruct"] = Reply(text=ANSWER)
    return fake_upstream


def test_00_shows_the_panel_and_an_answer_made_of_three() -> None:
    printed = run(sys.executable, str(EXAMPLES / "00-demo/demo.py"), "Why?").stdout
    assert "> Why?\n\nLayer 1: asking optimist, sceptic, planner, sleeper.\n" in printed
    assert "Layer 1: 3 of 4 answered; nothing from sleeper.\nI was shown 3 candidate" in printed


def test_01_python_prints_the_answer(embedded_default: str, answering: FakeUpstream) -> None:
    script = EXAMPLES / "01-first-answer/ask.py"
    printed = run(sys.executable, str(script), GATEWAY_URL=embedded_default).stdout
    assert printed.startswith(ANSWER)
    assert "tokens in all" in printed
    assert len(answering.log.entries) == 4


@needs_curl
@pytest.mark.usefixtures("answering")
def test_01_curl_shows_the_stream_to_its_end(embedded_default: str) -> None:
    script = EXAMPLES / "01-first-answer/ask.sh"
    printed = run("sh", str(script), GATEWAY_URL=embedded_default).stdout
    assert content_of(printed) == ANSWER
    assert printed.endswith("data: [DONE]\n\n")


def content_of(events: str) -> str:
    chunks = [json.loads(data) for data in re.findall(r"^data: (\{.*)$", events, re.MULTILINE)]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@needs_node
def test_01_javascript_is_a_module() -> None:
    run(str(NODE), "--check", str(EXAMPLES / "01-first-answer/ask.mjs"))


@needs_node
@pytest.mark.usefixtures("answering")
def test_01_javascript_prints_the_answer(embedded_default: str) -> None:
    folder = EXAMPLES / "01-first-answer"
    probe = [str(NODE), "--input-type=module", "-e", "await import('openai')"]
    if subprocess.run(probe, cwd=folder, capture_output=True, check=False).returncode:  # noqa: S603 - node
        pytest.skip("the npm package openai is not installed")
    printed = run(str(NODE), str(folder / "ask.mjs"), GATEWAY_URL=embedded_default).stdout
    assert printed.startswith(ANSWER)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.name)
@pytest.mark.usefixtures("answering")
def test_python_of_a_page_prints_the_answer(block: Block, embedded_default: str) -> None:
    assert README in block.text
    program = block.text.replace(README, embedded_default)
    assert run(sys.executable, "-", stdin=program).stdout == ANSWER


@needs_node
@pytest.mark.parametrize("block", blocks("js"), ids=lambda block: block.name)
def test_javascript_of_a_page_is_a_module(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "page.mjs"
    file.write_text(block.text)
    run(str(NODE), "--check", str(file))


@needs_curl
@pytest.mark.usefixtures("answering")
def test_curl_of_the_readme_shows_the_answer(embedded_default: str) -> None:
    page = ROOT / "README.md"
    command = next(b.text for b in blocks("sh") if b.page == page and "curl -N" in b.text)
    printed = run("sh", "-c", command.replace(README, embedded_default)).stdout
    assert content_of(printed) == ANSWER


def test_02_the_output_sees_drafts_and_reviews(tmp_path: Path, fake_upstream: FakeUpstream) -> None:
    config = over_the_fake(EXAMPLES / "02-your-own-graph/graph.yaml", tmp_path, fake_upstream)
    fake_upstream.replies["smollm2-135m-instruct"] = Reply(text=ANSWER)
    answer = run(
        *(sys.executable, "-m", "app", "ask", "Why is the sky blue?"),
        *("--config", str(config)),
    ).stdout
    assert answer.strip() == ANSWER
    bodies = [json.dumps(asked.body) for asked in fake_upstream.log.entries]
    shown = [len(set(re.findall(r"=== Response (\d+)", body))) for body in bodies]
    assert sorted(shown) == [0, 0, 0, 3, 3, 5]
    prompt = (EXAMPLES / "02-your-own-graph/critic.md").read_text().splitlines()[0]
    assert sum(prompt in body for body in bodies) == 1


def test_02_is_advised_against_by_nothing() -> None:
    run(sys.executable, "-m", "app", "check", "--strict", "examples/02-your-own-graph/graph.yaml")


@pytest.mark.usefixtures("answering")
def test_03_reports_progress_and_every_call(embedded_default: str) -> None:
    script = EXAMPLES / "03-what-the-panel-did/report.py"
    printed = run(sys.executable, str(script), GATEWAY_URL=embedded_default).stdout
    assert printed.startswith("Layer 1: asking careful, balanced, bold.\n")
    assert ANSWER in printed
    assert "degraded: no" in printed
    for node in ("layer 1 careful#1", "layer 1 balanced#1", "layer 1 bold#1", "layer 2 output#1"):
        assert node in printed


@needs_curl
def test_04_does_to_each_graph_what_its_page_says(
    tmp_path: Path, fake_upstream: FakeUpstream
) -> None:
    config = over_the_fake(EXAMPLES / "04-failing-models/graph.yaml", tmp_path, fake_upstream)
    with serving(config) as address:
        printed = run("sh", str(EXAMPLES / "04-failing-models/ask.sh"), GATEWAY_URL=address).stdout
    _, *parts = re.split(r"\n=== ", printed)
    answers = dict(part.split("\n", 1) for part in parts)
    assert list(answers) == ["degraded", "rescued", "patient", "rate-limited", "broken"]
    assert "x-moa-degraded: quorum_missed,single_reference\n" in answers["degraded"]
    assert "x-moa-degraded: fallback\n" in answers["rescued"]
    assert answers["patient"].startswith("HTTP/1.1 200")
    assert "x-moa-degraded" not in answers["patient"]
    assert answers["rate-limited"].startswith("HTTP/1.1 429")
    assert "retry-after: 7\n" in answers["rate-limited"]
    assert answers["broken"].startswith("HTTP/1.1 200")
    assert answers["broken"].strip().splitlines()[-1].startswith('data: {"error":')


def asked_for(config: Path, graph: str) -> dict[str, Any]:
    """What `moa ask --json` prints."""
    command = [sys.executable, "-m", "app", "ask", "What is 7 + 5?", "--json"]
    printed = run(*command, "--config", str(config), "--graph", graph).stdout
    answer: dict[str, Any] = json.loads(printed)
    return answer


def nodes_of(answer: dict[str, Any]) -> Counter[str]:
    """How many calls each node made."""
    return Counter(call["node"] for call in answer["moa"]["calls"])


def test_05_judges_and_counts(tmp_path: Path, fake_upstream: FakeUpstream) -> None:
    config = over_the_fake(EXAMPLES / "05-judge-and-vote/graph.yaml", tmp_path, fake_upstream)
    number = count(1)

    def speak(call: JsonObject) -> Reply:
        if "Best: <number>" in str(call["messages"]):
            return Reply(text="Best: 3")
        return Reply(text=f"Guess {(at := next(number))}. The answer is {12 if at % 3 else 9}.")

    fake_upstream.replies["smollm2-135m-instruct"] = speak
    judged = asked_for(config, "judged")
    assert judged["answer"].startswith("Guess ")
    assert nodes_of(judged) == {"sample": 4, "output": 1}
    assert judged["moa"]["degraded"] == []
    voted = asked_for(config, "voted")
    assert voted["answer"].endswith("The answer is 12.")
    assert nodes_of(voted) == {"sample": 5}


def test_06_merges_samples_of_one_model(tmp_path: Path, fake_upstream: FakeUpstream) -> None:
    config = over_the_fake(EXAMPLES / "06-self-moa/graph.yaml", tmp_path, fake_upstream)
    fake_upstream.replies["smollm2-135m-instruct"] = Reply(text=ANSWER)
    assert nodes_of(asked_for(config, "self-moa")) == {"sample": 4, "output": 1}
    assert nodes_of(asked_for(config, "self-moa-seq")) == {"sample": 7, "output": 3}
    bodies = [json.dumps(asked.body) for asked in fake_upstream.log.entries]
    shown = Counter(len(set(re.findall(r"=== Response (\d+)", body))) for body in bodies)
    assert shown == {0: 11, 4: 1, 3: 3}


@pytest.mark.parametrize("name", ["05-judge-and-vote", "06-self-moa"])
def test_05_and_06_are_advised_against_by_nothing(name: str) -> None:
    run(sys.executable, "-m", "app", "check", "--strict", f"examples/{name}/graph.yaml")


@needs_curl
def test_07_does_with_each_pool_what_its_page_says(
    tmp_path: Path, fake_upstream: FakeUpstream
) -> None:
    folder = EXAMPLES / "07-pool-and-faults"
    config = over_the_fake(folder / "gateway.yaml", tmp_path, fake_upstream)
    with serving(config) as address:
        printed = run("sh", str(folder / "ask.sh"), GATEWAY_URL=address).stdout
    _, *parts = re.split(r"\n=== ", printed)
    answers = [tuple(part.split("\n", 1)) for part in parts]
    statuses = [(name, text.split()[1]) for name, text in answers]
    told = dict(answers)
    assert statuses == [
        ("spread", "200"),
        ("keyed", "200"),
        ("rescued", "200"),
        ("resting", "502"),
        ("resting", "502"),
        ("resting", "503"),
        ("broken", "200"),
        ("panel", "200"),
    ]
    assert [name for name, text in answers if "x-moa-degraded" in text] == ["rescued"]
    assert "x-moa-degraded: fallback\n" in told["rescued"]
    assert re.search(r"^retry-after: (29|30)$", told["resting"], re.MULTILINE)
    assert told["broken"].strip().splitlines()[-1].startswith('data: {"error":')
    asked = Counter(entry.body["model"].partition("&")[0] for entry in fake_upstream.log.entries)
    assert asked["first?status=500"] == asked["keyed?status=429"] == asked["down?status=500"] == 1
    assert asked["down?status=503"] == 2
    assert asked["broken?tokens=20"] == 1
