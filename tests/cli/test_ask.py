from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from app.protocol.json_types import JsonObject
from app.upstream.fake_server import FakeUpstream, Reply
from tests.cli.conftest import Moa


def asked(fake_upstream: FakeUpstream, model: str) -> list[JsonObject]:
    return [entry.body for entry in fake_upstream.log.entries if entry.model == model]


def test_the_first_graph_answers_and_stdout_holds_nothing_else(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["a-1"] = Reply(text="Because of the air.")
    result = moa("ask", "Why is the sky blue?", "--config", config)
    assert (result.exit_code, result.stdout) == (0, "Because of the air.\n")
    assert [len(asked(fake_upstream, model)) for model in ("a-1", "b-1")] == [2, 1]


def test_progress_and_bill_go_to_stderr_as_plain_lines(moa: Moa, config: Path) -> None:
    lines = moa("ask", "hello", "--config", config).stderr.splitlines()
    asking = {line for line in lines if ": asking " in line}
    assert asking == {
        "layer 1, a: asking a",
        "layer 1, b: asking b",
        "layer 2, output: asking a",
    }
    assert sum(": ok 2 tokens after " in line for line in lines) == 3
    assert lines[-1].startswith("30 + 6 tokens · cost $0.000042 · ")


def test_samples_are_told_apart(moa: Moa, config: Path) -> None:
    lines = moa("ask", "hello", "--config", config, "--graph", "solo").stderr.splitlines()
    assert {"layer 1, only#1: asking b", "layer 1, only#2: asking b"} <= set(lines)


def test_a_plain_model_may_be_asked(moa: Moa, config: Path, fake_upstream: FakeUpstream) -> None:
    fake_upstream.replies["b-1"] = Reply(text="Just me.")
    result = moa("ask", "hello", "--config", config, "-g", "b")
    assert (result.exit_code, result.stdout) == (0, "Just me.\n")
    assert len(fake_upstream.log.entries) == 1


def test_question_and_system_message_reach_the_models(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    moa("ask", "-", "--system", "Be brief.", "--config", config, stdin="two\nlines")
    (body,) = asked(fake_upstream, "b-1")
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "two\nlines"},
    ]


def test_json_holds_answer_usage_and_run_and_stderr_is_silent(moa: Moa, config: Path) -> None:
    result = moa("ask", "hello", "--json", "--config", config)
    found = orjson.loads(result.stdout)
    assert (found["model"], found["answer"], result.stderr) == ("duo", "An answer.", "")
    assert found["usage"]["total_tokens"] == 36
    assert [call["node"] for call in found["moa"]["calls"]] == ["a", "b", "output"]


def test_a_degraded_answer_says_so(moa: Moa, config: Path, fake_upstream: FakeUpstream) -> None:
    fake_upstream.replies["b-1"] = Reply(status=500)
    result = moa("ask", "hello", "--config", config)
    assert result.exit_code == 0
    assert "layer 1, b: failed upstream_unavailable after " in result.stderr
    assert "degraded: quorum_missed, single_reference" in result.stderr.splitlines()[-1]


def test_a_failed_graph_is_one_line_and_exit_code_1(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies |= {"a-1": Reply(status=500), "b-1": Reply(status=500)}
    result = moa("ask", "hello", "--config", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("moa: The graph 'duo' got 0 of 1 reference")
    assert "Traceback" not in result.stderr


def test_the_causes_of_a_failure_are_told_to_who_runs_it(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    refused = Reply(status=401, body="Bad\nkey \x1b[2J")
    fake_upstream.replies |= {"a-1": refused, "b-1": refused}
    lines = moa("ask", "hello", "--config", config).stderr.splitlines()
    told = [line for line in lines if line.startswith(("a: ", "b: "))]
    assert {line[:3] for line in told} == {"a: ", "b: "}
    assert all(line.endswith("Bad key [2J") for line in told)


def test_the_answer_stands_alone_where_both_streams_go_into_one_pipe(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["a-1"] = Reply(text="one two three four", every="60ms")
    output = moa("ask", "hello", "--config", config).output.splitlines()
    answer = output.index("one two three four")
    assert output[answer + 1].startswith("layer 2, output: ok")


def test_an_answer_that_breaks_off_ends_its_line_before_the_error(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["b-1"] = Reply(text="one two three", after=2, then="cut", every="1ms")
    result = moa("ask", "hello", "--config", config, "-g", "b")
    assert result.exit_code == 1
    assert result.stdout.startswith("one ")
    assert result.stdout.endswith("\n")
    assert result.stderr.splitlines()[-1].startswith("moa: ")


def test_an_unknown_graph_is_refused_with_the_names_there_are(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    result = moa("ask", "hello", "--graph", "trio", "--config", config)
    assert result.exit_code == 1
    assert "There are: duo, solo, a, b." in result.stderr
    assert fake_upstream.log.entries == []


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(moa: Moa, config: Path, question: str) -> None:
    assert moa("ask", "-", "--config", config, stdin=question).exit_code == 2


def test_a_pipe_gets_the_answer_as_it_is(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    text = "\x1b]0;title\x07[bold]\u009bred :smile:\r\n"
    fake_upstream.replies["b-1"] = Reply(text=text)
    assert moa("ask", "hello", "--config", config, "-g", "b").stdout_bytes == text.encode()
