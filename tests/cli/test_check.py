from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from app.upstream.fake_server import FakeUpstream, Reply
from tests.cli.conftest import Moa


def test_a_valid_file_is_drawn_with_its_calls_and_its_price(moa: Moa, config: Path) -> None:
    result = moa("check", config)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{config} is valid"
    assert "│ │ a │ │ b │" in result.stdout
    assert "calls: 3, 3 in the worst case · critical path: 2 calls · depth: 1" in lines
    # a and b: 1000 + 2 x 500 each; a again, with two references: 2000 + 2 x 500
    assumed = "4000 + 1500 tokens from 1000 for the prompt, 500 for each answer"
    assert f"a typical request: $0.007 ({assumed})" in lines
    assert "models: a, b" in lines


def test_what_is_left_out_is_told_and_no_warning(moa: Moa, config: Path) -> None:
    sentence = "Left out gone (A_KEY_NOBODY_SET is not set), with 1 model"
    assert sentence in moa("check", config).stdout.splitlines()
    assert orjson.loads(moa("check", config, "--json").stdout)["left_out"] == [sentence]
    assert moa("check", config, "--strict").exit_code == 0


def test_a_warning_fails_only_a_strict_check(
    moa: Moa, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOA_PROT", "1")
    assert moa("check", config).exit_code == 0
    assert moa("check", config, "--strict").exit_code == 1


def test_a_strict_check_of_a_file_without_warnings_passes(moa: Moa, config: Path) -> None:
    flawless = config.read_text().replace(", optional: true", "")
    flawless = flawless.replace("${A_KEY_NOBODY_SET}", "some-key")
    config.write_text(flawless)
    result = moa("check", config, "--strict")
    assert (result.exit_code, "warning" in result.stdout) == (0, False)


def test_advice_on_a_graph_is_shown_with_it(moa: Moa, config: Path) -> None:
    config.write_text(config.read_text().replace("[a, b]", "[a]"))
    assert "warning: layer 1 gives one answer only" in moa("check", config).stdout


def test_an_unknown_setting_is_a_warning(
    moa: Moa, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOA_PROT", "1")
    assert "did you mean MOA_PORT?" in moa("check", config).stdout


def test_a_price_that_is_missing_makes_the_estimate_unknown(moa: Moa, config: Path) -> None:
    config.write_text(config.read_text().replace("a-1, price: {input: 1, output: 2}", "a-1"))
    assert "price unknown" in moa("check", config).stdout
    (duo, solo) = orjson.loads(moa("check", config, "--json").stdout)["graphs"]
    assert (duo["typical_cost"], duo["unpriced_models"]) == (None, ["a"])
    assert solo["typical_cost"] == pytest.approx(0.007)


def test_json_says_the_same_to_programs(moa: Moa, config: Path) -> None:
    found = orjson.loads(moa("check", config, "--json").stdout)
    assert (found["file"], found["models"]) == (str(config), ["a", "b"])
    assert [graph["name"] for graph in found["graphs"]] == ["duo", "solo"]
    assert found["graphs"][0] | {"warnings": []} == {
        "name": "duo",
        "description": "",
        "expected_calls": 3,
        "worst_case_calls": 3,
        "critical_path": 2,
        "depth": 1,
        "typical_cost": 0.007,
        "typical_tokens": {"prompt": 4000, "answers": 1500},
        "unpriced_models": [],
        "warnings": [],
    }


def test_the_file_may_come_from_the_environment(
    moa: Moa, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOA_CONFIG", str(config))
    assert moa("check").stdout.splitlines()[:2] == [f"{config} is valid", "Named by MOA_CONFIG."]


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("aggregator: a", "aggregator: nobody", ":12: graphs.duo.aggregator: "),
        ("upstream: fake", "upstrem: fake", "models.a.upstrem"),
        (
            "proposers: [a, b]",
            "proposers: [a, b]\n        quorum: 9",
            "graphs.duo.layers[0].quorum",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_path_and_no_traceback(
    moa: Moa, config: Path, good: str, bad: str, told: str
) -> None:
    config.write_text(config.read_text().replace(good, bad, 1))
    result = moa("check", config)
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(config) in result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_not_there_is_refused(moa: Moa, tmp_path: Path) -> None:
    result = moa("check", tmp_path / "nowhere.yaml")
    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr


def test_nothing_is_asked_without_being_told_to(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["a-1"] = Reply()
    assert orjson.loads(moa("check", config, "--json").stdout)["probes"] == []


def test_a_probe_finds_the_models_an_upstream_has(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies |= {"a-1": Reply(), "b-1": Reply()}
    result = moa("check", config, "--probe")
    assert result.exit_code == 0
    assert "probe: ok: fake: lists the model (a, b)" in result.stdout.splitlines()


def test_a_model_the_upstream_does_not_have_fails_the_probe(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["a-1"] = Reply()
    told = moa("check", config, "--probe").stdout.splitlines()
    assert "probe: NO: fake: does not list the model (b)" in told
    result = moa("check", config, "--probe", "--json")
    assert result.exit_code == 2
    listed = {probe["model"]: probe["listed"] for probe in orjson.loads(result.stdout)["probes"]}
    assert listed == {"a": True, "b": False}


def test_caps_are_shown_and_strengths_and_seeds_of_the_file_are_looked_at(
    moa: Moa, config: Path
) -> None:
    text = config.read_text()
    text = text.replace("model: a-1,", "model: a-1, strength: 1000,")
    text = text.replace("model: b-1,", "model: b-1, strength: 1200, extra_body: {seed: 1},")
    config.write_text(f"{text}    caps: {{max_calls: 6, max_cost: 0.05, on_cap: error}}\n")
    shown = moa("check", config).stdout
    assert "caps: 6 calls, $0.05, then error" in shown
    assert "output: a (strength 1000) works on what b (strength 1200) wrote" in shown
    assert "layer 1 asks b 2 times with the same `seed`" in shown


def test_an_upstream_that_is_not_there_is_told_once_and_whole(
    moa: Moa, config: Path, fake_upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    config.write_text(config.read_text().replace(fake_upstream.base_url, "http://127.0.0.1:9/v1"))
    result = moa("check", config, "--probe")
    assert result.exit_code == 2
    assert "probe: NO: fake: connection refused at http://127.0.0.1:9/v1 (a, b)" in (
        result.stdout.splitlines()
    )


POOL = """\
  two:
    deployments: [{{upstream: fake, model: a-1}}, {{upstream: fake, model: {second}}}]
    price: {{input: 3, output: 6}}
    fallback: [b]
graphs:
"""


def with_pool(config: Path, second: str = "b-1") -> None:
    text = config.read_text().replace("graphs:\n", POOL.format(second=second))
    config.write_text(text.replace("aggregator: a", "aggregator: two"))


def test_a_pool_is_told_with_its_deployments_and_fallbacks(moa: Moa, config: Path) -> None:
    with_pool(config)
    result = moa("check", config)
    assert "models: a, b, two (2 deployments, else b)" in result.stdout.splitlines()
    # a and b: 1000 + 2 x 500 each; two, with two references: 3 x 2000 + 6 x 500
    assert "a typical request: $0.013 " in result.stdout
    found = orjson.loads(moa("check", config, "--json").stdout)
    assert found["models"] == ["a", "b", "two"]
    assert found["pools"][2] == {
        "name": "two",
        "deployments": ["fake/a-1", "fake/b-1"],
        "retries": 2,
        "hedged": False,
        "fallback": ["b"],
        "prices": [
            {
                "deployment": f"fake/{model}",
                "source": "config",
                "usd_per_million": {"input": 3.0, "output": 6.0, "cached_input": None},
            }
            for model in ("a-1", "b-1")
        ],
        "warnings": [],
    }


def test_a_pool_is_warned_of_like_a_graph(moa: Moa, config: Path) -> None:
    with_pool(config)
    config.write_text(config.read_text().replace("fallback: [b]", "retries: 0"))
    assert "warning: two has 2 deployments and no retries" in moa("check", config).stdout
    assert moa("check", config, "--strict").exit_code == 1


def test_every_deployment_of_a_pool_is_probed(
    moa: Moa, config: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies |= {"a-1": Reply(), "b-1": Reply()}
    with_pool(config, second="c-1")
    result = moa("check", config, "--probe")
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert "probe: ok: fake: lists the model (a, b, two[0])" in lines
    assert "probe: NO: fake: does not list the model (two[1])" in lines
    probes = orjson.loads(moa("check", config, "--probe", "--json").stdout)["probes"]
    assert [(each["model"], each["upstream_model"], each["listed"]) for each in probes] == [
        ("a", "a-1", True),
        ("b", "b-1", True),
        ("two", "a-1", True),
        ("two", "c-1", False),
    ]
