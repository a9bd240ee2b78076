"""Reads of the reply to `get=1` what moves, for those who look each second: a quarter of the work of reading it whole.

Whether the rest is still the same is told by a fingerprint; peers come in any order.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any, Final

import attrs

from pharos.buoy.dataplane.roster import Sighting
from pharos.wire.awg.texts import read_endpoint, read_hex_key
from pharos.wire.errors import RemoteProtocolError

_BILLION: Final = 1_000_000_000
_MOVING: Final = re.compile(
    r"^(endpoint|last_handshake_time_sec|last_handshake_time_nsec|rx_bytes|tx_bytes)=(.*)\n", re.MULTILINE
)
_KEY_DIGITS: Final = 64
# Where devices are hardly moves; an address is read from its text once.
_read_endpoint: Final = functools.lru_cache(maxsize=20_000)(read_endpoint)


@attrs.frozen(kw_only=True)
class Glance:
    """What moves at an engine, and a fingerprint of what does not."""

    errno: int
    has_key: bool
    """It was told something: one that began anew has none."""
    sightings: tuple[Sighting, ...]
    fingerprint: bytes
    """Equal for engines that are told the same; secrets cannot be read from it."""


def read_glance(text: str) -> Glance:
    """Read the whole reply to `get=1`.

    Raises: RemoteProtocolError — a line does not fit, or the end is missing.
    """
    body, found, number = text.removesuffix("\n\n").rpartition("errno=")
    if not text.endswith("\n\n") or not found or not number.removeprefix("-").isdecimal():
        raise RemoteProtocolError("UAPI: the reply has no errno at its end")
    device, *peers = ("\n" + body.removesuffix("\n")).split("\npublic_key=")
    still: list[str] = []
    try:
        sightings = tuple(_peer(f"{peer}\n", still) for peer in peers)
    except ValueError as error:
        raise RemoteProtocolError(f"UAPI: a value of the reply does not fit: {error}") from error
    whole = hashlib.sha256(device.encode("ascii", "replace"))
    for each in sorted(still):
        whole.update(b"\n" + each.encode("ascii", "replace"))
    return Glance(
        errno=abs(int(number)),
        has_key="\nprivate_key=" in device,
        sightings=sightings,
        fingerprint=whole.digest(),
    )


def _peer(block: str, still: list[str]) -> Sighting:
    values: dict[str, Any] = dict(_MOVING.findall(block))
    still.append(_MOVING.sub("", block))
    endpoint = values.get("endpoint")
    return Sighting(
        public_key=read_hex_key(block[:_KEY_DIGITS]),
        endpoint=None if endpoint is None else _read_endpoint(endpoint),
        last_handshake_ns=int(values.get("last_handshake_time_sec", 0)) * _BILLION
        + int(values.get("last_handshake_time_nsec", 0)),
        received=int(values.get("rx_bytes", 0)),
        sent=int(values.get("tx_bytes", 0)),
    )
