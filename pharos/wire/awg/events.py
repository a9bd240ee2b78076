"""What a device reports, and what it hands back to its pump."""

from typing import TypeAlias

import attrs

from pharos.wire.awg.batches import DatagramBatch
from pharos.wire.awg.endpoint import Address


@attrs.frozen(kw_only=True)
class HandshakeCompleted:
    """Both ends hold a session and each has proved it to the other."""

    peer: bytes = attrs.field(repr=bytes.hex)
    """Its public key."""
    endpoint: Address
    initiator: bool
    """True when the handshake was begun by this end."""
    at_ns: int
    """Unix time in nanoseconds, by the wall clock the device was given."""


@attrs.frozen(kw_only=True)
class PeerEndpointChanged:
    """An authentic message came from another address than before: the peer roamed, or appeared."""

    peer: bytes = attrs.field(repr=bytes.hex)
    endpoint: Address
    previous: Address | None


@attrs.frozen(kw_only=True)
class SessionEnded:
    """The last session is over and no other has followed: the peer fell silent, was changed or was removed."""

    peer: bytes = attrs.field(repr=bytes.hex)


@attrs.frozen(kw_only=True)
class HandshakeGaveUp:
    """No initiation was answered; staged packets are dropped and the next packet begins anew."""

    peer: bytes = attrs.field(repr=bytes.hex)
    attempts: int


@attrs.frozen(kw_only=True)
class PeerCounted:
    """What has been carried for a peer so far; an engine tells its watchers, a device by itself does not."""

    peer: bytes = attrs.field(repr=bytes.hex)
    received_bytes: int
    """Authentic datagrams, with all that surrounds the packets."""
    sent_bytes: int


Event: TypeAlias = HandshakeCompleted | PeerEndpointChanged | SessionEnded | HandshakeGaveUp | PeerCounted


Count: TypeAlias = tuple[bytes, int, int]
"""A peer's public key, the bytes received from it and those sent to it."""


@attrs.frozen(kw_only=True)
class PeerStatus:
    """A peer as it is."""

    public_key: bytes = attrs.field(repr=bytes.hex)
    endpoint: Address | None
    last_handshake_ns: int | None
    """Unix time in nanoseconds of the last completed handshake."""
    session_age: float | None
    """Seconds since the session we send on was made; None if we have none that is usable."""
    received_bytes: int
    """Authentic datagrams, with all that surrounds the packets."""
    sent_bytes: int
    unanswered: bool = False
    """Whether packets went out that nothing authentic has followed."""


@attrs.define(eq=False)
class Output:
    """What has gathered in a device since it was last taken, each list in order."""

    batches: list[DatagramBatch] = attrs.Factory(list)
    """To send: what the device brings forth of its own accord, and packets given to it one by one."""
    packets: list[bytes] = attrs.Factory(list)
    """Inner IP packets out of datagrams given to it one by one, each from an address its peer is allowed."""
    events: list[Event] = attrs.Factory(list)

    def add(self, datagram: bytes, address: Address, face: int) -> None:
        """Have one datagram sent."""
        self.batches.append(DatagramBatch(address, face, len(datagram), datagram))

    @property
    def datagrams(self) -> list[tuple[bytes, Address]]:
        """The batches datagram by datagram, for those that serve one socket and send one at a time."""
        return [(datagram, batch.address) for batch in self.batches for datagram in batch.split()]
