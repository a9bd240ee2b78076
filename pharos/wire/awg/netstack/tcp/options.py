"""The options of a TCP header (RFC 9293 §3.2, RFC 7323 §2 and §3, RFC 2018)."""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

import attrs

END, NO_OPERATION, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8

MAX_SCALE: Final = 14
"""What more counts as (RFC 7323 §2.3)."""
MAX_OPTION_BYTES: Final = 40
"""What the header's length field leaves room for."""
TIMESTAMP_BYTES: Final = 12
"""With two that align it (RFC 7323 appendix A)."""
MAX_BLOCKS: Final = 4
"""Of SACK, that fit; three beside a timestamp (RFC 2018 §3)."""

Block: TypeAlias = tuple[int, int]
"""First sequence number, and that behind the last."""
Timestamp: TypeAlias = tuple[int, int]
"""TSval, TSecr."""

_MSS: Final = Struct(">BBH")
_SCALE: Final = Struct(">BBBB")
_TWO: Final = Struct(">II")
_TIMESTAMPS: Final = Struct(">4sII")
TIMESTAMP_LEAD: Final = bytes((NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10))
_SACK_PERMITTED: Final = bytes((NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2))


@attrs.frozen(kw_only=True)
class SynOptions:
    """What an end says of itself in its SYN and never again."""

    mss: int | None = None
    scale: int | None = None
    """Window scale; None: it does not scale, and then neither end does."""
    sack: bool = False
    """It takes selective acknowledgements."""


@attrs.frozen
class Options:
    """Everything that a header's options say that we go by."""

    syn: SynOptions
    timestamp: Timestamp | None = None
    blocks: tuple[Block, ...] = ()


def parse_options(data: bytes) -> Options:
    """Read options up to the first that is damaged; unknown ones are skipped (RFC 9293 §3.1, MUST-6)."""
    mss = scale = timestamp = None
    sack = False
    blocks: tuple[Block, ...] = ()
    at, size = 0, len(data)
    while at < size and data[at] != END:
        kind = data[at]
        if kind == NO_OPERATION:
            at += 1
            continue
        length = data[at + 1] if at + 1 < size else 0
        if length < 2 or at + length > size:
            break
        if kind == MSS and length == 4:
            mss = data[at + 2] << 8 | data[at + 3]
        elif kind == WINDOW_SCALE and length == 3:
            scale = min(data[at + 2], MAX_SCALE)
        elif kind == SACK_PERMITTED and length == 2:
            sack = True
        elif kind == TIMESTAMPS and length == 10:
            timestamp = _TWO.unpack_from(data, at + 2)
        elif kind == SACK and length > 2 and length % 8 == 2:
            blocks = tuple(_TWO.iter_unpack(data[at + 2 : at + length]))
        at += length
    return Options(SynOptions(mss=mss, scale=scale, sack=sack), timestamp, blocks)


def build_syn_options(options: SynOptions, timestamp: Timestamp | None) -> bytes:
    """Return the options of a SYN."""
    built = b"" if options.mss is None else _MSS.pack(MSS, 4, options.mss)
    if options.sack:
        built += _SACK_PERMITTED
    if timestamp is not None:
        built += build_timestamp(timestamp)
    if options.scale is not None:
        built += _SCALE.pack(NO_OPERATION, WINDOW_SCALE, 3, options.scale)
    return built


def build_timestamp(timestamp: Timestamp) -> bytes:
    """Return the option that every segment carries, aligned."""
    return _TIMESTAMPS.pack(TIMESTAMP_LEAD, *timestamp)


def build_blocks(blocks: tuple[Block, ...]) -> bytes:
    """Return a SACK option, aligned; the caller has seen to it that it fits."""
    head = bytes((NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * len(blocks)))
    return head + b"".join(_TWO.pack(*block) for block in blocks)
