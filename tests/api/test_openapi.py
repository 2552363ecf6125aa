"""The published schema says what is true of every address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from app.access.keyring import KeyRing
from app.access.keys import StaticKeys
from app.api.application import build_application
from app.api.paths import OPEN_PATHS
from app.protocol.json_types import JsonObject


@pytest.fixture
def document() -> JsonObject:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = build_application(lifespan, keys=KeyRing(StaticKeys(())), max_body=1024, insecure=False)
    return app.openapi()


def operations(document: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_every_operation_says_how_it_refuses(document: JsonObject) -> None:
    for path, operation in operations(document):
        content = operation["responses"]["default"]["content"]["application/json"]
        assert "error" in content["schema"]["required"], path


def test_a_key_is_asked_for_everywhere_but_at_the_open_paths(document: JsonObject) -> None:
    assert document["security"]
    free = {path for path, operation in operations(document) if operation.get("security") == []}
    assert free == OPEN_PATHS


def test_every_mapping_of_a_discriminator_is_to_a_reference(document: JsonObject) -> None:
    mappings = list(found(document, "mapping"))
    assert mappings
    assert all(isinstance(target, str) for mapping in mappings for target in mapping.values())


def test_every_reference_leads_somewhere(document: JsonObject) -> None:
    schemas = document["components"]["schemas"]
    targets = {str(reference).rpartition("/")[2] for reference in found(document, "$ref")}
    assert targets <= set(schemas)


def found(value: object, name: str) -> Iterator[JsonObject]:
    """Every value of this name, at any depth."""
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for each in value.values():
            yield from found(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from found(each, name)
