from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import UpstreamUnavailable
from app.upstream.egress import AddressRefused, Egress, egress_to, is_private_name
from app.upstream.probe import probe
from app.upstream.spec import UpstreamSpec

if TYPE_CHECKING:
    from app.upstream.deployment import Deployment

METADATA = "169.254.169.254"
FORBIDDEN = [
    METADATA,
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
]
PRIVATE = ["127.0.0.1", "::1", "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "192.168.1.1"]  # noqa: S104
PRIVATE += ["fd12::1", "100.64.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]

Resolver = Callable[..., "Answers"]


class Answers:
    """A resolver: one list of addresses for each lookup, the last one for all that follow."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **_: object) -> list[tuple[Any, ...]]:
        self.asked.append(host if isinstance(host, str) else host.decode())
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [_info(address, int(port)) for address in addresses]


def _info(address: str, port: int) -> tuple[Any, ...]:
    is_v6 = ":" in address
    where = (address, port, 0, 0) if is_v6 else (address, port)
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where


@pytest.fixture
async def resolving(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    def resolve(*answers: list[str]) -> Answers:
        found = Answers(*answers)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found.getaddrinfo)
        return found

    return resolve


def port_of(raw: Any) -> int:
    return urlsplit(raw.url).port or 0


@pytest.mark.parametrize("address", FORBIDDEN)
@pytest.mark.parametrize("egress", [Egress(), Egress(allows_private=True)])
def test_metadata_and_link_local_addresses_are_never_connected_to(
    address: str, egress: Egress
) -> None:
    with pytest.raises(AddressRefused):
        egress.check(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_needs_the_operators_word(address: str) -> None:
    with pytest.raises(AddressRefused, match="private: true"):
        Egress().check(address)
    Egress(allows_private=True).check(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_connected_to(address: str) -> None:
    Egress().check(address)


@given(st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_no_way_of_writing_a_link_local_address_inside_ipv6_passes(address: object) -> None:
    for written in (f"{address}", f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}"):
        with pytest.raises(AddressRefused):
            Egress(allows_private=True).check(written)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "ollama",
        "vllm.default.svc",
        "vllm.default.svc.cluster.local",
        "vllm.default.svc.cluster.local.",
        "host.docker.internal",
        "NAS.lan",
        "box.home.arpa",
        "127.0.0.1",
        "192.168.1.5",
        "fd12::1",
    ],
)
def test_names_of_composes_clusters_and_homes_are_private_by_themselves(host: str) -> None:
    assert is_private_name(host)


@pytest.mark.parametrize(
    "host", ["api.openai.com", "llm.example.com", "local.example.com", "8.8.8.8", "mylocal.dev"]
)
def test_other_names_are_not(host: str) -> None:
    assert not is_private_name(host)


def test_who_may_connect_to_private_addresses() -> None:
    public, own = "https://llm.example.com/v1", "http://ollama:11434/v1"

    def allows(base_url: str | None, *, private: bool | None = None, proxied: bool = False) -> bool:
        return egress_to(base_url, private=private, is_proxied=proxied).allows_private

    assert not allows(public)
    assert allows(public, private=True)
    assert allows(own)
    assert not allows(own, private=False)
    assert allows(None)
    assert allows(public, proxied=True)


@pytest.mark.parametrize("host", [METADATA, "[fe80::1]", "[::ffff:169.254.169.254]"])
def test_a_metadata_address_in_the_configuration_is_refused_at_once(host: str) -> None:
    with pytest.raises(ValidationError, match="link-local or metadata"):
        UpstreamSpec.model_validate({"base_url": f"http://{host}/v1"})


@pytest.mark.parametrize("addresses", [[METADATA], ["10.0.0.1"], ["fe80::1", "127.0.0.1"]])
async def test_a_name_that_resolves_to_no_allowed_address_is_not_connected_to(
    deploy: Callable[..., Deployment],
    asking: Any,
    raw: Any,
    resolving: Resolver,
    addresses: list[str],
) -> None:
    resolving(addresses)
    deployment = deploy(base_url=f"http://llm.example.com:{port_of(raw)}/v1")
    with pytest.raises(UpstreamUnavailable) as caught:
        await asking(deployment).go()
    assert caught.value.should_retry is False
    assert (
        str(caught.value) == "Upstream 'up' is at an address that the gateway does not connect to."
    )
    assert caught.value.detail is not None
    assert any(address in caught.value.detail for address in addresses)
    assert raw.connections == []


async def test_a_private_name_still_leads_to_no_metadata_address(
    deploy: Callable[..., Deployment], asking: Any, resolving: Resolver
) -> None:
    resolving([METADATA])
    with pytest.raises(UpstreamUnavailable, match="does not connect to"):
        await asking(deploy(base_url="http://metadata.google.internal/v1")).go()
    assert "metadata" in (await probe(deploy(base_url="http://metadata.google.internal/v1"))).says


@pytest.mark.parametrize("upstream", [{"private": True}, {}])
async def test_a_private_address_is_reached_where_the_operator_says_so(
    deploy: Callable[..., Deployment],
    asking: Any,
    raw: Any,
    resolving: Resolver,
    upstream: dict[str, bool],
) -> None:
    resolver = resolving(["127.0.0.1"])
    host = "llm.example.com" if upstream else "ollama"
    call = await asking(
        deploy(base_url=f"http://{host}:{port_of(raw)}/v1", **upstream), stream=False
    ).go()
    assert call.chunks
    assert resolver.asked == [host]
    assert raw.requests[0].headers["host"].startswith(host)


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    deploy: Callable[..., Deployment], asking: Any, raw: Any, resolving: Resolver
) -> None:
    """Rebinding: a second lookup would lead elsewhere, so there is none."""
    resolver = resolving(["127.0.0.1"], [METADATA])
    deployment = deploy(base_url=f"http://ollama:{port_of(raw)}/v1")
    await asking(deployment, stream=False).go()
    await asking(deployment, stream=False).go()
    assert len(resolver.asked) == 1
    assert len(raw.connections) == 1


async def test_a_refused_address_does_not_keep_from_the_next_one(
    deploy: Callable[..., Deployment], asking: Any, raw: Any, resolving: Resolver
) -> None:
    resolving([METADATA, "127.0.0.1"])
    deployment = deploy(base_url=f"http://ollama:{port_of(raw)}/v1")
    await asking(deployment, stream=False).go()
    assert len(raw.requests) == 1


async def test_with_a_proxy_the_proxys_address_is_looked_at(
    deploy: Callable[..., Deployment], asking: Any, raw: Any, resolving: Resolver
) -> None:
    resolver = resolving(["127.0.0.1"], [METADATA])
    proxy = f"http://proxy.example.com:{port_of(raw)}"
    url = "http://llm.example.com/v1"
    await asking(deploy(base_url=url, proxy=proxy), stream=False).go()
    assert set(resolver.asked) == {"proxy.example.com"}
    with pytest.raises(UpstreamUnavailable, match="does not connect to"):
        await asking(deploy(base_url=url, proxy="http://other.example.com:3128")).go()
