import pytest

from app.config import NothingToServe
from app.errors import ConfigError

TEXT = """
upstreams:
  here: {base_url: https://here.example}
  there: {base_url: https://there.example, api_key: "${THERE_KEY}", optional: true}
models:
  h: {upstream: here, model: h}
  t: {upstream: there, model: t}
graphs:
  local: {layers: [{proposers: [h]}], aggregator: h}
  short: {layers: [{proposers: [h, t]}], aggregator: h}
  wrapped: {layers: [{nodes: {inner: {model: short}}}], output: {model: h}}
  careful: {layers: [{proposers: [h]}], output: {model: h, fallback: [t, h, short]}}
  spare: {layers: [{nodes: {x: {model: h, fallback: [t]}}}], aggregator: h}
aliases: {far: t, farther: wrapped, near: local}
"""


def test_with_its_variable_an_optional_upstream_is_there(folder):
    loaded = folder.load(TEXT, {"THERE_KEY": "k"})
    assert loaded.left_out == ()
    assert set(loaded.config.graphs) == {"local", "short", "wrapped", "careful", "spare"}
    assert loaded.config.graphs["careful"].output.fallback == ("t", "h", "short")


def test_without_it_all_that_needs_the_upstream_is_left_out(folder):
    loaded = folder.load(TEXT)
    assert set(loaded.config.upstreams) == {"here"}
    assert set(loaded.config.models) == {"h"}
    assert set(loaded.config.graphs) == {"local", "careful", "spare"}
    assert loaded.config.aliases == {"near": "local"}


def test_in_a_fallback_list_only_the_missing_model_is_left_out(folder):
    graphs = folder.load(TEXT).config.graphs
    assert graphs["careful"].output.fallback == ("h",)
    assert graphs["spare"].layers[0].nodes["x"].fallback == ()


def test_each_thing_left_out_has_one_sentence_that_says_why(folder):
    assert folder.load(TEXT).left_out == (
        'Upstream "there" is left out: THERE_KEY is not set.',
        'Model "t" is left out: its upstream "there" is.',
        'Graph "short" is left out: its model "t" is.',
        'Alias "far" is left out: its target "t" is.',
        'Graph "wrapped" is left out: its model "short" is.',
        'Alias "farther" is left out: its target "wrapped" is.',
        'Fallback "t" of graph "careful" is left out: that model is.',
        'Fallback "short" of graph "careful" is left out: that model is.',
        'Fallback "t" of graph "spare" is left out: that model is.',
    )


def test_a_variable_in_what_is_left_out_need_not_be_set(folder):
    text = TEXT.replace("model: t}", 'model: "${THERE_MODEL}"}')
    assert "t" not in folder.load(text).config.models
    message = folder.refusal(text, {"THERE_KEY": "k"})
    assert message.endswith("models.t.model: the environment variable THERE_MODEL must be set")


def test_a_variable_that_is_not_a_text_of_an_optional_upstream_must_be_set(folder):
    text = TEXT.replace("https://here.example", "${HERE}")
    assert "upstreams.here.base_url: the environment variable HERE must be set" in (
        folder.refusal(text)
    )


def test_an_address_may_be_the_variable(folder):
    text = TEXT.replace("https://there.example", "${THERE}")
    assert "there" not in folder.load(text, {"THERE_KEY": "k"}).config.upstreams
    loaded = folder.load(text, {"THERE_KEY": "k", "THERE": "http://127.0.0.1:1/v1"})
    assert loaded.config.upstreams["there"].base_url == "http://127.0.0.1:1/v1"


def test_a_mistake_in_an_optional_upstream_is_found_before_its_variable_is_set(folder):
    text = TEXT.replace("optional: true", "optional: true, transprt: httpx")
    assert 'upstreams.there.transprt: unknown field; did you mean "transport"?' in (
        folder.refusal(text)
    )


@pytest.mark.parametrize("word", ["yes", "'true'", "1"])
def test_optional_is_true_or_false_and_nothing_like_it(folder, word):
    message = folder.refusal(TEXT.replace("optional: true", f"optional: {word}"))
    assert "upstreams.there.optional: found" in message
    assert "expected true or false" in message


def test_if_nothing_remains_the_start_stops_and_names_the_variables(folder):
    text = """
        upstreams:
          a: {base_url: https://a.example, api_key: "${A_KEY}", optional: true}
          b: {base_url: "${B_URL}", api_key: "${B_KEY}", optional: true}
        models: {m: {upstream: a, model: m}, n: {upstream: b, model: n}}
        graphs: {g: {layers: [{proposers: [m]}], aggregator: n}}
        """
    with pytest.raises(NothingToServe) as refusal:
        folder.load(text)
    assert isinstance(refusal.value, ConfigError)
    assert refusal.value.message.endswith(
        "nothing is left to serve; set one of these variables: A_KEY, B_URL and B_KEY"
    )
