import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.config import NothingToServe, load_config
from app.errors import ConfigError

SHORT = "graphs: {g: {layers: [{proposers: [m, n]}], aggregator: m}}\n"


def test_the_short_form_of_the_documentation_loads(folder, models):
    config = folder.load(models + SHORT).config
    assert config.graphs["g"].layers[0].proposers == ("m", "n")
    assert config.models["m"].upstream == "up"
    assert config.upstreams["up"].base_url == "https://up.example/v1"


def test_the_long_form_loads_with_its_numbers_and_durations(folder, models):
    config = folder.load(
        models
        + """
graphs:
  deep:
    layers:
      - nodes:
          bold: {kind: propose, model: m, temperature: 0.7, samples: 3}
        quorum: 2
        grace: 500ms
        deadline: 2m
    output: {kind: aggregate, model: n, inputs: [bold], fallback: [m]}
"""
    ).config
    layer = config.graphs["deep"].layers[0]
    assert (layer.quorum, layer.grace, layer.deadline) == (2, 0.5, 120.0)
    assert config.graphs["deep"].output.fallback == ("m",)


def test_a_price_is_the_decimal_that_was_written(folder):
    config = folder.load(
        """
        upstreams: {up: {base_url: https://up.example}}
        models: {m: {upstream: up, model: m, price: {input: 0.9, output: 1}}}
        """
    ).config
    assert config.models["m"].price.input == Decimal("0.9")


def test_a_section_without_entries_is_empty(folder, models):
    assert folder.load(models + "graphs:\naliases:\n").config.graphs == {}


def test_names_may_hold_slashes_and_colons(folder):
    text = """
        upstreams: {up: {base_url: https://up.example}}
        models: {qwen/qwen3:8b: {upstream: up, model: m}}
        aliases: {gpt-4o: qwen/qwen3:8b}
        """
    assert folder.load(text).config.aliases == {"gpt-4o": "qwen/qwen3:8b"}


def test_variables_are_put_into_texts(folder):
    text = """
        upstreams: {up: {base_url: "https://${HOST}/v1", api_key: "${KEY}"}}
        models: {m: {upstream: up, model: "$${m}"}}
        """
    config = folder.load(text, {"HOST": "h.example", "KEY": "k"}).config
    assert config.upstreams["up"].base_url == "https://h.example/v1"
    assert config.upstreams["up"].api_key.get_secret_value() == "k"
    assert config.models["m"].model == "${m}"


def test_a_variable_needs_no_quotes_in_a_flow_mapping(folder):
    text = """
        upstreams: {up: {base_url: https://${HOST}/v1, api_key: ${KEY}}}
        models: {m: {upstream: up, model: a$${b}c}}
        """
    config = folder.load(text, {"HOST": "h.example", "KEY": "k"}).config
    assert config.upstreams["up"].base_url == "https://h.example/v1"
    assert config.upstreams["up"].api_key.get_secret_value() == "k"
    assert config.models["m"].model == "a${b}c"


def test_two_loads_share_nothing(folder, models):
    first, second = folder.load(models), folder.load(models)
    assert first.config == second.config
    assert first.config.models is not second.config.models
    with pytest.raises(ValidationError):
        first.config.graphs = {}


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            "{layers: [{proposers: [m], quorum: four}], aggregator: m}",
            'main.yaml:4: graphs.g.layers[0].quorum: found "four", expected an integer ≥ 1',
        ),
        (
            "{layers: [{proposers: [m], quorum: true}], aggregator: m}",
            "main.yaml:4: graphs.g.layers[0].quorum: found true, expected an integer ≥ 1",
        ),
        (
            "{layers: [{proposers: [m], quorum: '2'}], aggregator: m}",
            'main.yaml:4: graphs.g.layers[0].quorum: found "2", expected an integer ≥ 1',
        ),
        (
            "{layers: [{proposers: [m], quorum: 0}], aggregator: m}",
            "main.yaml:4: graphs.g.layers[0].quorum: found 0, expected a number ≥ 1",
        ),
        (
            "{layers: [{proposers: [m], grace: soon}], aggregator: m}",
            (
                'main.yaml:4: graphs.g.layers[0].grace: found "soon", '
                "expected seconds or a duration such as 500ms, 5s, 2m or 1h"
            ),
        ),
        (
            "{layers: [{proposers: m}], aggregator: m}",
            (
                'main.yaml:4: graphs.g.layers[0].proposers: found "m", '
                "expected a list that is not empty"
            ),
        ),
        (
            "{layers: [{proposers: []}], aggregator: m}",
            (
                "main.yaml:4: graphs.g.layers[0].proposers: found an empty list, "
                "expected a list that is not empty"
            ),
        ),
        (
            "{layers: [{proposers: [m]}], aggregator: m, on_empty: shrug}",
            'main.yaml:4: graphs.g.on_empty: found "shrug", expected one of "error", "answer"',
        ),
        (
            "{layers: [{nodes: {a: {kind: guess, model: m}}}], aggregator: m}",
            'main.yaml:4: graphs.g.layers[0].nodes.a.kind: found "guess", expected one of propose',
        ),
        (
            "{layers: [{nodes: {a: {temperature: 1.0}}}], aggregator: m}",
            "main.yaml:4: graphs.g.layers[0].nodes.a.model: is missing, expected text",
        ),
        (
            "{layers: [{nodes: {a: m}}], aggregator: m}",
            "main.yaml:4: graphs.g.layers[0].nodes.a: found text, expected a mapping",
        ),
        (
            "{layers: [{proposers: [m]}]}",
            "main.yaml:4: graphs.g: has neither of `aggregator` and `output`",
        ),
        (
            "{layers: [{proposers: [m]}], aggregator: m, output: {model: m}}",
            "main.yaml:4: graphs.g: has both of `aggregator` and `output`",
        ),
        (
            "{layers: [{quorum: 1}], aggregator: m}",
            "main.yaml:4: graphs.g.layers[0]: has neither of `proposers` and `nodes`",
        ),
        (
            "{layers: [{proposers: [m], nodes: {a: {model: m}}}], aggregator: m}",
            "main.yaml:4: graphs.g.layers[0]: has both of `proposers` and `nodes`",
        ),
        ("[m]", "main.yaml:4: graphs.g: found a list, expected a mapping"),
        ("", "main.yaml:4: graphs.g: found nothing, expected a mapping"),
    ],
)
def test_a_wrong_value_is_refused_with_line_path_and_what_is_accepted(
    refusal, models, graph, message
):
    assert refusal(f"{models}graphs:\n  g: {graph}\n").startswith(message)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("limts: {}\n", 'main.yaml:3: limts: unknown field; did you mean "limits"? accepted: '),
        (
            "graphs: {g: {layers: [{proposers: [m], quorom: 1}], aggregator: m}}",
            (
                "main.yaml:3: graphs.g.layers[0].quorom: unknown field; "
                'did you mean "quorum"? accepted: deadline, filter, grace, nodes, proposers, '
                "quorum, stop"
            ),
        ),
        (
            "graphs: {g: {layers: [{nodes: {a: {model: m, sample: 2}}}], aggregator: m}}",
            (
                "main.yaml:3: graphs.g.layers[0].nodes.a.sample: unknown field; "
                'did you mean "samples"? accepted: fallback, '
            ),
        ),
    ],
)
def test_an_unknown_field_is_refused_with_the_accepted_ones(refusal, models, text, line):
    assert refusal(models + text).startswith(line)


def test_fields_of_a_node_are_those_of_its_kind(refusal, models):
    graph = "graphs: {g: {layers: [{proposers: [m]}], output: {model: m, sample: 2}}}"
    message = refusal(models + graph)
    assert "graphs.g.output.sample: unknown field; accepted: " in message
    assert "samples" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models: {m: {upstream: opnai, model: m}}",
            (
                'models.m.upstream: found "opnai", which is no upstream; '
                'did you mean "openai"? accepted: openai'
            ),
        ),
        (
            "models: {m: {upstream: openai, model: m}}\ngraphs: {m: {layers: [], aggregator: m}}",
            "graphs.m: is also a model; a name is a model or a graph, never both",
        ),
        (
            "models: {m: {upstream: openai, model: m}}\naliases: {a: n}",
            'aliases.a: found "n", which is no model or graph; accepted: m',
        ),
        (
            "models: {m: {upstream: openai, model: m}}\naliases: {a: b, b: m}",
            'aliases.a: found "b", which is an alias itself; name its target',
        ),
        (
            "models: {m: {upstream: openai, model: m}}\naliases: {m: m}",
            "aliases.m: is also a model, which the alias would hide",
        ),
        (
            "models: {m m: {upstream: openai, model: m}}",
            'models.m m: the name "m m" is not accepted: expected up to 128 letters',
        ),
        (
            'models: {"m\\r\\nx": {upstream: openai, model: m}}',
            "is not accepted: expected up to 128 letters",
        ),
        ("models: [m]", "models: found a list, expected a mapping of names"),
        ("models: {m: m}", "models.m: found text, expected a mapping"),
    ],
)
def test_names_that_lead_nowhere_or_twice_are_refused(refusal, text, message):
    assert message in refusal(f"upstreams: {{openai: {{base_url: https://x.example}}}}\n{text}\n")


def test_everything_wrong_is_reported_at_once_in_the_order_of_the_lines(refusal):
    lines = refusal(
        """
        upstreams:
          a: {base_url: ftp://x, apikey: k}
        models:
          m: {upstream: b, model: 5}
        graphs:
          g: {layers: [{proposers: [m], quorum: x}], aggregator: m, on_emty: error}
        aliases: {z: y}
        """
    ).splitlines()
    assert lines[0] == "7 problems"
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "upstreams.a.apikey",
        "upstreams.a.base_url",
        "models.m.model",
        "models.m.upstream",
        "graphs.g.layers[0].quorum",
        "graphs.g.on_emty",
        "aliases.z",
    ]


SECRETS = ["sk-planted-1", "sk-planted-2", "sk-planted-3", "sk-planted-4", "sk-planted-5"]


def test_no_secret_is_shown_however_wrong_its_place(refusal):
    message = refusal(
        """
        upstreams:
          a: sk-planted-1
          b: {base_url: sk-planted-2, api_key: [sk-planted-3], key: sk-planted-4}
          c: {base_url: https://x.example, api_key: 20261124, headers: {x-key: [sk-planted-5]}}
          d: {base_url: https://user:sk-planted-1@x.example, proxy: sk-planted-2}
          e: {base_url: https://x.example, headers: sk-planted-3, extra_body: sk-planted-4}
        models: {m: {upstream: c, model: m}}
        """
    )
    assert message.startswith("10 problems\n")
    for secret in (*SECRETS, "20261124"):
        assert secret not in message


def test_no_value_of_a_variable_is_shown(refusal):
    text = """
        upstreams: {up: {base_url: "${SECRET}", transport: "${SECRET}"}}
        models: {m: {upstream: "${SECRET}", model: m}}
        """
    message = refusal(text, {"SECRET": "sk-planted-1"})
    assert "sk-planted-1" not in message
    assert 'upstreams.up.transport: found "${SECRET}", expected one of' in message


def test_a_number_as_key_is_told_to_be_quoted(refusal):
    text = "upstreams: {up: {base_url: https://x.example, api_key: 5}}"
    message = refusal(text + "\nmodels: {m: {upstream: up, model: m}}")
    assert "upstreams.up.api_key: found a number (quote it to make it text)" in message


def test_an_unset_variable_stops_the_start(refusal):
    text = """
        upstreams: {up: {base_url: https://x.example, api_key: "${KEY}"}}
        models: {m: {upstream: up, model: "${A}-${B}"}}
        """
    message = refusal(text, {"KEY": " "})
    assert "2: upstreams.up.api_key: the environment variable KEY must be set" in message
    assert "3: models.m.model: the environment variables A, B must be set" in message


def test_what_is_no_reference_to_a_variable_is_refused(refusal):
    text = """
        upstreams: {up: {base_url: https://x.example, api_key: ${KEY:-none}}}
        models: {m: {upstream: up, model: "${MODEL:-none}"}}
        """
    message = refusal(text)
    assert 'models.m.model: found "${MODEL:-none}", expected ${NAME}, or $${ for' in message
    assert "upstreams.up.api_key: found no name in ${…}, expected ${NAME}" in message


def test_text_that_is_no_unicode_is_refused(refusal, models):
    text = models + 'graphs: {g: {description: "\\uD800", layers: [{proposers: [m]}]}}'
    assert "graphs.g.description: is not valid Unicode text" in refusal(text)


def test_a_file_that_defines_nothing_is_refused(folder):
    with pytest.raises(NothingToServe, match="defines no model and no graph"):
        folder.load("upstreams: {up: {base_url: https://x.example}}")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("graphs.g.layers[0].quorum", 6),
        ("graphs.g.layers[0].proposers[1]", 5),
        ("graphs.g.layers[0].deadline", 5),
        ("graphs.g.output", 4),
        ("graphs.v1.5.output.model", 8),
        ("graphs", 3),
    ],
)
def test_an_error_of_the_compiler_gets_file_and_line(folder, models, path, line):
    loaded = folder.load(
        models
        + """graphs:
  g:
    layers: [{proposers: [m, n],
        quorum: 2}]
    aggregator: m
  v1.5: {layers: [{proposers: [m]}], output: {model: m}}
"""
    )
    located = loaded.located(ConfigError("is wrong", path=path))
    assert str(located) == f"{folder.path}/main.yaml:{line}: {path}: is wrong"


names = st.sampled_from(["up", "m", "g", "system", "a.b", "{x}"])
fields = st.sampled_from(
    [
        "upstream",
        "model",
        "optional",
        "base_url",
        "price",
        "layers",
        "nodes",
        "proposers",
        "output",
        "fallback",
        "kind",
    ]
)
scalars = st.sampled_from([None, True, 0, -1.5, "", "m", "up", "${X}", "${", "a.md", "propose"])
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | fields, inner, max_size=4),
    max_leaves=25,
)
sections = st.dictionaries(names, trees, max_size=3) | trees


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("upstreams", "models", "graphs", "aliases", "include", "limits", "other"), sections
        ),
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_is_loaded_or_refused(tmp_path_factory, tree):
    file = tmp_path_factory.mktemp("fuzz") / "c.yaml"
    file.write_text(json.dumps(tree), "utf-8")
    with contextlib.suppress(ConfigError):
        load_config(file, {})


def test_an_error_that_has_a_file_stays_as_it_is(folder, models):
    error = ConfigError("is wrong", file="other.yaml", path="graphs.g")
    assert folder.load(models).located(error) is error
