"""Requests made from the published OpenAPI document, right and wrong ones, find nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from app.protocol.json_types import JsonObject
from tests.clients.catalogue import ENVIRONMENTS, HERE
from tests.clients.processes import Gateway, environment
from tests.clients.upstream import KEY, replies

pytestmark = pytest.mark.clients

ASKED = {"authorization": f"Bearer {KEY}"}
SERVED = ["panel", "text", "flaky"]
DAYS = {"from", "to"}
EXAMPLES = 40
SECONDS = 300.0
NOT_ALONE = {f"#/components/schemas/Responses{name}" for name in ("Reasoning", "ItemReference")}
"""Items that are no input without others, or name what was kept."""


@pytest.fixture
def published(gateway: Gateway) -> JsonObject:
    gateway.upstream.reset()
    gateway.upstream.replies |= replies()
    document: JsonObject = httpx.get(f"{gateway.address}/openapi.json", headers=ASKED).json()
    return document


def try_all(gateway: Gateway, document: JsonObject, folder: Path, *options: str) -> None:
    """Let schemathesis make requests from a document; what it finds is the test's failure."""
    program = ENVIRONMENTS / "schemathesis/bin/st"
    if not program.exists():
        pytest.skip("not installed: make test-clients does that")
    file = folder / "openapi.json"
    file.write_text(json.dumps(document))
    done = subprocess.run(  # noqa: S603 - a development tool
        [
            *(str(program), "run", str(file), "--url", gateway.address, "--seed", "1"),
            *("--max-examples", str(EXAMPLES), "--request-timeout", "20", *options),
            *("--header", f"Authorization: Bearer {KEY}"),
        ],
        cwd=folder,
        env={
            **environment(gateway.address),
            "SCHEMATHESIS_HOOKS": str(HERE / "scripts/fuzz_hooks.py"),
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_nothing_is_found_where_names_are_made_up(
    gateway: Gateway, published: JsonObject, tmp_path: Path
) -> None:
    made_up = ("--exclude-checks", "positive_data_acceptance")
    try_all(gateway, published, tmp_path, *made_up)


def test_nothing_is_found_where_models_are_known(
    gateway: Gateway, published: JsonObject, tmp_path: Path
) -> None:
    try_all(gateway, with_what_is_served(published), tmp_path)


def with_what_is_served(document: JsonObject) -> JsonObject:
    """The document with the models that there are, without what no schema can say."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            # The first day must not be after the last.
            kept = [each for each in operation.get("parameters", ()) if each["name"] not in DAYS]
            operation["parameters"] = kept
            for parameter in kept:
                if parameter["name"] == "name":
                    parameter["schema"] = {"enum": SERVED}
            if "requestBody" in operation and not path.startswith("/admin/"):
                restrict(path, operation["requestBody"]["content"]["application/json"]["schema"])
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("MoaWishes"):
            del schema["properties"]["timeout"]  # some are too short for any answer: 504
    return document


def restrict(path: str, body: JsonObject) -> None:
    fields = body["properties"]
    if "model" in fields:
        fields["model"] = {"enum": ["embedder"] if path.endswith("/embeddings") else SERVED}
    if path.endswith("/completions") and "prompt" in fields:
        del fields["best_of"]  # has to equal `n`,
        del fields["n"]  # which counts for each prompt
    if path.endswith("/responses"):
        del fields["previous_response_id"]
        body["allOf"] = [rule for rule in body["allOf"] if "previous" not in str(rule)]
        body["required"].append("input")
        fields["tool_choice"] = {"enum": ["none", "auto", "required", None]}  # not of which tool
        text, items, _ = fields["input"]["anyOf"]
        items["items"]["oneOf"] = [
            item for item in items["items"]["oneOf"] if item.get("$ref") not in NOT_ALONE
        ]
        fields["input"] = {"anyOf": [text, {**items, "minItems": 1}]}
