"""What two ends agree on in their SYNs (RFC 9293 §3.7.1, RFC 7323 §2.2 and §3.2, RFC 2018 §2)."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.options import MAX_SCALE, TIMESTAMP_BYTES, SynOptions
from pharos.wire.awg.netstack.tcp.segment import HEADER_BYTES, Segment

_IP_BYTES: Final = {4: 20, 16: 40}
_DEFAULT_MSS: Final = {4: 536, 16: 1220}
"""By length of address, of an end that does not say (RFC 9293 §3.7.1)."""
_LEAST_MSS: Final = 88
"""Who says less makes us send mostly headers: no path takes only the 128 bytes that this is in IPv4."""
_MAX_FIELD: Final = 0xFFFF


@attrs.frozen(kw_only=True)
class Terms:
    """What holds for a connection from its SYNs on."""

    peer_mss: int
    timestamps: bool
    sack: bool
    our_scale: int
    peer_scale: int


def mss_for(mtu: int, address: bytes) -> int:
    """Return the segment without options that fills a packet of ``mtu`` bytes."""
    return max(mtu - _IP_BYTES[len(address)] - HEADER_BYTES, _LEAST_MSS)


def offer(config: TcpConfig, address: bytes, *, answered: Segment | None = None) -> SynOptions:
    """Return the options of our SYN; of one that answers another only those that the other end has, too."""
    mss = mss_for(config.mtu, address)
    theirs = None if answered is None else answered.syn_options
    scale = _scale_for(config) if theirs is None or theirs.scale is not None else None
    return SynOptions(mss=mss, scale=scale, sack=theirs is None or theirs.sack)


def _scale_for(config: TcpConfig) -> int:
    shift = 0
    while config.receive_buffer >> shift > _MAX_FIELD and shift < MAX_SCALE:
        shift += 1
    return shift


def agree(config: TcpConfig, address: bytes, syn: Segment) -> Terms:
    """Return what follows from the peer's SYN; we offer everything."""
    theirs = syn.syn_options
    is_scaled = theirs.scale is not None
    return Terms(
        peer_mss=max(theirs.mss if theirs.mss is not None else _DEFAULT_MSS[len(address)], _LEAST_MSS),
        timestamps=syn.timestamp is not None,
        sack=theirs.sack,
        our_scale=_scale_for(config) if is_scaled else 0,
        peer_scale=theirs.scale or 0,
    )


def payload_size(terms: Terms, mtu: int, address: bytes) -> int:
    """Return how many octets a segment carries beside its options (RFC 6691 §3)."""
    size = min(mss_for(mtu, address), terms.peer_mss)
    return size - TIMESTAMP_BYTES if terms.timestamps else size
