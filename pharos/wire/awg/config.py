"""Typed configuration of a tunnel's peers."""

from ipaddress import IPv4Network, IPv6Network
from typing import Final

import attrs

from pharos.wire.awg.endpoint import Address, check_address
from pharos.wire.awg.keys import NO_PRESHARED_KEY, check_key
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
    persistent_keepalive: float = 0.0
    """Seconds of silence after which a keepalive is sent, 0 for never."""

    def __attrs_post_init__(self) -> None:
        check_key("public_key", self.public_key)
        check_key("preshared_key", self.preshared_key)
        if self.endpoint is not None:
            check_address(self.endpoint)
        if not 0 <= self.persistent_keepalive <= MAX_PERSISTENT_KEEPALIVE:
            raise ParameterError(f"persistent_keepalive = {self.persistent_keepalive}: must be from 0 to 65535 seconds")
