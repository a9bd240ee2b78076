"""What bench.awg measures without a network: handshakes, look-ups, and peers that do nothing.

    python -m bench._awg_core

A worker (bench.support): it is asked for one thing at a time.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
import tracemalloc
from ipaddress import IPv4Address, IPv4Network

import psutil
import trio

from pharos.wire.awg.allowedips import AllowedIps
from pharos.wire.awg.batches import SlicedBuffer
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.pump import Pump
from pharos.wire.awg.udp import UdpPort, bind_udp

PEERS = 10_000
FIRST = int(IPv4Address("10.0.0.0"))
SOURCE = ("192.0.2.1", 51820)


def make_device() -> Device:
    return Device(private_key=generate_private_key(os.urandom), random=os.urandom, wall_clock=time.time_ns)


def handshakes(count: int) -> float:
    """Return how many initiations a second are answered, each of another peer, one at a time."""
    responder = make_device()
    initiations = []
    for number in range(count):
        initiator = make_device()
        initiator.set_peer(PeerConfig(public_key=responder.public_key, endpoint=SOURCE), 0.0)
        initiator.initiate_handshake(responder.public_key, 0.0)
        (batch,) = initiator.take_output().batches
        initiations.append(bytes(batch.data))
        network = IPv4Network(FIRST + number)
        responder.set_peer(PeerConfig(public_key=initiator.public_key, allowed_ips=(network,)), 0.0)
    buffer, plain = SlicedBuffer(), SlicedBuffer()
    answered = 0
    begin = time.process_time()
    for number, initiation in enumerate(initiations):
        # Slower than a flood, in the device's time: under load it would ask for cookies.
        now = 1.0 + number / 1000
        buffer.data[: len(initiation)] = initiation
        responder.receive_datagrams(buffer, len(initiation), len(initiation), SOURCE, plain, now)
        responder.tick(now)
        answered += len(responder.take_output().batches)
    taken = time.process_time() - begin
    if answered != count:
        raise RuntimeError(f"{answered} of {count} initiations were answered")
    return count / taken


def lookup(rounds: int, *, peers: int = PEERS) -> float:
    """Return the nanoseconds of looking up one of so many addresses, each its own network, in random order."""
    routes: AllowedIps[int] = AllowedIps()
    for number in range(peers):
        routes.add(IPv4Network(FIRST + number), number)
    # As many look-ups a round, however few addresses there are.
    addresses = [(FIRST + number % peers).to_bytes(4, "big") for number in range(PEERS)]
    random.Random(1).shuffle(addresses)
    find = routes.find
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for address in addresses:
            find(address)
        best = min(best, time.perf_counter() - begin)
    return best / PEERS * 1e9


def memory(peers: int) -> float:
    """Return the octets that each of so many configured peers takes, as the allocator of Python counts them."""
    device = make_device()
    keys = [public_key(generate_private_key(os.urandom)) for _ in range(peers)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number, key in enumerate(keys):
        device.set_peer(PeerConfig(public_key=key, allowed_ips=(IPv4Network(FIRST + number),)), 0.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / peers


async def idle(seconds: float) -> dict[str, float]:
    """Return what 10,000 configured peers without a session take: megabytes, and percent of a core while idle."""
    device = make_device()
    # Made before, so that what making them took is no part of it.
    keys = [public_key(generate_private_key(os.urandom)) for _ in range(PEERS)]
    process = psutil.Process()
    with bind_udp("127.0.0.1", 0) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Pump(device, [UdpPort(sock)], EchoEnd([])).run)
            await trio.sleep(0.2)
            gc.collect()
            before = process.memory_info().rss
            for number, key in enumerate(keys):
                network = IPv4Network(FIRST + number)
                device.set_peer(PeerConfig(public_key=key, allowed_ips=(network,)), trio.current_time())
            await trio.sleep(0.2)
            gc.collect()
            after = process.memory_info().rss
            begin, used = time.perf_counter(), time.process_time()
            await trio.sleep(seconds)
            used = time.process_time() - used
            percent = used / (time.perf_counter() - begin) * 100
            nursery.cancel_scope.cancel()
    return {"megabytes": (after - before) / 1e6, "percent": percent}


def main() -> None:
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        match request["task"]:
            case "handshakes":
                answer = {"rate": handshakes(request["count"])}
            case "lookup":
                answer = {"ns": lookup(request["rounds"], peers=request.get("peers", PEERS))}
            case "memory":
                answer = {"octets": memory(request["peers"])}
            case _:
                answer = trio.run(idle, request["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
