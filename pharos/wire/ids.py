"""Identifiers that travel: fleet, node, relay, device and ticket ids."""

import re
from typing import Final, NewType

FleetId = NewType("FleetId", str)
"""First 16 hex digits of SHA-256 over the root CA's SubjectPublicKeyInfo."""

NodeId = NewType("NodeId", str)
RelayId = NewType("RelayId", str)
ControllerId = NewType("ControllerId", str)
DeviceId = NewType("DeviceId", str)
AdminId = NewType("AdminId", str)
TicketId = NewType("TicketId", bytes)
"""8 random bytes; the relay sees it, so it proves nothing."""

FLEET_ID_LENGTH: Final = 16
_FLEET_ID = re.compile(r"[0-9a-f]{16}")
# One lower-case DNS label (RFC 1035 §2.3.1), for the id stands in `<id>.n.<fid>.internal` and in a SPIFFE path.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def parse_fleet_id(text: str) -> FleetId:
    """Return ``text`` as a fleet id.

    Raises: ValueError — it is not 16 lower-case hexadecimal digits.
    """
    if not _FLEET_ID.fullmatch(text):
        raise ValueError(f"{text!r} is not a fleet id (16 lower-case hexadecimal digits)")
    return FleetId(text)


def check_label(text: str) -> str:
    """Return ``text`` if it can be an id: one lower-case DNS label of at most 63 octets.

    Raises: ValueError — it cannot.
    """
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{text!r} is not an id (lower-case letters, digits and inner hyphens, at most 63)")
    return text


def uuid7(now_ns: int, random: bytes) -> str:
    """Make a UUIDv7 (RFC 9562 §5.7) of a wall-clock time in nanoseconds and 10 random bytes.

    Ids made later sort later, so they serve as keyset cursors.
    """
    if len(random) != 10:
        raise ValueError("a UUIDv7 takes 10 random bytes")
    millis = now_ns // 1_000_000
    rand_a = int.from_bytes(random[:2], "big") & 0x0FFF
    rand_b = int.from_bytes(random[2:], "big") & ((1 << 62) - 1)
    # Three times as fast as by way of ``uuid.UUID``, and every session of every device has one.
    text = f"{(millis << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
