"""One end of a tunnel over loopback that carries real TCP: what bench.caravel compares stacks with, without root.

    python -m bench._caravel_stack KIND NUMBER PRIVATE PEER_PUBLIC

KIND is an inner side of caravel's: ``netstack``, or Linux's TCP with a congestion control of its own, ``userns:cubic``,
``userns:bbr``. Number 1 serves in the tunnel, number 2
dials. A worker (bench.support): it says its UDP port, is told its peer's, and is asked for one stream at a time.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface, ip_network
from typing import Any, Final

import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests, cpu
from pharos.caravel.tunnel.inner import InnerKind, open_inner
from pharos.caravel.tunnel.parts import Inner
from pharos.caravel.tunnel.userns import Userns, open_userns
from pharos.caravel.tunnel.usernsstreams import UsernsStreams
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.tunnel import Tunnel, open_tunnel

HOST: Final = "127.0.0.1"
PORT: Final = 5001
MTU: Final = 1420
CHUNK: Final = 256 * 1024
FLOOD, SINK = b"F", b"S"
"""What a dialler says first: send to me, or take from me."""


def address(number: int) -> str:
    return f"10.9.0.{number}"


class End:
    """An end with its inner side and its engine."""

    def __init__(self, inner: Inner, tunnel: Tunnel, peer: bytes) -> None:
        self._inner, self._tunnel, self._peer = inner, tunnel, peer

    async def meet(self, *, port: int) -> dict[str, Any]:
        """Speak to the peer at this port of loopback from now on."""
        self._tunnel.set_peer(
            PeerConfig(public_key=self._peer, allowed_ips=(ip_network("10.9.0.0/24"),), endpoint=(HOST, port))
        )
        return {}

    async def stream(self, *, kind: str, seconds: float) -> dict[str, Any]:
        """Carry one stream, ``up`` or ``down``, for so long; return the rate at the receiver in Mbit/s."""
        assert self._inner.streams is not None
        await self._tunnel.wait_handshake(self._peer)
        async with await self._inner.streams.open_tcp_stream(address(1), PORT) as stream:
            await stream.send_all(FLOOD if kind == "down" else SINK)
            if kind == "down":
                return {"rate": await _take(stream, seconds)}
            await _flood(stream, seconds)
            await stream.send_eof()
            answer = b""
            while piece := await stream.receive_some():
                answer += piece
            return {"rate": float(answer)}


async def _serve(stream: trio.abc.HalfCloseableStream) -> None:
    """Do as the dialler says."""
    try:
        if await stream.receive_some(1) == FLOOD:
            await _flood(stream, float("inf"))
        else:
            await stream.send_all(str(await _take(stream, float("inf"))).encode())
            await stream.send_eof()
    except trio.BrokenResourceError:
        return


async def _flood(stream: trio.abc.HalfCloseableStream, seconds: float) -> None:
    data, end = bytes(CHUNK), time.perf_counter() + seconds
    while time.perf_counter() < end:
        await stream.send_all(data)


async def _take(stream: trio.abc.HalfCloseableStream, seconds: float) -> float:
    """Return Mbit/s over so long, or until the end."""
    taken, start, last = 0, time.perf_counter(), 0.0
    with trio.move_on_after(seconds):
        try:
            while piece := await stream.receive_some(CHUNK):
                taken += len(piece)
                last = time.perf_counter()
        except trio.BrokenResourceError:
            pass
    return taken * 8 / max(last - start, 1e-9) / 1e6


class Controlled(UsernsStreams):
    """Linux's streams with one congestion control; what a machine has by itself differs."""

    def __init__(self, userns: Userns, control: bytes, own: IPv4Address) -> None:
        super().__init__(userns, addresses=[own], resolvers=())
        self._control = control

    async def open_tcp_stream(self, host: str, port: int) -> trio.SocketStream:
        stream = await super().open_tcp_stream(host, port)
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, self._control)
        return stream


@asynccontextmanager
async def open_end(kind: str, number: int) -> AsyncIterator[tuple[Inner, trio.SocketListener | None]]:
    """Have an inner side, and where the kernel's own listens if it is that."""
    own = [IPv4Interface(f"{address(number)}/24")]
    kind, _, control = kind.partition(":")
    if kind != InnerKind.USERNS:
        async with open_inner(kind, addresses=own, mtu=MTU) as inner:
            yield inner, None
        return
    async with open_userns(addresses=own, mtu=MTU) as (userns, tun):
        streams = Controlled(userns, control.encode(), own[0].ip)
        sock = trio.socket.from_stdlib_socket(await userns.open_socket(socket.AF_INET, socket.SOCK_STREAM))
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
            await sock.bind((address(number), PORT))
            sock.listen()
            yield Inner(far=tun, streams=streams), trio.SocketListener(sock)


async def run(kind: str, number: int, private: bytes, peer: bytes) -> None:
    device = Device(private_key=private, random=os.urandom, wall_clock=time.time_ns, mtu=MTU)
    async with (
        open_end(kind, number) as (inner, listener),
        open_tunnel(device, inner.far, host=HOST) as tunnel,
        trio.open_nursery() as nursery,
    ):
        end = End(inner, tunnel, peer)
        if listener is not None:
            nursery.start_soon(trio.serve_listeners, _serve, [listener])
        elif number == 1:
            streams: Any = inner.streams
            nursery.start_soon(streams.serve_tcp, PORT, _serve)
        say(port=tunnel.address[1])
        await answer_requests({"meet": end.meet, "stream": end.stream, "cpu": cpu})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run, sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), bytes.fromhex(sys.argv[4]))
