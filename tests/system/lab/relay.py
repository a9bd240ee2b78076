"""A bad line between two TAP devices: ``python -m tests.system.lab.relay ONE OTHER`` inside a namespace.

The two directions come as one JSON object on the first line of standard input. The process makes the devices, prints
``ready``, and carries frames until its standard input ends; then it prints what became of them, and the devices go with
it. A TAP device offers no offloads, so that the kernel hands over whole frames of at most the MTU, with checksums.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import struct
import sys

import attrs
import trio

from tests.system.lab.impair import Impairment, Line

_TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 65536
_BURST = 64
"""Frames read in a row before others get their turn."""


def open_tap(name: str) -> int:
    """Make a TAP device in this process's namespace; it goes when the descriptor is closed."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


class Direction:
    """Carries frames from one device to the other over a line."""

    def __init__(self, source: int, target: int, line: Line) -> None:
        self._source, self._target, self.line = source, target, line
        self._arrived = trio.Event()

    async def run(self) -> None:
        """Carry until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._send)

    async def _receive(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._source)
            now = trio.current_time()
            for _ in range(_BURST):
                try:
                    self.line.push(os.read(self._source, _FRAME), now)
                except BlockingIOError:
                    break
            self._arrived.set()
            self._arrived = trio.Event()

    async def _send(self) -> None:
        while True:
            for frame in self.line.pop(trio.current_time()):
                try:
                    os.write(self._target, frame)
                except OSError as error:
                    # A device that is not up yet, or that is full: a cable loses what it cannot carry.
                    if error.errno not in (errno.EIO, errno.EAGAIN, errno.ENOBUFS):
                        raise
            with trio.move_on_at(self.line.next_at):
                await self._arrived.wait()


async def main(one: str, other: str) -> None:
    """Carry frames between two new devices until standard input ends."""
    with os.fdopen(open_tap(one), "rb", 0) as first, os.fdopen(open_tap(other), "rb", 0) as second:
        async with trio.lowlevel.FdStream(os.dup(0)) as orders:
            order = b""
            while not order.endswith(b"\n"):
                order += await orders.receive_some() or b"\n"
            setting = json.loads(order)
            dice = random.Random(setting["seed"])
            lines = [Line(Impairment(**setting[way]), random.Random(dice.random()).random) for way in ("up", "down")]
            directions = [
                Direction(first.fileno(), second.fileno(), lines[0]),
                Direction(second.fileno(), first.fileno(), lines[1]),
            ]
            async with trio.open_nursery() as nursery:
                for direction in directions:
                    nursery.start_soon(direction.run)
                print("ready", flush=True)
                while await orders.receive_some():
                    pass
                nursery.cancel_scope.cancel()
    print(json.dumps([attrs.asdict(line.counts) for line in lines]), flush=True)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
