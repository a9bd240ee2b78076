"""The lease by which one helm at a time commands a node, on its way."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.units import MINUTES

HOLDER_SIZE: Final = 16
# A helm that died leaves its nodes to another one after that at the latest.
MAX_LEASE: Final = 10 * MINUTES
# A lease of 75 s, and starts that each take five seconds.
MAX_EARLIER: Final = 15


@attrs.frozen(kw_only=True)
class LeaseClaim:
    """What a helm asks for with each call."""

    holder: bytes
    """16 random octets of one run of helm."""
    previous: bytes = b""
    """The holder before it by the same record, empty for none."""
    earlier: tuple[bytes, ...] = ()
    """Those before that one, newest first."""
    seconds: float
    """From now on."""


def lease_from(message: pb.Lease) -> LeaseClaim:
    """Read a claim.

    Raises: RemoteProtocolError — a value does not fit.
    """
    if len(message.holder) != HOLDER_SIZE or len(message.previous) not in (0, HOLDER_SIZE):
        raise RemoteProtocolError(f"the holder of a lease is named by {HOLDER_SIZE} octets")
    if len(message.earlier) > MAX_EARLIER or any(len(holder) != HOLDER_SIZE for holder in message.earlier):
        raise RemoteProtocolError(f"a lease names at most {MAX_EARLIER} earlier holders of {HOLDER_SIZE} octets")
    if not 0 < message.seconds <= MAX_LEASE:
        raise RemoteProtocolError(f"a lease lasts from 1 to {MAX_LEASE:g} s, not {message.seconds}")
    return LeaseClaim(
        holder=message.holder,
        previous=message.previous,
        earlier=tuple(message.earlier),
        seconds=float(message.seconds),
    )


def lease_to(claim: LeaseClaim) -> pb.Lease:
    """Write a claim."""
    return pb.Lease(holder=claim.holder, previous=claim.previous, earlier=claim.earlier, seconds=round(claim.seconds))
