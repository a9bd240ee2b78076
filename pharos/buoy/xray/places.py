"""Where Xray listens: one address for both families where there are two, and a port of its own where none is named."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import attrs

from pharos.buoy.dataplane.base import RealityEndpoint
from pharos.buoy.dataplane.realityplan import EVERY_IPV6


def listen_address(hosts: Sequence[str]) -> str:
    """Return the one address at which Xray hears for all of ``hosts``: ``::`` is IPv4's too, where there is IPv6."""
    if EVERY_IPV6 in hosts and _has_ipv6():
        return EVERY_IPV6
    return next((host for host in hosts if host != EVERY_IPV6), EVERY_IPV6)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind((EVERY_IPV6, 0))
    except OSError:
        return False
    return True


class Ports:
    """Names a port to endpoints that name none; once, so that the same endpoint is the same again."""

    def __init__(self) -> None:
        self._chosen = 0

    def settle(self, endpoints: Sequence[RealityEndpoint]) -> tuple[RealityEndpoint, ...]:
        if not self._chosen and any(endpoint.port == 0 for endpoint in endpoints):
            with socket.socket() as sock:
                sock.bind(("", 0))
                self._chosen = sock.getsockname()[1]
        return tuple(one if one.port else attrs.evolve(one, port=self._chosen) for one in endpoints)
