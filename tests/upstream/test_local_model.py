from importlib.util import find_spec
from pathlib import Path

import anyio
import httpx
import pytest

from app.errors import ConfigError
from app.upstream import local_model
from app.upstream.local import embedded_servers
from app.upstream.local_model import MODEL_PACKAGE, model_file, problem_with
from app.upstream.local_spec import BUNDLED_MODEL, LlamaCppSpec

PROBLEM = problem_with(LlamaCppSpec())
needs_model = pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_model, "find_spec", lambda _name: None)


@pytest.mark.usefixtures("bare_machine")
def test_without_the_engine_the_problem_names_what_to_do_instead() -> None:
    problem = problem_with(LlamaCppSpec())
    assert problem is not None
    assert "xllamacpp" in problem
    assert "OLLAMA_BASE_URL" in problem


@pytest.mark.usefixtures("bare_machine")
def test_without_the_model_package_the_error_names_both_ways_out() -> None:
    with pytest.raises(ConfigError, match="any other GGUF file can be given") as caught:
        model_file(LlamaCppSpec())
    assert "OLLAMA_BASE_URL" in caught.value.message


def test_a_gguf_file_is_taken_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF rest")
    assert model_file(LlamaCppSpec(model=str(file))) == file.resolve()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="is not a GGUF file") as caught:
        model_file(LlamaCppSpec(model=str(file)), path="upstreams.local.llama_cpp.model")
    assert caught.value.path == "upstreams.local.llama_cpp.model"


def test_a_missing_file_is_named_with_what_is_accepted() -> None:
    with pytest.raises(ConfigError, match=r"`/nowhere/x\.gguf` cannot be read") as caught:
        model_file(LlamaCppSpec(model="/nowhere/x.gguf"))
    assert BUNDLED_MODEL in caught.value.message


@pytest.mark.skipif(find_spec(MODEL_PACKAGE) is None, reason="the model package is not installed")
def test_the_bundled_file_is_found_in_its_package() -> None:
    with model_file(LlamaCppSpec()).open("rb") as stream:
        assert stream.read(4) == b"GGUF"


@pytest.mark.local_model
@needs_model
async def test_the_real_model_answers_and_no_web_page_can_reach_it() -> None:
    spec = LlamaCppSpec(context=512, parallel=2, threads=1)
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    with anyio.fail_after(60):
        async with (
            embedded_servers({"local": spec}, environ={}) as addresses,
            httpx.AsyncClient(trust_env=False, headers={"origin": "http://a.example"}) as client,
        ):
            base = addresses["local"]
            answer = await client.post(f"{base}/chat/completions", json=body, timeout=60)
            preflight = await client.options(f"{base}/chat/completions")
            guessed = await client.get(httpx.URL(base).copy_with(path="/v1/models"))
    assert answer.json()["model"] == BUNDLED_MODEL
    assert answer.json()["usage"]["completion_tokens"] == 4
    assert preflight.headers["access-control-allow-origin"] == ""
    assert guessed.status_code == 404
