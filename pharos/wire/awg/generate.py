"""Good sets of parameters for a new tunnel, for each generation of AmneziaWG."""

from __future__ import annotations

from typing import Any, Final

from pharos.wire.awg.ipackets import IPacket, parse_ipacket
from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, MessageKind
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.randomness import Random, uniform
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.rules import (
    HEADER_PROTECTION_KEY_BYTES,
    MAX_GENERATED_HEADER,
    MIN_CUSTOM_HEADER,
    MIN_PROTECTED_PADDING,
)

# Amnezia's own clients draw the paddings of handshakes from this range.
MIN_HANDSHAKE_PADDING: Final = 15
MAX_HANDSHAKE_PADDING: Final = 149
# Every packet pays for S4; twelve bytes are what header protection needs.
MAX_TRANSPORT_PADDING: Final = 32
# Inner packets are filled up to a multiple of this.
PADDING_UNIT: Final = 16
# The datagrams of QUIC clients begin at this size (RFC 9000 §14.1).
QUIC_INITIAL_BYTES: Final = 1200

_HANDSHAKE_KINDS: Final = tuple(CORE_BYTES)


def generate(random: Random, generation: Generation = Generation.V1_0) -> ObfuscationParameters:
    """Make a set that leaves no size and no type field of WireGuard's, and uses what ``generation`` brought.

    Four to ten junk datagrams blur the first flight at the price of a few hundred bytes.
    """
    if generation is Generation.WIREGUARD:
        return PLAIN
    values = _junk(random) | _paddings(random, generation) | _headers(random, generation)
    if generation >= Generation.V1_5:
        values["i1"] = quic_initial(random)
    if generation >= Generation.V3_0:
        values |= _protection(random) | _timings(random)
    if generation >= Generation.V3_1:
        values["random_trailers"] = True
    return ObfuscationParameters(**values)


def quic_initial(random: Random) -> IPacket:
    """Make the template of what looks like the first datagram of a QUIC version 1 client (RFC 9000 §17.2.2).

    Its type byte, version, lengths and size are right; who derives the keys of a real one finds that it is none.
    """
    # Long header, fixed bit, type Initial; header protection hides the low four bits, so they may be anything.
    first = 0xC0 | uniform(random, 0, 15)
    # Version, length of the destination's connection id.
    head = bytes((first, 0, 0, 0, 1, 8))
    connection_id = 8
    # The source's connection id and the token are empty, the length that follows is a two-byte varint.
    rest = QUIC_INITIAL_BYTES - len(head) - connection_id - 4
    lengths = bytes((0, 0)) + (0x4000 | rest).to_bytes(2, "big")
    # In two halves, for generation 1.5 draws no more than 1000 bytes at once.
    halves = f"<r {rest - rest // 2}><r {rest // 2}>"
    return parse_ipacket(f"<b 0x{head.hex()}><r {connection_id}><b 0x{lengths.hex()}>{halves}")


def _junk(random: Random) -> dict[str, Any]:
    jmin = uniform(random, 16, 64)
    return {"jc": uniform(random, 4, 10), "jmin": jmin, "jmax": jmin + uniform(random, 32, 192)}


def _paddings(random: Random, generation: Generation) -> dict[str, Any]:
    """Draw S1 and S2, from generation 2.0 on S3 and S4 too."""
    kinds = _HANDSHAKE_KINDS if generation >= Generation.V2_0 else _HANDSHAKE_KINDS[:2]
    paddings = dict.fromkeys(map(_padding_key, MessageKind), 0)
    if generation >= Generation.V2_0:
        paddings["s4"] = uniform(random, MIN_PROTECTED_PADDING, MAX_TRANSPORT_PADDING)
    # A transport message must never have the size of a handshake message: with wide ranges of H its ciphertext would
    # be taken for a type field now and then, and the packet lost.
    shortest_transport = paddings["s4"] + KEEPALIVE_BYTES
    taken = {*CORE_BYTES.values(), shortest_transport}
    for kind in kinds:
        # A cookie reply must not be longer than the initiation that it answers: the address there may be forged.
        most = MAX_HANDSHAKE_PADDING
        if kind is MessageKind.COOKIE_REPLY:
            most = min(most, CORE_BYTES[MessageKind.INITIATION] + paddings["s1"] - CORE_BYTES[kind])
        size = shortest_transport
        while size in taken or (size - shortest_transport) % PADDING_UNIT == 0:
            size = CORE_BYTES[kind] + uniform(random, MIN_HANDSHAKE_PADDING, most)
        paddings[_padding_key(kind)] = size - CORE_BYTES[kind]
        taken.add(size)
    return paddings


def _headers(random: Random, generation: Generation) -> dict[str, Any]:
    """Draw H1 to H4: single values, ranges in 2.0; header protection hides them and makes ranges pointless."""
    if generation == Generation.V2_0:
        # One quarter of the numbers for each kind, in any order; a quarter of each is left out at either end.
        quarter = (MAX_GENERATED_HEADER + 1) // 4
        starts = [quarter * index for index in range(4)]
        headers = []
        while starts:
            start = max(starts.pop(uniform(random, 0, len(starts) - 1)), MIN_CUSTOM_HEADER)
            low = start + uniform(random, 0, quarter // 4)
            headers.append(Range(low, low + quarter // 2 + uniform(random, 0, quarter // 8)))
    else:
        values: set[int] = set()
        headers = []
        while len(headers) < len(MessageKind):
            value = uniform(random, MIN_CUSTOM_HEADER, MAX_GENERATED_HEADER)
            if value not in values:
                values.add(value)
                headers.append(Range(value, value))
    return {f"h{kind.value}": header for kind, header in zip(MessageKind, headers, strict=True)}


def _protection(random: Random) -> dict[str, Any]:
    # Up to 48 zeros hide which packets are bare acknowledgements; a full packet gets none and stays quick to send.
    return {
        "header_protection_key": random(HEADER_PROTECTION_KEY_BYTES),
        "content_padding_addition": Range(0, uniform(random, 24, 48)),
    }


def _timings(random: Random) -> dict[str, Any]:
    """Blur WireGuard's 120 and 10 seconds.

    9 + 5 is above 12: a peer that answers late is not taken for dead; 140 is below 165, the rekeying on receipt.
    """
    return {
        "rekey_after_time": Range(uniform(random, 100, 115), uniform(random, 125, 140)),
        "rekey_timeout": Range(5, uniform(random, 6, 7)),
        "keepalive_timeout": Range(9, uniform(random, 11, 12)),
    }


def _padding_key(kind: MessageKind) -> str:
    return f"s{kind.value}"
