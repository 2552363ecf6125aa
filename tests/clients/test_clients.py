"""Real clients see what they expect of OpenAI's API."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.clients.catalogue import CLIENTS, Client
from tests.clients.processes import Gateway, Outcome

pytestmark = pytest.mark.clients


def cases() -> Iterator[object]:
    for client in CLIENTS:
        for feature in client.features:
            yield pytest.param(client, feature, id=f"{client.name}: {feature}")


@pytest.mark.parametrize(("client", "name"), list(cases()))
def test_a_client_works_as_it_is(
    client: Client, name: str, gateway: Gateway, outcome: Callable[[Client], Outcome]
) -> None:
    feature = client.features[name]
    if feature.needs is not None and feature.needs not in gateway.paths:
        pytest.skip(f"{feature.needs} is not served yet")
    came = outcome(client)
    told = came.told[name]
    assert "failed" not in told, told["failed"]
    assert told["facts"] == feature.facts
    assert {model: came.asked[model] for model in feature.asked} == feature.asked
