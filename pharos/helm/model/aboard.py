"""Where the beacon in helm's own process listens, and whether others are told of it."""

from __future__ import annotations

import ipaddress
from typing import Final

import attrs

from pharos.wire.config import check_port
from pharos.wire.ids import RelayId
from pharos.wire.seal.ticket import BeaconAddress

HOST: Final = "127.0.0.1"
PORT: Final = 8441


def _check_host(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{attribute.name} = {value!r} is not an IP address of this machine") from None


def read_address(text: str, port: int) -> tuple[str, int]:
    """Read ``host``, ``host:port`` or ``[address]:port``; without a port it is ``port``.

    Raises: ValueError — it is none of them, in the spelling of links.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an address such as [2001:db8::1]:{PORT}")
        digits = rest[1:] if rest else str(port)
    elif text.count(":") == 1:
        host, _, digits = text.partition(":")
    else:
        host, digits = text, str(port)
    try:
        # It goes into tickets, so theirs is the rule.
        told = BeaconAddress(relay=RelayId("any"), host=host.lower(), port=int(digits))
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address such as vpn.example.org:{PORT}: {error}") from error
    return told.host, told.port


@attrs.frozen(kw_only=True)
class AboardPlan:
    """What an operator wants of the beacon aboard."""

    host: str = attrs.field(default=HOST, validator=_check_host)
    """Address to listen on."""
    port: int = attrs.field(default=PORT, validator=check_port)
    """TCP."""
    told: str = ""
    """Where devices reach it, as ``read_address`` takes it; empty: where it listens, if that means anything to them."""

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it, and not only this one."""
        return not ipaddress.ip_address(self.host).is_loopback

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for the record."""
        if self.told:
            return read_address(self.told, self.port)
        own = ipaddress.ip_address(self.host)
        return (HOST if own.is_unspecified else str(own)), self.port

    @property
    def listed(self) -> bool:
        """Whether tickets and profiles name it: somebody said where, or it listens where others may reach it.

        A link with a loopback address in it works on this machine only, and would be sent to a phone.
        """
        return bool(self.told) or (self.exposed and not ipaddress.ip_address(self.host).is_unspecified)

    @property
    def place(self) -> str:
        """Where it listens, as people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def warning(self) -> str:
        """What to tell whoever lets other machines in; empty where there is nothing to say."""
        if not self.exposed:
            return ""
        unsaid = " No ticket names it before beacon_address says where devices reach it." if not self.listed else ""
        return (
            f"helm's own beacon listens on {self.place}, where other machines reach it: helm has an open port there."
            f' Let only those in who need it, or set beacon_host = "{HOST}".{unsaid}'
        )
