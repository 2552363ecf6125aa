"""The composition root: what it reads, and that a wrong configuration stops the start."""

import logging
from pathlib import Path

import anyio
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.errors import ConfigError
from app.main import create_app, create_worker

CONFIG = """
upstreams:
  there: {base_url: http://127.0.0.1:9/v1}
  gone: {base_url: "${NOT_SET}", optional: true}
models:
  a: {upstream: there, model: x}
  b: {upstream: gone, model: y}
"""


async def names(app: FastAPI) -> list[str]:
    async with app.router.lifespan_context(app):
        return list(app.state.services.runtime().served)


def settings(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    return Settings.read({}, config=file)


async def test_what_cannot_be_served_is_left_out_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "moa")

    assert await names(create_app(settings(tmp_path, CONFIG), environ={})) == ["a"]
    assert "NOT_SET" in caplog.text


async def test_open_mode_is_said_at_the_start(tmp_path, caplog):
    await names(create_app(settings(tmp_path, CONFIG), environ={}))

    assert "open mode" in caplog.text


@pytest.mark.parametrize(
    "text", ["models: {a: {upstream: none, model: x}}", "upstreams: [", "modles: {}"]
)
async def test_a_wrong_configuration_stops_the_start_and_names_the_file(tmp_path, text):
    with pytest.raises(ConfigError, match=r"gateway\.yaml"):
        await names(create_app(settings(tmp_path, text), environ={}))


async def test_a_graph_that_cannot_be_compiled_is_located_too(tmp_path):
    text = CONFIG + "graphs:\n  g: {layers: [{proposers: [a], quorum: 5}], aggregator: a}\n"
    with pytest.raises(ConfigError, match=r"gateway\.yaml"):
        await names(create_app(settings(tmp_path, text), environ={}))


async def test_two_starts_of_one_application_work(tmp_path):
    app = create_app(settings(tmp_path, CONFIG), environ={})

    assert await names(app) == await names(app)


async def test_a_worker_finds_its_settings_in_its_environment(tmp_path, monkeypatch):
    (tmp_path / "worker.yaml").write_text(CONFIG)
    monkeypatch.setenv("MOA_CONFIG", str(tmp_path / "worker.yaml"))
    before = {name: logging.getLogger(name).handlers[:] for name in ("moa", "uvicorn")}
    try:
        assert await names(create_worker()) == ["a"]
    finally:
        for name, handlers in before.items():
            logging.getLogger(name).handlers[:] = handlers
            logging.getLogger(name).propagate = True
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger("uvicorn.access").disabled = False


@pytest.mark.parametrize("watched", [True, False])
async def test_the_files_are_watched_while_it_runs_unless_that_is_switched_off(tmp_path, watched):
    chosen = settings(tmp_path, CONFIG).model_copy(update={"watch_config": watched})
    app = create_app(chosen, environ={})
    async with app.router.lifespan_context(app):
        assert _is_watching() is watched
    assert not _is_watching()


def _is_watching() -> bool:
    return any("reload.watch" in (task.name or "") for task in anyio.get_running_tasks())
