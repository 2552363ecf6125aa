"""The command `llm`, told of the gateway in its `extra-openai-models.yaml`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from facts import CITY, KEY, QUESTION, V1, feature, tell

LLM = Path(sys.executable).parent / "llm"
FUNCTION = 'def add(a: int, b: int) -> int:\n    "Add two numbers."\n    return a + b\n'
MODEL = """
- model_id: {model}
  model_name: {model}
  api_base: {address}
  api_key_name: moa
  supports_tools: true
  supports_schema: true
"""


def llm(model: str, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        models = MODEL.format(model=model, address=V1)
        Path(folder, "extra-openai-models.yaml").write_text(models)
        command = [str(LLM), "-m", model, "--key", key, "--no-log", *arguments, QUESTION]
        return subprocess.run(  # noqa: S603 - the client
            command,
            env={**os.environ, "LLM_USER_PATH": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@feature
def whole() -> object:
    done = llm("panel", "--no-stream", "--usage")
    return {"text": done.stdout.strip(), "usage": done.stderr.strip()}


@feature
def streamed() -> object:
    return {"text": llm("panel").stdout.strip()}


@feature
def tools() -> object:
    return {"answer": llm("tools", "--no-stream", "--functions", FUNCTION).stdout.strip()}


@feature
def tools_streamed() -> object:
    return {"answer": llm("tools", "--functions", FUNCTION).stdout.strip()}


@feature
def structured() -> object:
    return json.loads(llm("object", "--schema", json.dumps(CITY)).stdout)


@feature
def errors() -> object:
    def code(text: str) -> str:
        return text.partition("Error code: ")[2][:3]

    return {
        "401": code(llm("panel", key="wrong").stderr),
        "404": code(llm("none").stderr),
    }


tell()
