"""Typed configuration of a tunnel's peers."""

from ipaddress import IPv4Network, IPv6Network
from typing import Final

import attrs

from pharos.wire.awg.endpoint import Address, check_address
from pharos.wire.awg.keys import NO_PRESHARED_KEY, check_key
from pharos.wire.awg.ranges import Range
from pharos.wire.errors import ParameterError
from pharos.wire.units import SECONDS

MAX_PERSISTENT_KEEPALIVE: Final = 65535 * SECONDS  # A u16 in every tool's configuration.


@attrs.frozen(kw_only=True)
class PeerConfig:
    """A peer as the operator wants it.

    Raises: ParameterError — a value breaks a rule; the message names key, value and rule.
    """

    public_key: bytes = attrs.field(repr=bytes.hex)
    """X25519, 32 bytes; also the peer's identity."""
    preshared_key: bytes = attrs.field(default=NO_PRESHARED_KEY, repr=False)
    """32 bytes; all zero means none."""
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    """Inner addresses the peer may send from, and what is routed to it."""
    endpoint: Address | None = None
    """Where to reach it; None waits for the peer to come. Later it roams."""
    persistent_keepalive: float | Range = 0.0
    """Seconds of silence after which a keepalive is sent, drawn anew each time from a range; 0 for never."""
    send_rate: float = 0.0
    """Bytes of inner packets a second that are sent to it at most, 0 for no limit."""
    receive_rate: float = 0.0
    """Likewise what is taken from it."""
    face: int = 0
    """The face on which it is spoken to until it is heard on another."""

    def __attrs_post_init__(self) -> None:
        check_key("public_key", self.public_key)
        check_key("preshared_key", self.preshared_key)
        if self.endpoint is not None:
            check_address(self.endpoint)
        keepalive = self.persistent_keepalive
        low, high = (keepalive.low, keepalive.high) if isinstance(keepalive, Range) else (keepalive, keepalive)
        if not 0 <= low <= high <= MAX_PERSISTENT_KEEPALIVE:
            raise ParameterError(f"persistent_keepalive = {keepalive}: must be from 0 to 65535 seconds")
        if low == 0 < high:
            raise ParameterError(f"persistent_keepalive = {keepalive}: a range must not begin at 0, which means never")
        for key, rate in (("send_rate", self.send_rate), ("receive_rate", self.receive_rate)):
            if rate < 0:
                raise ParameterError(f"{key} = {rate}: must not be below 0")
