from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.errors import ConfigError, UpstreamUnavailable
from app.interfaces import Abilities, ChatModel
from app.record import Price, Target
from app.upstream.deployment import Transports, build_deployment, open_transports
from app.upstream.httpx_transport import HttpxTransport
from app.upstream.spec import ModelSpec, UpstreamSpec

UPSTREAM = UpstreamSpec(base_url="https://x/v1")
MODEL = ModelSpec(upstream="up", model="vendor/m")


def test_transports_are_shared_by_all_that_need_the_same() -> None:
    transports = Transports()
    plain = transports.of("a", UPSTREAM)
    assert transports.of("b", UpstreamSpec(base_url="https://y", vision=False)) is plain
    proxied = UpstreamSpec.model_validate({"base_url": "https://x", "proxy": "http://p:1"})
    assert transports.of("c", proxied) is not plain
    assert transports.of("d", proxied) is transports.of("e", proxied)
    second = UpstreamSpec(base_url="https://x", transport="httpx")
    assert isinstance(transports.of("f", second), HttpxTransport)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unusable_ca_file_is_a_mistake_in_the_configuration(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    spec = UpstreamSpec(base_url="https://x", ca_file=str(file))
    with pytest.raises(ConfigError) as caught:
        Transports().of("up", spec)
    assert caught.value.path == "upstreams.up.ca_file"
    assert str(file) in caught.value.message


def test_a_deployment_is_a_model_that_knows_what_it_is() -> None:
    spec = ModelSpec.model_validate(
        {
            "upstream": "up",
            "model": "vendor/m",
            "context": 100,
            "max_output": 10,
            "price": {"input": 1, "output": "2.5"},
            "audio": False,
        }
    )
    upstream = UpstreamSpec(base_url="https://x", tools=False)
    deployment: ChatModel = build_deployment("pool", spec, "up", upstream, Transports())
    assert deployment.name == "pool"
    assert deployment.abilities == Abilities(100, 10, audio=False, tools=False)
    assert build_deployment("pool", spec, "up", upstream, Transports()).target == Target(
        "pool", "up", "vendor/m", Price(Decimal(1), Decimal("2.5"))
    )


def test_an_embedded_server_needs_the_address_it_was_started_at() -> None:
    embedded = UpstreamSpec.model_validate({"llama_cpp": {}})
    with pytest.raises(ConfigError):
        build_deployment("pool", MODEL, "local", embedded, Transports())
    assert build_deployment(
        "pool", MODEL, "local", embedded, Transports(), base_url="http://127.0.0.1:1/v1/"
    )


def test_nothing_secret_is_printed() -> None:
    spec = UpstreamSpec.model_validate({"base_url": "https://x", "api_key": "sk-secret"})
    deployment = build_deployment("pool", MODEL, "up", spec, Transports())
    assert "sk-secret" not in repr(deployment)


async def test_the_key_is_struck_from_what_is_logged(raw: Any, deploy: Any, asking: Any) -> None:
    raw.script = raw.answers(raw.json({"error": {"message": "no: sk-secret"}}, 500))
    with pytest.raises(UpstreamUnavailable) as caught:
        await asking(deploy(api_key="sk-secret")).go()
    assert "sk-secret" not in (caught.value.detail or "")
    assert "no: ***" in (caught.value.detail or "")


async def test_one_transport_can_stand_in_for_all(asking: Any, raw: Any) -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=raw.completion("mocked"))

    only = HttpxTransport(inner=httpx.MockTransport(answer))
    async with open_transports(only) as transports:
        deployment = build_deployment("pool", MODEL, "up", UPSTREAM, transports)
        assert (await asking(deployment, stream=False).go()).text == "mocked"
