from pathlib import Path

import pytest

from app.config import NothingToServe, default_config_path, load_config
from app.config.environment import texts, variables
from app.config.yaml_source import read_source
from app.engine.compile import compile_graphs
from app.errors import ConfigError
from app.interfaces import Abilities

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
GATEWAY = CONFIG / "gateway.yaml"
FILES = [GATEWAY, CONFIG / "local.yaml", *sorted((CONFIG / "graphs").glob("*.yaml"))]

KEYS = {
    "OPENAI_API_KEY": {"moa-openai"},
    "ANTHROPIC_API_KEY": {"moa-anthropic"},
    "GEMINI_API_KEY": {"moa-gemini"},
    "TOGETHER_API_KEY": {"moa-together"},
    "OPENROUTER_API_KEY": {"moa-openrouter", "moa-openrouter-lite", "moa-openrouter-deep"},
    "OLLAMA_BASE_URL": {"moa-ollama"},
    "VLLM_BASE_URL": {"moa-vllm"},
}
MIXED = {"moa", "moa-lite", "moa-deep"}


def environ(*names: str) -> dict[str, str]:
    """A value for each variable, addresses where one is meant."""
    values = {name: "http://127.0.0.1:1/v1" if "URL" in name else "test-key" for name in names}
    return values | ({"VLLM_MODEL": "test"} if "VLLM_BASE_URL" in names else {})


class Pool:
    abilities = Abilities()

    def __init__(self, name: str) -> None:
        self.name = name

    async def answer(self, request, step, emit) -> None:
        raise NotImplementedError


def compiled(config):
    return compile_graphs(config.graphs, {name: Pool(name) for name in config.models})


def test_the_embedded_default_needs_no_variable():
    loaded = load_config(CONFIG / "local.yaml", {})
    assert loaded.left_out == ()
    assert set(loaded.config.graphs) == {"moa"}
    nodes = loaded.config.graphs["moa"].layers[0].nodes
    assert len({node.temperature for node in nodes.values()}) == len(nodes) == 3
    assert compiled(loaded.config)["moa"].name == "moa"


def test_with_every_key_every_graph_is_served_and_nothing_is_left_out():
    loaded = load_config(GATEWAY, environ(*KEYS))
    assert loaded.left_out == ()
    assert set(loaded.config.graphs) == MIXED.union(*KEYS.values())
    assert set(compiled(loaded.config)) == set(loaded.config.graphs)


@pytest.mark.parametrize("key", KEYS)
def test_with_one_key_its_vendor_has_a_graph(key):
    loaded = load_config(GATEWAY, environ(key))
    assert set(loaded.config.graphs) == KEYS[key]
    assert set(compiled(loaded.config)) == KEYS[key]
    assert len(loaded.config.upstreams) == 1
    assert len(loaded.left_out) == len(set(loaded.left_out)) == len(KEYS) - 1


def test_the_graphs_across_vendors_need_three_keys():
    names = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
    assert set(load_config(GATEWAY, environ(*names)).config.graphs) >= MIXED


def test_without_a_key_the_message_names_every_variable():
    with pytest.raises(NothingToServe) as refusal:
        load_config(GATEWAY, {})
    assert all(name in refusal.value.message for name in KEYS)


def test_the_comment_for_newcomers_names_every_variable_and_graph():
    comment = GATEWAY.read_text("utf-8").split("include:")[0]
    assert all(name in comment for name in KEYS)
    assert all(graph in comment for graphs in KEYS.values() for graph in graphs)


def test_no_other_variable_is_read_than_those_tested_here():
    named = {
        name for file in FILES for _, text in texts(read_source(file).tree)
        for name in variables(text)
    }  # fmt: skip
    assert named == {*KEYS, "VLLM_MODEL"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_editors_find_the_schema(file):
    first = file.read_text("utf-8").splitlines()[0]
    head, _, name = first.partition("$schema=")
    assert head == "# yaml-language-server: "
    assert (file.parent / name).resolve() == CONFIG / "schema.json"


def test_without_a_key_the_embedded_model_serves_and_the_log_says_why():
    default = default_config_path({}, CONFIG)
    assert default.path == CONFIG / "local.yaml"
    assert "because no provider variable is set (OPENAI_API_KEY, " in default.reason
    assert "nothing is left" not in default.reason


@pytest.mark.parametrize("key", KEYS)
def test_with_any_provider_key_the_providers_serve(key):
    default = default_config_path(environ(key), CONFIG)
    assert default.path == GATEWAY
    assert str(GATEWAY) in default.reason


def test_a_mistake_in_the_gateway_file_is_not_hidden_by_the_embedded_model(folder):
    folder.write("gateway.yaml", "modls: {}")
    folder.write("local.yaml", "models: {}")
    with pytest.raises(ConfigError, match="modls: unknown field"):
        default_config_path({}, folder.path)


def test_files_in_the_folder_come_before_those_that_are_shipped(folder, models):
    folder.write("local.yaml", models)
    default = default_config_path({}, folder.path)
    assert default.path == folder.path / "local.yaml"


def test_without_the_folder_the_shipped_files_serve(tmp_path):
    assert default_config_path({}, tmp_path / "config").path.name == "local.yaml"
