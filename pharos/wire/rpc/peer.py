"""Who is at the other end of a connection."""

import attrs


@attrs.frozen(kw_only=True)
class Peer:
    """What is known of a peer. A handler asks for it with `pharos.wire.rpc.server.peer_of`."""

    address: tuple[str, int] | None = None
    """None on a connection that is not TCP, such as one inside a Noise session."""
    certificate: bytes | None = attrs.field(default=None, repr=False)
    """In DER; None if the peer showed none."""
    identity: object | None = None
    """What the listener's authorization made of the certificate; None if it made nothing."""
