"""The outer socket of a tunnel."""

import ipaddress
import socket
from typing import Final

from pharos.wire.awg.endpoint import Address
from pharos.wire.listen import naming_address
from pharos.wire.units import MIB

ANY_IPV4: Final = "0.0.0.0"  # noqa: S104 — peers come by whatever interface routes to us.
ANY_IPV6: Final = "::"

SOCKET_BUFFER_BYTES: Final = 4 * MIB
"""Asked for each way; 20 ms of a Gbit/s stream is 2.5 MB. The kernel may grant less without a word."""


def bind_udp(host: str, port: int) -> socket.socket:
    """Bind a non-blocking UDP socket; port 0 takes any. ``ANY_IPV6`` serves IPv4 too. The caller closes it.

    Raises: OSError — the address is not ours or the port is taken.
    """
    if ipaddress.ip_address(host).version == 4:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    else:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        sock.settimeout(0.0)
        with naming_address(host, port, "UDP"):
            sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def local_address(sock: socket.socket) -> Address:
    return to_address(sock.getsockname())


def to_address(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Bring what the socket module returns for either family to one form."""
    if len(sockaddr) == 2:
        return sockaddr
    host, port, _, scope = sockaddr
    return (f"{host}%{scope}" if scope else host), port
