"""What a leg of AmneziaWG goes by: one peer, and every way that may lead to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from pharos.caravel.tunnel.seeking import Try
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.icmp import InnerAddress
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.awg.ranges import Range

EVERYTHING: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@attrs.frozen(kw_only=True)
class WayIn:
    """Where and how the peer may listen, and with which secret."""

    host: str
    """Host name or IP address."""
    port: int
    parameters: ObfuscationParameters
    preshared_key: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class EchoRoute:
    """Between which addresses the node is asked inside the tunnel whether it is there."""

    source: InnerAddress
    destination: InnerAddress


@attrs.frozen(kw_only=True)
class AmneziaPlan:
    """How one peer is reached."""

    name: str
    """For people."""
    private_key: bytes = attrs.field(repr=False)
    public_key: bytes = attrs.field(repr=bytes.hex)
    ways: tuple[WayIn, ...]
    """In the order in which they are tried; all lead to the same key. At least one."""
    echo: EchoRoute | None = None
    """None: the peer is asked by handshakes alone."""
    allowed_ips: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = EVERYTHING
    mtu: int = DEFAULT_MTU
    keepalive: float | Range = 0.0
    """Seconds, where the peer cannot be asked by echoes."""

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(way.host for way in self.ways))

    def tries(self, addresses: Mapping[str, Sequence[str]]) -> list[Try]:
        """Return what to try, given what the hosts resolve to; those are left out that resolve to nothing."""
        return [
            Try(
                parameters=way.parameters,
                peer=PeerConfig(
                    public_key=self.public_key,
                    preshared_key=way.preshared_key,
                    allowed_ips=self.allowed_ips,
                    endpoint=(address, way.port),
                    persistent_keepalive=self.keepalive,
                ),
            )
            for way in self.ways
            for address in addresses.get(way.host, ())
        ]
