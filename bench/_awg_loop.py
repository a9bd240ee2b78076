"""One end of a tunnel over loopback with packets made and counted in memory: what bench.awg measures without root.

    python -m bench._awg_loop far|near PRIVATE PEER_PUBLIC PARAMETERS [PORT]

A worker (bench.support): the far end answers until its standard input ends, the near end is asked for one stream at a
time. What is under way is kept to what a socket's buffer holds, so that the rate is the engines' and nothing is lost.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NoReturn

import attrs
import trio

from bench._awg_lab import Result, obfuscated
from bench.support import Worker
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.tunnel import open_tunnel
from pharos.wire.awg.udp import bind_udp

HOST: Final = "127.0.0.1"
PARAMETERS: Final[dict[str, ObfuscationParameters]] = {
    "ours": PLAIN,
    "obfuscated": obfuscated(),
    "trailers": obfuscated(random_trailers=True),
    "padding": obfuscated(content_padding_addition=Range(16, 64)),
}
_NEAR, _FAR = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
_SIZE: Final = 1420
_BATCH: Final = 44
_HEADER: Final = struct.Struct(">BBHHHBBH4s4s")
_COUNT: Final = struct.Struct(">QQ")
_PATIENCE: Final = 0.1
"""Seconds without an answer after which what is under way counts as lost."""
_HANDSHAKE_TIMEOUT: Final = 10.0


def packet(source: IPv4Address, destination: IPv4Address, payload: bytes) -> bytes:
    """Make an IPv4 packet of an experimental protocol (253); nobody looks at its checksum."""
    size = _HEADER.size + len(payload)
    return _HEADER.pack(0x45, 0, size, 0, 0, 64, 253, 0, source.packed, destination.packed) + payload


@attrs.define(eq=False)
class Counting:
    """The far inner end: answers each batch with what has arrived so far."""

    count: int = 0
    octets: int = 0
    _news: trio.Event = attrs.Factory(trio.Event)

    async def receive_packets(self) -> Sequence[bytes]:
        await self._news.wait()
        self._news = trio.Event()
        return [packet(_FAR, _NEAR, _COUNT.pack(self.count, self.octets))]

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        self.count += len(packets)
        self.octets += sum(map(len, packets))
        self._news.set()


@attrs.define(eq=False)
class Streaming:
    """The near inner end: sends as fast as answers come, once it is told to begin."""

    window: int
    """Packets under way."""
    sent: int = 0
    arrived: int = 0
    octets: int = 0
    lost: int = 0
    begin: trio.Event = attrs.Factory(trio.Event)
    _before: tuple[int, int] | None = None
    _answer: trio.Event = attrs.Factory(trio.Event)
    _packets: tuple[bytes, ...] = (packet(_NEAR, _FAR, bytes(_SIZE - _HEADER.size)),) * _BATCH

    async def receive_packets(self) -> Sequence[bytes]:
        await self.begin.wait()
        await trio.lowlevel.checkpoint()
        while self.sent - self.arrived - self.lost > self.window - _BATCH:
            self._answer = trio.Event()
            with trio.move_on_after(_PATIENCE) as scope:
                await self._answer.wait()
            if scope.cancelled_caught:
                self.lost = self.sent - self.arrived
        self.sent += _BATCH
        return self._packets

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        count, octets = _COUNT.unpack_from(packets[-1], _HEADER.size)
        # The far end has counted earlier streams, too; the batch that the first answer tells of is not counted.
        self._before = self._before or (count, octets)
        self.arrived, self.octets = count - self._before[0], octets - self._before[1]
        self._answer.set()


def window() -> int:
    """Return how many packets may be under way: a third of a socket's buffer, for there they take twice their size."""
    with bind_udp(HOST, 0) as sock:
        room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return max(_BATCH, room // 3 // _SIZE)


def make_device(private: bytes, parameters: ObfuscationParameters) -> Device:
    return Device(private_key=private, random=os.urandom, wall_clock=time.time_ns, parameters=parameters)


async def run_far(private: bytes, peer: bytes, parameters: ObfuscationParameters) -> None:
    device, counting = make_device(private, parameters), Counting()
    device.set_peer(PeerConfig(public_key=peer, allowed_ips=(IPv4Network(_NEAR),)), trio.current_time())
    async with open_tunnel(device, counting, host=HOST) as tunnel:
        print(json.dumps({"ready": True, "port": tunnel.address[1]}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def run_stream(
    private: bytes, peer: bytes, parameters: ObfuscationParameters, port: int, seconds: float
) -> dict[str, float]:
    """Send one stream for so long; return megabits a second that arrived, gigabytes, and packets that were lost."""
    device, streaming = make_device(private, parameters), Streaming(window())
    config = PeerConfig(public_key=peer, endpoint=(HOST, port), allowed_ips=(IPv4Network(_FAR),))
    device.set_peer(config, trio.current_time())
    async with open_tunnel(device, streaming, host=HOST) as tunnel:
        with trio.fail_after(_HANDSHAKE_TIMEOUT):
            await tunnel.wait_handshake(peer)
        started = time.perf_counter()
        streaming.begin.set()
        await trio.sleep(seconds)
        taken = time.perf_counter() - started
    octets = streaming.octets
    return {"rate": octets * 8 / taken / 1e6, "gigabytes": octets / 1e9, "lost": streaming.lost}


def main() -> NoReturn:
    role, private, peer, name, *port = sys.argv[1:]
    ends = bytes.fromhex(private), bytes.fromhex(peer), PARAMETERS[name]
    if role == "far":
        trio.run(run_far, *ends)
        sys.exit()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(trio.run(run_stream, *ends, int(port[0]), json.loads(line)["seconds"])), flush=True)
    sys.exit()


@attrs.frozen
class Pair:
    """Two engines with a tunnel between, each a worker."""

    near: Worker
    far: Worker

    def stream(self, seconds: float) -> Result:
        before = self.near.cpu() + self.far.cpu()
        done = self.near.ask(seconds=seconds)
        return Result(rate=done["rate"], cpu=(self.near.cpu() + self.far.cpu() - before) / done["gigabytes"])


def open_pair(start: Callable[..., Worker], name: str) -> Pair:
    """Start both ends of a tunnel with the parameters of that name."""
    private = [generate_private_key(os.urandom) for _ in range(2)]
    near, far = (key.hex() for key in private)
    near_public, far_public = (public_key(key).hex() for key in private)
    other = start("bench._awg_loop", "far", far, near_public, name)
    return Pair(start("bench._awg_loop", "near", near, far_public, name, str(other.ready["port"])), other)


if __name__ == "__main__":
    main()
