"""What a page tells a reader to type, write or follow is there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from app.cli import app as moa
from app.config import Settings, load_config
from app.config.settings import variable
from app.engine.compile import compile_graphs
from app.upstream.fake import FakeModel
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, code, links

OWN_VARIABLES: set[str] = set()
"""Variables of configuration files that are shipped, not settings."""
MAKE_ARGS = {"run": "serve"}
"""What `ARGS` of a make target goes to."""


class AnyVariable(Mapping[str, str]):
    """An environment in which everything is set."""

    def __getitem__(self, name: str) -> str:
        return "http://127.0.0.1:9/v1" if name.endswith("_URL") else f"value-of-{name.lower()}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, name: object) -> bool:
        return True


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_make_targets_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in code(page):
        for target in re.findall(r"(?:^|&& |; )make ([a-z-]+)", line):
            assert target in targets, line


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_moa_commands_and_their_options_exist(page: Path) -> None:
    commands = get_command(moa).commands  # type: ignore[attr-defined] # typer's is a group
    for line in code(page):
        for name, rest in commands_in(line):
            assert name in commands, line
            command = commands[name]
            if below := getattr(command, "commands", None):
                inner = rest.split()[0] if rest.split() else ""
                assert re.fullmatch(r"[a-z]+", inner) is None or inner in below, line
                command = below.get(inner, command)
            known = {option for param in command.params for option in param.opts}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= known | {"--help"}, line


def commands_in(line: str) -> Iterator[tuple[str, str]]:
    """Commands of `moa` in a line of code, each with the text after it; comments are left out."""
    line = re.sub(r"(^|\s)#.*", "", line)
    yield from re.findall(r"(?:^|\bbin/|&& )moa ([a-z]+)((?:[^&|;]|&(?!&))*)", line)
    for target, arguments in re.findall(r"make ([a-z]+) ARGS=\"([^\"]*)\"", line):
        if target in MAKE_ARGS:
            yield MAKE_ARGS[target], f" {arguments}"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_settings_exist(page: Path) -> None:
    known = {variable(field) for field in Settings.model_fields} | OWN_VARIABLES
    assert set(re.findall(r"\bMOA_[A-Z_]+\b", page.read_text())) <= known


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.name)
def test_configuration_in_a_page_can_be_served(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(completed(block.text))
    config = load_config(file, AnyVariable()).config
    compile_graphs(config.graphs, {name: FakeModel(name) for name in config.models}, config.limits)


def completed(text: str) -> str:
    """A block, if it shows graphs only with the models it names; else as it is written."""
    tree = yaml.safe_load(text)
    if "models" in tree:
        return text
    used = set(models_in(tree["graphs"])) - set(tree["graphs"])
    tree["upstreams"] = {"any": {"base_url": "http://127.0.0.1:9/v1"}}
    tree["models"] = {name: {"upstream": "any", "model": name} for name in sorted(used)}
    return str(yaml.safe_dump(tree, sort_keys=False))


def models_in(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for entry in value:
            yield from models_in(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key in {"model", "aggregator"}:
                yield entry
            elif key in {"proposers", "fallback"}:
                yield from entry
            else:
                yield from models_in(entry)


def test_the_providers_of_the_readme_are_those_of_the_configuration() -> None:
    text = (ROOT / "README.md").read_text()
    _, _, section = text.partition("## Use your providers")
    section, _, _ = section.partition("\n## ")
    told = set(re.findall(r"`(moa[a-z-]*)`", section))
    told_variables = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", section))
    gateway = ROOT / "config/gateway.yaml"
    assert told == set(load_config(gateway, AnyVariable()).config.graphs)
    files = (gateway, *(ROOT / "config/graphs").glob("*.yaml"))
    written = "\n".join(file.read_text() for file in files)
    assert told_variables == set(re.findall(r"^[^#\n]*\$\{(\w+)\}", written, re.MULTILINE))


def test_examples_are_listed() -> None:
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    page = (ROOT / "examples/README.md").read_text()
    assert {target.strip("/") for target in re.findall(r"\]\(([^)]+)\)", page)} == folders


def test_decisions_are_listed_and_numbered_in_a_row() -> None:
    files = sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    page = (ROOT / "docs/decisions/README.md").read_text()
    assert re.findall(r"\]\((0[^)]+)\)", page) == files


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.name)
def test_shell_in_a_page_parses(block: Block) -> None:
    done = subprocess.run(
        ["sh", "-n"],  # noqa: S607 - whichever shell a reader has
        input=block.text,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
