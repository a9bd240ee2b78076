"""Who asks for octets in bench.reality without being measured itself, and the plain TLS client that is.

    python -m bench._reality_app

A worker (bench.support), asked for one transfer at a time. But for ``tls`` it opens no record behind the handshake:
what comes is counted and thrown away, so that whoever sends it is the one to wait for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from socket import socket
from typing import Any

from bench._reality_wire import CHUNK, COUNT, HOST, PLAIN_ID, Tls, client_context, dial, receive, receive_exactly
from bench._rpc_ours import say
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.connection import HandshakeCompleted
from pharos.wire.reality.draws import Random
from pharos.wire.reality.vless import Command, Flow, Request
from tests.support.reality import seeded, settings


def drain(receive_into: Callable[[bytearray], int], count: int) -> dict[str, float]:
    """Receive as many octets; the clock runs from the first of them on."""
    buffer = bytearray(CHUNK)
    received = receive_into(buffer)
    began, used = time.perf_counter(), time.process_time()
    while received < count:
        if not (size := receive_into(buffer)):
            raise RuntimeError(f"{received} of {count} octets came")
        received += size
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


def tls(port: int, count: int) -> dict[str, float]:
    """Be a client of the standard library that opens all records."""
    with client_context().wrap_socket(dial(port)) as sock:
        sock.sendall(COUNT.pack(count))
        return drain(sock.recv_into, count)


def sink(port: int, count: int, socks: int = 0) -> dict[str, float]:
    """Ask a TLS server, perhaps through a SOCKS proxy."""
    with dial(socks or port) as sock:
        if socks:
            connect(sock, port)
        Tls(sock, client_context(), server=False).send(COUNT.pack(count))
        return drain(sock.recv_into, count)


def connect(sock: socket, port: int) -> None:
    sock.sendall(b"\5\1\0")
    receive_exactly(sock, 2)
    sock.sendall(b"\5\1\0\1\x7f\0\0\1" + port.to_bytes(2, "big"))
    if receive_exactly(sock, 10)[:2] != b"\5\0":
        raise RuntimeError("the SOCKS proxy did not connect")


def reality_sink(port: int, count: int, origin: int) -> dict[str, float]:
    """Ask an origin through a node."""
    random: Random = seeded(time.monotonic_ns())
    with dial(port) as sock:
        device = ClientConnection(settings(), now=time.time(), random=random)
        while not isinstance(device.next_event(), HandshakeCompleted):
            if output := device.take_output():
                sock.sendall(output)
            device.receive(receive(sock))
        request = Request(user_id=PLAIN_ID, command=Command.TCP, target=Address(HOST, origin), flow=Flow.NONE)
        device.send(request.render() + COUNT.pack(count))
        sock.sendall(device.take_output())
        return drain(sock.recv_into, count)


def main() -> None:
    tasks: dict[str, Callable[..., dict[str, Any]]] = {"tls": tls, "sink": sink, "reality_sink": reality_sink}
    say(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        say(**tasks[request.pop("task")](**request))


if __name__ == "__main__":
    main()
