"""The command `curl`, as in the README."""

from __future__ import annotations

import json
import subprocess

from facts import ASK, KEY, V1, feature, tell


def curl(path: str, *options: str, key: str = KEY, body: object = None) -> str:
    command = ["curl", "-sS", "--max-time", "30", "-H", f"authorization: Bearer {key}", *options]
    if body is not None:
        command += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    done = subprocess.run(  # noqa: S603 - the client
        [*command, V1 + path], capture_output=True, text=True, check=True
    )
    return done.stdout


def ask(model: str = "panel", **others: object) -> dict[str, object]:
    return {"model": model, "messages": ASK, **others}


@feature
def whole() -> object:
    answer = json.loads(curl("/chat/completions", body=ask()))
    text = answer["choices"][0]["message"]["content"]
    return {"text": text, "tokens": answer["usage"]["total_tokens"]}


@feature
def streamed() -> object:
    lines = curl("/chat/completions", "-N", body=ask(stream=True)).splitlines()
    *events, end = [line.removeprefix("data: ") for line in lines if line]
    pieces = [json.loads(event)["choices"][0]["delta"].get("content") for event in events]
    return {"pieces": [piece for piece in pieces if piece], "end": end}


@feature
def not_compressed() -> object:
    stream = curl("/chat/completions", "-i", "--compressed", body=ask(stream=True))
    head = stream.partition("\n\n")[0].lower()
    return {"encoded": "content-encoding" in head, "type": "text/event-stream" in head}


@feature
def kept_alive() -> object:
    address = f"{V1}/models"
    told = curl("/models", "-w", "%{num_connects} ", "-o", "/dev/null", address, "-o", "/dev/null")
    return {"connections": sum(map(int, told.split()))}


@feature
def errors() -> object:
    def status(*options: str, **others: object) -> str:
        path = "/chat/completions"
        return curl(path, "-o", "/dev/null", "-w", "%{http_code}", *options, **others)

    return {
        "400": status(body=[]),
        "401": status(key="wrong", body=ask()),
        "404": status(body=ask("none")),
        "405": status("-X", "DELETE"),
        "429": status(body=ask("limited")),
    }


@feature
def models() -> object:
    listed = json.loads(curl("/models"))["data"]
    return {"listed": "panel" in [model["id"] for model in listed]}


tell()
