"""What an operator sets on a buoy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

import attrs

from pharos.wire.config import check_port

DEFAULT_STATE: Final = Path("/var/lib/pharos-buoy")
CONTROL_PORT: Final = 7443
AWG_PORT: Final = 443
REALITY_PORT: Final = 443
AUTO: Final = "auto"
AWG_DRIVERS: Final = (AUTO, "kernel", "userspace", "embedded")
REALITY_DRIVERS: Final = (AUTO, "xray", "userspace", "embedded")
_INTERFACE: Final = re.compile(r"(?:awg[0-9])?")
"""The root helper touches interfaces of these names and no others."""


def _check_driver(*names: str) -> Callable[[object, attrs.Attribute[str], str], None]:
    def check(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
        if value not in names:
            raise ValueError(f"{attribute.name} = {value!r} is none of {', '.join(names)}")

    return check


def _check_interface(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not _INTERFACE.fullmatch(value):
        raise ValueError(f"{attribute.name} = {value!r} is not awg0 to awg9")


def _check_host(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{attribute.name} = {value!r} is not an IP address of this machine") from None


def _as_networks(values: object) -> tuple[IPv4Network | IPv6Network, ...]:
    if not isinstance(values, (list, tuple)) or not all(
        isinstance(value, (str, IPv4Network, IPv6Network)) for value in values
    ):
        raise TypeError(f"{values!r} is not a list of networks")
    return tuple(ipaddress.ip_network(value) for value in values)


def _as_names(values: object) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"egress = {values!r} is not a list of interfaces")
    return tuple(values)


@attrs.frozen(kw_only=True)
class BuoyConfig:
    """A buoy's settings; each has a key of the same name in its TOML file and most an option of `buoy run`."""

    state: Path = DEFAULT_STATE
    """Directory of identity and peers, mode 0700."""
    host: str = attrs.field(default="0.0.0.0", validator=_check_host)  # noqa: S104 -- a public node listens to the public
    """Address to listen on, for control and tunnels; for 0.0.0.0 tunnels listen on all of IPv6, too."""
    control_port: int = attrs.field(default=CONTROL_PORT, validator=check_port)
    """TCP, mTLS, for helm only."""
    awg_port: int = attrs.field(default=AWG_PORT, validator=check_port)
    """UDP, AmneziaWG."""
    reality_port: int = attrs.field(default=REALITY_PORT, validator=check_port)
    """TCP, VLESS with REALITY."""
    awg_driver: str = attrs.field(default=AUTO, validator=_check_driver(*AWG_DRIVERS))
    """Which engine carries AmneziaWG: kernel, userspace (pharos-awg, amneziawg-go), embedded; auto takes the best."""
    reality_driver: str = attrs.field(default=AUTO, validator=_check_driver(*REALITY_DRIVERS))
    """Which server carries REALITY: xray, userspace (pharos-reality), embedded; auto takes the best."""
    interface: str = attrs.field(default="awg0", validator=_check_interface)
    """Tunnel interface of a kernel or userspace engine."""
    embedded_interface: str = attrs.field(default="", validator=_check_interface)
    """TUN interface that an embedded engine makes, which takes CAP_NET_ADMIN; empty: it makes none."""
    rootless_exit: bool = True
    """An embedded engine without an interface dials for its devices; false: they reach this node alone."""
    reality_allowed: tuple[IPv4Network | IPv6Network, ...] = attrs.field(default=(), converter=_as_networks)
    """Networks that users of REALITY, and devices by the rootless exit, may reach beside the Internet, CIDR."""
    network: bool = True
    """Keep an nftables table for forwarding, masquerade and isolation, where there is a tunnel interface."""
    network_allowed: tuple[IPv4Network | IPv6Network, ...] = attrs.field(default=(), converter=_as_networks)
    """Private networks beside this machine that devices in the tunnel may reach, CIDR."""
    egress: tuple[str, ...] = attrs.field(default=(), converter=_as_names)
    """Interfaces by which devices leave; empty: as the machine's routes say."""
    transit: bool = True
    """Whether this machine forwards for others than devices, too, as far as its other rules let it."""
    keep_sources: bool = True
    """Tell helm the addresses that devices come from; false keeps them nowhere."""
