"""Which addresses the gateway connects to: the guard between a configured name and the network.

A name is the operator's, what it resolves to may be somebody else's. So every address is looked at
right before a connection to it is opened, by the transports; no name is resolved here.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = IPv4Address | IPv6Address

_FORBIDDEN = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local; the metadata of AWS, Azure, Google and others
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google
        "fd00:42::42/128",  # Scaleway
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host, a public address by its number
        "192.0.0.192/32",  # Oracle
        "224.0.0.0/4",  # multicast
        "ff00::/8",  # multicast
        "255.255.255.255/32",  # broadcast
    )
)
_EMBEDDING = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/96"), ip_network("::/96"))
"""NAT64 (RFC 6052, RFC 8215) and IPv4-compatible: an IPv4 address in the last 32 bits."""
_ITSELF = (IPv6Address("::"), IPv6Address("::1"))
_INSIDE = ("localhost", "localdomain", "local", "internal", "svc", "lan", "home.arpa")
"""Endings of names that no public name has, or that only a cluster's resolver knows."""


REFUSED = 1_000_169
"""An errno that no system has: client libraries keep it where they join several errors into one."""


class AddressRefused(OSError):
    """The guard's no; an OSError, so that client libraries go on to the next address."""

    def __init__(self, why: str) -> None:
        super().__init__(REFUSED, why)

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True, slots=True)
class Egress:
    """What may be connected to: public addresses, and private ones where the operator wants it."""

    allows_private: bool = False

    def check(self, address: str) -> None:
        """Raise AddressRefused unless a connection to this IP address may be opened."""
        if is_forbidden(address):
            raise AddressRefused(f"{address} is a link-local, metadata or multicast address")
        if not self.allows_private and not _unwrapped(address).is_global:
            raise AddressRefused(
                f"{address} is private, and the upstream's name does not say so: set private: true"
            )

    def socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """A socket for one entry of `getaddrinfo`; raises AddressRefused."""
        family, kind, protocol, _, address = info
        self.check(str(address[0]))
        return socket.socket(family, kind, protocol)


def egress_to(base_url: str | None, *, private: bool | None, is_proxied: bool) -> Egress:
    """The guard of an upstream's connections.

    Private addresses are for embedded servers, for proxies (where the proxy's address is the one
    that is connected to), for `private: true`, and for names that are private by themselves.
    """
    if base_url is None or is_proxied:
        return Egress(allows_private=True)
    if private is not None:
        return Egress(private)
    return Egress(is_private_name(urlsplit(base_url).hostname or ""))


def is_private_name(host: str) -> bool:
    """Whether a host says by itself that it is no public one.

    A private address, a name without a dot (compose services, `localhost`), or one below `.local`
    (`vllm.default.svc.cluster.local`), `.internal`, `.svc`, `.lan`, `.home.arpa`.
    """
    name = host.rstrip(".").lower()
    try:
        return not _unwrapped(name).is_global
    except ValueError:
        return "." not in name or name.endswith(tuple(f".{ending}" for ending in _INSIDE))


def is_forbidden(address: str) -> bool:
    """Whether an IP address is never connected to, whoever asks for it; False for names."""
    try:
        found = _unwrapped(address)
    except ValueError:
        return False
    return any(found in network for network in _FORBIDDEN)


def _unwrapped(address: str) -> Address:
    """The address that packets end up at: IPv4 inside IPv6 by any of the known ways."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address) or found in _ITSELF:
        return found
    if found.ipv4_mapped or found.sixtofour:
        return found.ipv4_mapped or found.sixtofour or found
    is_embedding = any(found in network for network in _EMBEDDING)
    return IPv4Address(int(found) & 0xFFFFFFFF) if is_embedding else found
