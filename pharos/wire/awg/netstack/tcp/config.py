"""What a connection is given to go by."""

import attrs

from pharos.wire.units import KIB, MIB, MILLISECONDS, MINUTES, SECONDS


@attrs.frozen(kw_only=True)
class TcpConfig:
    """Limits and times of a connection; the defaults are for a path of 1420 bytes (AmneziaWG over Ethernet)."""

    mtu: int = 1420
    """Of whole IP packets that we send, and of those that we ask for by our MSS option."""
    send_buffer: int = 4 * MIB
    """Octets that may wait for an acknowledgement or for room; how many do follows the congestion window."""
    receive_buffer: int = 4 * MIB
    """The largest window; it begins with `receive_window` and grows as far as a reader keeps up."""
    receive_window: int = 256 * KIB
    nagle: bool = False
    """Whether less than a full segment waits for what is under way (RFC 9293 §3.7.4)."""
    delayed_ack: float = 40 * MILLISECONDS
    """How long a lone segment's acknowledgement waits for company (RFC 1122 §4.2.3.2 allows half a second)."""
    connect_timeout: float = 60 * SECONDS
    """Until a SYN is given up; it is sent again after 1, 3, 7, 15 and 31 seconds."""
    user_timeout: float = 5 * MINUTES
    """Until data that nobody acknowledges ends the connection (RFC 5482); tunnels are away for minutes at times."""
    keepalive_idle: float | None = 2 * MINUTES
    """Silence until the peer is asked whether it lives; None: never."""
    keepalive_interval: float = 15 * SECONDS
    keepalive_probes: int = 8
    time_wait: float = 60 * SECONDS
    """Twice the longest life of a segment; Linux's, for nothing lives two minutes any more."""
    fin_wait_2: float = 60 * SECONDS
    """How long a connection that is closed for good waits for the peer's FIN."""
