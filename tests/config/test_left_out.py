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


def test_each_upstream_left_out_has_one_sentence_that_says_why_and_what_goes_with_it(folder):
    assert folder.load(TEXT).left_out == (
        "Left out there (THERE_KEY is not set), with 1 model, 2 graphs, 2 aliases and 3 fallbacks",
    )


def test_what_needs_several_upstreams_is_counted_once(folder):
    text = TEXT.replace(
        "models:", '  far: {base_url: "${A}", api_key: "${B}", optional: true}\nmodels:', 1
    )
    text = text.replace("graphs:", "  f: {upstream: far, model: f}\ngraphs:", 1)
    text += "  both: t\n" if False else ""
    text = text.replace("proposers: [h, t]", "proposers: [h, t, f]")
    assert folder.load(text).left_out == (
        "Left out there (THERE_KEY is not set), with 1 model, 2 graphs, 2 aliases and 3 fallbacks",
        "Left out far (A and B are not set), with 1 model",
    )


def test_an_upstream_that_nothing_needs_goes_alone(folder):
    text = TEXT.replace("models:", '  far: {base_url: "${A}", optional: true}\nmodels:', 1)
    assert "Left out far (A is not set)" in folder.load(text, {"THERE_KEY": "k"}).left_out


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


@pytest.mark.parametrize(
    "graph",
    [
        "{output: {kind: route, otherwise: t}}",
        "{output: {kind: route, otherwise: h, rules: [{to: t, when: {has_tools: true}}]}}",
        "{output: {kind: route, otherwise: h, ask: {model: t, choices: {h: x, local: y}}}}",
        "{output: {kind: route, otherwise: h, ask: {model: h, choices: {h: x, t: y}}}}",
        "{layers: [{proposers: [h], filter: {by: embedding, model: t}}], aggregator: h}",
        "{layers: [{proposers: [h], stop: {when: judge, model: t}}], aggregator: h}",
    ],
)
def test_whoever_routes_to_it_or_compares_with_it_is_left_out_too(folder, graph):
    text = TEXT.replace("aliases:", f"  more: {graph}\naliases:")
    assert "more" in folder.load(text, {"THERE_KEY": "k"}).config.graphs
    assert "more" not in folder.load(text).config.graphs


POOLS = """
upstreams:
  here: {base_url: https://here.example}
  there: {base_url: https://there.example, api_key: "${THERE_KEY}", optional: true}
models:
  mixed:
    deployments:
      - {upstream: there, model: t, api_key: "${OTHER_KEY}"}
      - {upstream: here, model: h}
      - {upstream: there, model: u}
    hedge: on
    fallback: [spare, t, last]
  t: {deployments: [{upstream: there, model: t}, {upstream: there, model: u}]}
  spare: {upstream: here, model: s, fallback: [t]}
  last: {upstream: here, model: l}
graphs:
  uses: {layers: [{proposers: [mixed, spare]}], aggregator: mixed}
  needs: {layers: [{proposers: [mixed]}], aggregator: t}
"""


def test_of_a_pool_only_the_missing_deployments_and_fallbacks_are_left_out(folder):
    config = folder.load(POOLS).config
    mixed = config.models["mixed"]
    assert [entry.model for entry in mixed.entries()] == ["h"]
    assert mixed.fallback == ("spare", "last")
    assert mixed.hedge_over(config.upstreams) is None
    assert config.models["spare"].fallback == ()


def test_a_pool_goes_with_its_last_deployment_and_takes_its_graphs_along(folder):
    config = folder.load(POOLS).config
    assert set(config.models) == {"mixed", "spare", "last"}
    assert set(config.graphs) == {"uses"}


def test_what_goes_of_pools_is_counted_in_the_one_sentence(folder):
    assert folder.load(POOLS).left_out == (
        (
            "Left out there (THERE_KEY is not set), "
            "with 2 deployments, 1 model, 1 graph and 2 fallbacks"
        ),
    )


def test_with_its_variable_a_pool_is_whole(folder):
    loaded = folder.load(POOLS, {"THERE_KEY": "k", "OTHER_KEY": "o"})
    assert len(loaded.config.models["mixed"].entries()) == 3
    assert loaded.config.models["mixed"].fallback == ("spare", "t", "last")
    message = folder.refusal(POOLS, {"THERE_KEY": "k"})
    assert "models.mixed.deployments[0].api_key: the environment variable OTHER_KEY" in message


def test_what_serves_two_missing_upstreams_is_put_down_to_the_first(folder):
    text = POOLS.replace("models:", '  far: {base_url: "${FAR}", optional: true}\nmodels:', 1)
    text = text.replace("here, model: h}", "far, model: h}")
    assert folder.load(text).left_out == (
        "Left out there (THERE_KEY is not set), with 2 models, 2 graphs and 1 fallback",
        "Left out far (FAR is not set)",
    )
