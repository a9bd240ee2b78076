"""The answer to a segment that belongs to no connection (RFC 9293 §3.10.7.1)."""

from __future__ import annotations

from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.segment import ACK, RST, PacketWriter, Segment
from pharos.wire.awg.netstack.tcp.sequence import MASK


def reset_for(flow: Flow, segment: Segment) -> bytes | None:
    """Return the packet with the RST for a segment that came in; None for a RST, which is never answered.

    ``flow`` is as we see it: the segment's destination is its local end.
    """
    if segment.flags & RST:
        return None
    writer = PacketWriter(flow)
    if segment.flags & ACK:
        return writer.write(segment.ack, 0, RST, 0, b"")
    return writer.write(0, (segment.seq + segment.length) & MASK, RST | ACK, 0, b"")
