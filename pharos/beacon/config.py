"""What an operator sets on a beacon."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs

from pharos.wire.config import check_port

DEFAULT_STATE: Final = Path("/var/lib/pharos-beacon")
INGRESS_PORT: Final = 443
TUNNEL_PORT: Final = 7444
# Each costs two descriptors. A client tries a few that are rarely blocked: 443, 853, 993, 8443.
MAX_INGRESS_PORTS: Final = 16
# RFC 9110 §10.2.4 sets no limit; this holds any product's name and version.
_MAX_SERVER: Final = 64
_LAST_PORT: Final = 65535


def _ports(values: Any) -> Any:
    return tuple(values) if isinstance(values, list) else values


def _check_ports(_instance: object, attribute: attrs.Attribute[tuple[int, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(type(port) is int for port in value):
        raise ValueError(f"{attribute.name} = {value!r} is not a list of ports")
    if len(value) > MAX_INGRESS_PORTS:
        raise ValueError(f"{attribute.name} names more than {MAX_INGRESS_PORTS} ports")
    for port in value:
        if not 0 <= port <= _LAST_PORT:
            raise ValueError(f"{attribute.name} = {port} is not a port (0 to {_LAST_PORT})")


def _check_server(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not 0 < len(value) <= _MAX_SERVER or not value.isascii() or not value.isprintable() or set(value) & set("<>&"):
        raise ValueError(f"{attribute.name} = {value!r} is not what a server calls itself (1 to {_MAX_SERVER} letters)")


@attrs.frozen(kw_only=True)
class BeaconConfig:
    """A beacon's settings; each has a key of the same name in its TOML file, most an option of `beacon run`."""

    state: Path = DEFAULT_STATE
    """Directory of its identity, mode 0700."""
    host: str = "0.0.0.0"  # noqa: S104 -- a public relay listens to the public
    """Address to listen on, for clients and for helm."""
    ingress_port: int = attrs.field(default=INGRESS_PORT, validator=check_port)
    """TCP, where clients arrive; the port that helm's record has."""
    ingress_ports: tuple[int, ...] = attrs.field(default=(), converter=_ports, validator=_check_ports)
    """More of them, with the same limits over all."""
    tunnel_port: int = attrs.field(default=TUNNEL_PORT, validator=check_port)
    """TCP, where helm dials in."""
    decoy_site: str = ""
    """Directory or file of the site that strangers are shown; empty for a page of ours."""
    decoy_certificate: str = ""
    """PEM file of the certificate that they are shown, with its chain; empty for a self-signed one of ours."""
    decoy_key: str = ""
    """PEM file of its private key."""
    decoy_server: str = attrs.field(default="nginx", validator=_check_server)
    """What that site's Server field says."""

    def __attrs_post_init__(self) -> None:
        if bool(self.decoy_certificate) is not bool(self.decoy_key):
            raise ValueError("decoy_certificate and decoy_key belong together; name both or none")
        fixed = [port for port in (self.ingress_port, *self.ingress_ports, self.tunnel_port) if port]
        if len(set(fixed)) != len(fixed):
            raise ValueError("ingress_port, ingress_ports and tunnel_port have to differ")

    @property
    def all_ingress_ports(self) -> tuple[int, ...]:
        """Where clients arrive, the port of helm's record first."""
        return (self.ingress_port, *self.ingress_ports)
