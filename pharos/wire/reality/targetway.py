"""The way to the target, which every connection takes: to the address that answered last, while that is fresh."""

from __future__ import annotations

import ipaddress
import math
from typing import Final

import trio

from pharos.wire.units import MINUTES, SECONDS

FRESH: Final = 1 * MINUTES
"""For which a name is not looked up again; names that move their sites live about as long."""
ATTEMPT: Final = 1 * SECONDS
"""For an address that did answer a minute ago; then it is forgotten, and all that the name has are tried."""


class TargetWay:
    """Opens connections to one target. What a resolver and a race of addresses take, in time and in processor time, is
    spent once a minute.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._is_address = _is_address(host)
        self._known: tuple[str, int] | None = None
        self._fresh_until = -math.inf

    async def open(self) -> trio.SocketStream:
        """Raises: OSError — nothing there takes the connection. The caller owns the time-out."""
        if self._is_address:
            return await _connect(self._host, self._port)
        if self._known is not None and trio.current_time() < self._fresh_until:
            with trio.move_on_after(ATTEMPT):
                try:
                    return await _connect(*self._known)
                except OSError:
                    pass
        self._known = None
        stream = await trio.open_tcp_stream(self._host, self._port)
        self._known, self._fresh_until = stream.socket.getpeername()[:2], trio.current_time() + FRESH
        return stream


async def _connect(host: str, port: int) -> trio.SocketStream:
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
