"""Traffic between two hosts, made and measured by the test's own process."""

from __future__ import annotations

import re
import socket
import struct

import trio

from tests.system.lab.network import Lab

PORT = 5000
_NUMBER = struct.Struct("!I")
_END = 0xFFFFFFFF


async def round_trips(
    lab: Lab, source: str, address: str, *, count: int, interval: float = 0.05, patience: float = 2.0
) -> list[float]:
    """Return the seconds of each ping(8) that was answered, waiting ``patience`` seconds for the last."""
    ping = ["ping", "-n", "-c", str(count), "-i", str(interval), "-W", str(patience), address]
    said = await lab.run(source, *ping, check=False)
    return [float(found) / 1000 for found in re.findall(r"time=([0-9.]+) ms", said)]


async def send_datagrams(lab: Lab, source: str, target: str, *, count: int, family: int = 4) -> list[int]:
    """Send numbered datagrams at some thousand a second, and return the numbers in the order in which they arrive.

    On a line that keeps the order nothing arrives after the return.
    """
    arrived: list[int] = []
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    receiver = await lab.namespace(target).socket(kind, socket.SOCK_DGRAM)
    sender = await lab.namespace(source).socket(kind, socket.SOCK_DGRAM)
    address = lab.host(target).address(family)
    with receiver, sender:
        await receiver.bind((address, PORT))
        await sender.connect((address, PORT))
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                while True:
                    (number,) = _NUMBER.unpack_from(await receiver.recv(2048))
                    if number == _END:
                        nursery.cancel_scope.cancel()
                        return
                    arrived.append(number)

            nursery.start_soon(receive)
            for number in range(count):
                await sender.send(_NUMBER.pack(number).ljust(64))
                await trio.sleep(0.0002)
            # One end is enough, and not every one arrives.
            while True:
                await sender.send(_NUMBER.pack(_END).ljust(64))
                await trio.sleep(0.02)
    return arrived


async def transfer(lab: Lab, source: str, target: str, *, size: int, family: int = 4) -> float:
    """Send bytes over a new TCP connection, and return the seconds until the last has arrived."""
    address = lab.host(target).address(family)
    async with await lab.namespace(target).listen(address, PORT) as listener, trio.open_nursery() as nursery:

        async def send() -> None:
            async with await lab.namespace(source).connect(address, PORT) as stream:
                await stream.send_all(bytes(size))

        begin = trio.current_time()
        nursery.start_soon(send)
        async with await listener.accept() as stream:
            arrived = sum([len(part) async for part in stream])
        assert arrived == size
        return trio.current_time() - begin
