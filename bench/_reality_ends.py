"""The far ends of bench.reality.

    python -m bench._reality_ends origin|tls|reality|relay [ORIGIN]

``origin`` sends as many octets as it is asked for. ``tls`` and ``reality`` do so, too, but seal them all before they
send the first, so that who receives them is never waited for; ``relay`` takes the origin's by TCP and seals them as
they come. A worker (bench.support), which ends with its standard input.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Callable
from socket import SHUT_WR, create_server, socket

from bench._reality_wire import (
    CHUNK,
    COUNT,
    HOST,
    PAYLOAD,
    TIMEOUT,
    Tls,
    dial,
    finish,
    receive,
    receive_exactly,
    send_payload,
    server_context,
)
from bench._rpc_ours import say
from bench.support import raise_file_limit
from pharos.wire.reality.auth import Admitted
from pharos.wire.reality.connection import DataReceived, HandshakeCompleted
from pharos.wire.reality.records import HEADER
from pharos.wire.reality.server import ServerConnection
from pharos.wire.reality.vless import parse_request, render_response
from tests.support.reality import SIGNER, gate, hello_in, seeded, target_flight

_SUITE = 0x1302
"""AES-256-GCM, which OpenSSL chooses for the others."""
_BACKLOG = 1024


def serve_origin(sock: socket) -> None:
    try:
        while True:
            send_payload(sock, COUNT.unpack(receive_exactly(sock, COUNT.size))[0])
    except (EOFError, ConnectionError):
        # Who has counted enough goes, and leaves the rest.
        return


def make_tls() -> Callable[[socket], None]:
    context = server_context()

    def serve(sock: socket) -> None:
        tls = Tls(sock, context, server=True)
        sock.sendall(tls.sealed(COUNT.unpack(tls.read(COUNT.size))[0]))
        finish(sock)

    return serve


def serve_reality(sock: socket) -> None:
    head = receive_exactly(sock, HEADER)
    hello = hello_in(head + receive_exactly(sock, int.from_bytes(head[3:], "big")))
    admitted = gate().judge(hello, now=time.time())
    if not isinstance(admitted, Admitted):
        raise EOFError(f"a stranger's hello {admitted.value}")
    flight = target_flight(hello, suite=_SUITE)
    node = ServerConnection(hello, admitted, flight, SIGNER, random=seeded())
    sock.sendall(node.take_output())
    while not isinstance(node.next_event(), HandshakeCompleted):
        node.receive(receive(sock))
    while not isinstance(event := node.next_event(), DataReceived):
        node.receive(receive(sock))
    found = parse_request(bytes(event.data))
    if found is None:
        raise EOFError("no request came with the first payload")
    (left,) = COUNT.unpack(event.data[found[1] :])
    node.send(render_response())
    while left:
        node.send(piece := PAYLOAD[:left])
        left -= len(piece)
    node.send_end()
    sock.sendall(node.take_output())
    finish(sock)


def make_relay(origin: int) -> Callable[[socket], None]:
    context = server_context()

    def serve(sock: socket) -> None:
        buffer = bytearray(CHUNK)
        view = memoryview(buffer)
        with dial(origin) as upstream, context.wrap_socket(sock, server_side=True) as tls:
            upstream.sendall(receive_exactly(tls, COUNT.size))
            upstream.shutdown(SHUT_WR)
            while size := upstream.recv_into(buffer):
                tls.sendall(view[:size])
            finish(tls)

    return serve


def guarded(serve: Callable[[socket], None], sock: socket) -> None:
    with sock:
        try:
            sock.settimeout(TIMEOUT)
            serve(sock)
        except (ConnectionError, ssl.SSLEOFError):
            # As at the origin.
            return
        except (OSError, EOFError) as error:
            print(f"{sys.argv[1]}: {error!r}", file=sys.stderr, flush=True)


def accept(listener: socket, serve: Callable[[socket], None]) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=guarded, args=(serve, sock), daemon=True).start()


def main() -> None:
    raise_file_limit()
    role, *origin = sys.argv[1:]
    made: dict[str, Callable[[], Callable[[socket], None]]] = {
        "origin": lambda: serve_origin,
        "tls": make_tls,
        "reality": lambda: serve_reality,
        "relay": lambda: make_relay(int(origin[0])),
    }
    serve = made[role]()
    listener = create_server((HOST, 0), backlog=_BACKLOG)
    threading.Thread(target=accept, args=(listener, serve), daemon=True).start()
    say(port=listener.getsockname()[1])
    sys.stdin.read()


if __name__ == "__main__":
    main()
