"""A folder to write configuration files into, and the refusal they get."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from app.config import LoadedConfig, load_config
from app.errors import ConfigError

UPSTREAM = "upstreams: {up: {base_url: https://up.example/v1}}\n"
MODELS = UPSTREAM + "models: {m: {upstream: up, model: m}, n: {upstream: up, model: n}}\n"


class Folder:
    """Writes files and loads the one called `main.yaml`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), "utf-8")
        return file

    def load(self, text: str, environ: Mapping[str, str] | None = None) -> LoadedConfig:
        return load_config(self.write("main.yaml", text), environ or {})

    def refusal(self, text: str, environ: Mapping[str, str] | None = None) -> str:
        with pytest.raises(ConfigError) as refusal:
            self.load(text, environ)
        return str(refusal.value).replace(f"{self.path}/", "")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def models() -> str:
    return MODELS


@pytest.fixture
def refusal(folder: Folder) -> Callable[..., str]:
    return folder.refusal
