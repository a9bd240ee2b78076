"""What system-wide mode shall do to a machine: one frozen plan, checked when it is made. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

from pharos.caravel.system.mark import Marks
from pharos.wire.errors import ConfigError

IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IpInterface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

VERSIONS: Final = (4, 6)
EVERYWHERE: Final = ("0.0.0.0/0", "::/0")
DEVICE: Final = "pharos0"
TABLE: Final = 0x7068
"""Of routes; ``ph``."""
PRIORITY: Final = 20_800
"""Of the first rule: before the table main (32,766), after what VRFs need (1,000)."""
MIN_MTU: Final = 1280
"""What IPv6 asks of every link (RFC 8200 §5)."""
MAX_MTU: Final = 65_535
OUTER_BYTES: Final = 40 + 8 + 32
"""IPv6's header, UDP's, and those of a transport message (wireguard.pdf §5.4.6); over IPv4 it is 20 less."""
MAX_NETWORKS: Final = 1000
MAX_SERVED: Final = 64

LAN: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",  # RFC 1918
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",  # RFC 3927
            "224.0.0.0/24",  # multicast on one link: mDNS, LLMNR
            "239.255.0.0/16",  # and on one site: SSDP
            "255.255.255.255/32",
            "fc00::/7",  # RFC 4193
            "fe80::/10",
            "ff02::/16",
            "ff05::/16",
        ),
    )
)
"""What a network around a machine may call its own. No route that it hands out makes more of it: a DHCP server that
claims half the internet (CVE-2024-3661), or a public network for its LAN (CVE-2023-36672), gets nothing by that."""
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")


def _networks(texts: Iterable[str | IpNetwork]) -> tuple[IpNetwork, ...]:
    """Raises: ConfigError."""
    try:
        return tuple(dict.fromkeys(ipaddress.ip_network(text) for text in texts))
    except ValueError as error:
        raise ConfigError(f"{error}: write a network as 192.0.2.0/24 or 2001:db8::/32") from error


def _interfaces(texts: Iterable[str | IpInterface]) -> tuple[IpInterface, ...]:
    try:
        return tuple(dict.fromkeys(ipaddress.ip_interface(text) for text in texts))
    except ValueError as error:
        raise ConfigError(f"{error}: write an address as 10.7.0.2/16 or fd07::2/64") from error


def _addresses(texts: Iterable[str | IpAddress]) -> tuple[IpAddress, ...]:
    try:
        return tuple(dict.fromkeys(ipaddress.ip_address(text) for text in texts))
    except ValueError as error:
        raise ConfigError(f"{error}: a resolver is named by its address") from error


@attrs.frozen(kw_only=True)
class SystemPlan:
    """Raises: ConfigError, of a value that does not fit."""

    addresses: tuple[IpInterface, ...] = attrs.field(converter=_interfaces)
    """Of this device inside the tunnel, with the lengths of their networks. A version of IP without one is not carried,
    and goes nowhere."""
    resolvers: tuple[IpAddress, ...] = attrs.field(converter=_addresses, default=())
    """Whom this machine asks for names, through the tunnel."""
    device: str = DEVICE
    """Our TUN's name."""
    mtu: int | None = None
    """Of the TUN; None: what the way out takes."""
    padding: int = 0
    """Bytes in front of each transport message: the parameter S4, the largest of those that may be used."""
    routes: tuple[IpNetwork, ...] = attrs.field(converter=_networks, default=EVERYWHERE)
    """What goes in."""
    outside: tuple[IpNetwork, ...] = attrs.field(converter=_networks, default=())
    """What of it goes by the machine's own routes nevertheless."""
    everything: bool = True
    """Whether all programs use the tunnel; else only those whose packets are marked `Marks.inside`."""
    kill_switch: bool = True
    """Whether what shall go in goes nowhere else, whatever happens to the tunnel or to us."""
    hold: bool = False
    """Whether the kill switch stays when the block that opened this ends: until `restore_system`, or until the machine
    is restarted. It always stays when the block ends by an error."""
    lan: bool = False
    """Whether the private networks around this machine are reached, and reach it."""
    guard_dns: bool = True
    """Whether questions for names that go outside are refused, even those to the LAN, and with the kill switch off."""
    serve: tuple[int, ...] = ()
    """TCP ports of this machine that may be reached from outside, such as ssh's; what they answer goes back outside."""
    table: int = TABLE
    priority: int = PRIORITY
    marks: Marks = attrs.field(factory=Marks)

    def __attrs_post_init__(self) -> None:
        if _DEVICE.fullmatch(self.device) is None or self.device == "lo":
            raise ConfigError(f"device = {self.device[:40]!r}: must be 1 to 15 letters, digits, - or _")
        if not self.addresses:
            raise ConfigError("addresses: there must be one at least")
        if self.mtu is not None and not MIN_MTU <= self.mtu <= MAX_MTU:
            raise ConfigError(f"mtu = {self.mtu}: must be {MIN_MTU} to {MAX_MTU}")
        if len(self.routes) + len(self.outside) > MAX_NETWORKS:
            raise ConfigError(f"routes and outside: must be no more than {MAX_NETWORKS} networks")
        if len(self.serve) > MAX_SERVED or any(not 0 < port < 65536 for port in self.serve):
            raise ConfigError(f"serve: must be ports from 1 to 65535, and no more than {MAX_SERVED}")
        if not 0 < self.padding + 1 <= MAX_MTU:
            raise ConfigError(f"padding = {self.padding}: must be 0 to {MAX_MTU - 1}")
        if not 256 <= self.table < 2**32:
            raise ConfigError(f"table = {self.table}: must be 256 or more; those below are the machine's")
        if not 0 < self.priority < 32_000:
            raise ConfigError(f"priority = {self.priority}: must be 1 to 31999, before the machine's own")

    @property
    def carried(self) -> frozenset[int]:
        """The versions of IP that the tunnel carries."""
        return frozenset(address.version for address in self.addresses)

    @property
    def whole(self) -> bool:
        """Whether all of the internet goes in, but for what is named."""
        return self.everything and set(map(ipaddress.ip_network, EVERYWHERE)) <= set(self.routes)

    @property
    def inner(self) -> tuple[IpNetwork, ...]:
        """Networks that are in the tunnel by their own nature: the fleet's, and its resolvers. No LAN is believed that
        claims them."""
        fleet = [address.network for address in self.addresses]
        return tuple(dict.fromkeys([*fleet, *map(ipaddress.ip_network, self.resolvers)]))


def fitting_mtu(path: int, padding: int) -> int:
    """Return the MTU of a TUN whose datagrams go whole where packets of ``path`` bytes do, whatever the version of IP.

    Where that is less than IPv6 needs, datagrams are cut on the way.
    """
    return max(MIN_MTU, min(path - OUTER_BYTES - padding, MAX_MTU))


def of_version(version: int, networks: Iterable[IpNetwork]) -> list[IpNetwork]:
    """Return those of one version of IP, without those that lie within others, in order."""
    if version == 4:
        return list(ipaddress.collapse_addresses(one for one in networks if isinstance(one, ipaddress.IPv4Network)))
    return list(ipaddress.collapse_addresses(one for one in networks if isinstance(one, ipaddress.IPv6Network)))
