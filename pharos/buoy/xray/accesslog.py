"""Reads Xray's access log, and keeps of each line who it was and from where: never where to. Sans-IO.

A line is, in one piece:
``2026/11/26 05:12:00.000000 from 198.51.100.7:40000 accepted tcp:example.org:443 [tag >> tag] email: name``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import attrs

from pharos.buoy.roothelper.acts import SocketAddress
from pharos.wire.ids import DeviceId, check_label
from pharos.wire.units import KIB

MAX_LINE: Final = 4 * KIB
"""A name of 255 octets, two tags and an id are below 600; Xray quotes nothing else that users say."""

# No group holds the destination. It cannot hold a space either (Xray takes host names of letters, digits and ``-._``).
_LINE: Final = re.compile(
    rb"[\d/]{10} [\d:.]{8,20} from (?:tcp:|udp:)?(?P<host>[\d.]+|\[[\da-f:.]+\]):(?P<port>\d{1,5}) "
    rb"accepted (?:tcp|udp):\S+ \[\S+ (?:>>|->|==) \S+\] email: (?P<email>[a-z\d-]{1,63})"
)


@attrs.frozen
class Connected:
    """A user was let through: once for each TCP connection, and once for each of his datagrams' streams."""

    device_id: DeviceId
    source: SocketAddress


class AccessLog:
    """Feed it what the log's pipe brings, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[Connected]:
        """Return who was let through; lines that say anything else are dropped."""
        *lines, rest = (self._rest + data).split(b"\n")
        if lines and self._skipping:
            del lines[0]
            self._skipping = False
        if len(rest) > MAX_LINE:
            rest, self._skipping = b"", True
        self._rest = b"" if self._skipping else rest
        return [found for line in lines if (found := _read(line)) is not None]

    def __repr__(self) -> str:
        return "<AccessLog>"


def _read(line: bytes) -> Connected | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    try:
        address = ipaddress.ip_address(found["host"].strip(b"[]").decode())
        source = SocketAddress(address, int(found["port"]))
        return Connected(DeviceId(check_label(found["email"].decode())), source)
    except ValueError:
        # Not quoted: it names where somebody went.
        return None
