"""REALITY's two ends in memory: a device, a node, and the answer of a target that is not there."""

from __future__ import annotations

import random as stdlib_random
from typing import Any

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pharos.wire.reality.auth import Admitted, Gate
from pharos.wire.reality.certificate import NodeSigner
from pharos.wire.reality.client import ClientConnection, ClientSettings
from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.connection import Connection, DataReceived, Event, HandshakeCompleted
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import AlertReceivedError
from pharos.wire.reality.extensions import Extension, write_extensions
from pharos.wire.reality.flight import TargetFlight
from pharos.wire.reality.groups import X25519, X25519MLKEM768
from pharos.wire.reality.hello import ClientHello, read_client_hello
from pharos.wire.reality.records import HEADER, ContentType
from pharos.wire.reality.server import ServerConnection
from pharos.wire.reality.serverhello import read_server_hello, write_server_hello
from pharos.wire.reality.stream import RealityStream

NOW = 1_790_000_000.0
NAME = "www.site.test"
SHORT_ID = bytes.fromhex("0123456789abcdef")
NODE_KEY = bytes(range(32))
SIGNER = NodeSigner(bytes(range(32, 64)))
PQ_SIGNER = NodeSigner(bytes(range(32, 64)), mldsa65_seed=bytes(range(64, 96)))

FOUR = (100, 3000, 286, 74)
"""A target that sends each message in a record of its own: with a certificate of RSA."""
FOUR_AND_TICKET = (*FOUR, 255)
ONE = (3500,)
SHAPES = {"one record": ONE, "four records": FOUR, "four records and a ticket": FOUR_AND_TICKET}


def seeded(seed: int = 0) -> Random:
    """Randomness that is the same each time."""
    return stdlib_random.Random(seed).randbytes


def node_public_key(private: bytes = NODE_KEY) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def settings(**changes: Any) -> ClientSettings:
    usual = ClientSettings(server_name=NAME, public_key=node_public_key(), short_id=SHORT_ID)
    return attrs.evolve(usual, **changes)


def gate(**changes: Any) -> Gate:
    usual = Gate(private_key=NODE_KEY, server_names=frozenset({NAME}), short_ids=frozenset({SHORT_ID}))
    return attrs.evolve(usual, **changes)


def hello_in(records: bytes | bytearray) -> ClientHello:
    """Return the hello that a client's first record holds."""
    return read_client_hello(bytes(records[HEADER:]))


def target_flight(
    hello: ClientHello, *, suite: int = 0x1301, group: int | None = None, records: tuple[int, ...] = FOUR
) -> TargetFlight:
    """Answer as a target does; the group is the best that the hello has a share of, if none is said."""
    chosen = group or (X25519MLKEM768 if X25519MLKEM768 in hello.shares else X25519)
    share = bytes(X25519PrivateKey.generate().public_key().public_bytes_raw())
    if chosen == X25519MLKEM768:
        share = MLKEM768PublicKey.from_public_bytes(hello.shares[chosen][:1184]).encapsulate()[1] + share
    extensions = write_extensions(
        {
            Extension.KEY_SHARE: pack((chosen,)) + vector(2, share),
            Extension.SUPPORTED_VERSIONS: pack((0x0304,)),
        }
    )
    message = write_server_hello(
        random=bytes(range(32)), session_id=hello.session_id, suite=suite, extensions=extensions
    )
    return TargetFlight(server_hello=read_server_hello(message), records=records)


@attrs.define
class Ends:
    client: ClientConnection
    node: ServerConnection


def ends(
    *,
    suite: int = 0x1301,
    group: int | None = None,
    records: tuple[int, ...] = FOUR,
    post_handshake: tuple[int, ...] = (),
    max_useless: int = 32,
    signer: NodeSigner = SIGNER,
    client: ClientSettings | None = None,
    seed: int = 0,
) -> Ends:
    """Return both ends with nothing delivered yet but the hello."""
    device = ClientConnection(client or settings(), now=NOW, random=seeded(seed))
    hello = hello_in(device.take_output())
    admitted = gate().judge(hello, now=NOW)
    assert isinstance(admitted, Admitted), admitted
    flight = target_flight(hello, suite=suite, group=group, records=records)
    node = ServerConnection(
        hello,
        admitted,
        flight,
        signer,
        random=seeded(seed + 1),
        post_handshake=post_handshake,
        max_useless=max_useless,
    )
    return Ends(device, node)


def events_of(connection: Connection) -> list[Event]:
    found = []
    while (event := connection.next_event()) is not None:
        found.append(event)
    return found


def deliver(source: Connection, sink: Connection, *, step: int = 1 << 20) -> list[Event]:
    """Carry all that ``source`` has to send, in pieces of ``step`` octets; returns what ``sink`` makes of it."""
    data = source.take_output()
    found = []
    for start in range(0, len(data), step):
        sink.receive(data[start : start + step])
        found += events_of(sink)
    return found


def connected(**options: Any) -> Ends:
    """Return both ends behind a handshake, with nothing on its way."""
    pair = ends(**options)
    deliver(pair.node, pair.client)
    deliver(pair.client, pair.node)
    deliver(pair.node, pair.client)
    return pair


def data_in(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, DataReceived))


def records_of(data: bytes | bytearray) -> list[bytes]:
    """Cut what is on the wire into its records."""
    found = []
    while data:
        size = HEADER + int.from_bytes(data[3:HEADER], "big")
        found.append(bytes(data[:size]))
        data = data[size:]
    return found


def alert_in(connection: Connection, peer: Connection) -> int:
    """Return the alert that ``connection`` has for ``peer``, read by the peer itself."""
    peer.receive(connection.take_output())
    with pytest.raises(AlertReceivedError) as caught:
        events_of(peer)
    return caught.value.description


def put(connection: Connection, kind: ContentType, content: bytes) -> None:
    """Send what no connection of ours would."""
    connection._put(kind, content)


async def accept(
    transport: trio.abc.HalfCloseableStream, *, signer: NodeSigner = SIGNER, records: tuple[int, ...] = FOUR
) -> RealityStream:
    """Do a node's handshake on a transport, with a target that is not there."""
    received = b""
    while len(received) < HEADER or len(received) < HEADER + int.from_bytes(received[3:HEADER], "big"):
        chunk = await transport.receive_some()
        assert chunk, "the device ended inside its hello"
        received += chunk
    hello = hello_in(received)
    admitted = gate(max_time_difference=0).judge(hello, now=NOW)
    assert isinstance(admitted, Admitted), admitted
    flight = target_flight(hello, records=records)
    node = ServerConnection(hello, admitted, flight, signer, random=seeded(), post_handshake=(255,))
    await transport.send_all(node.take_output())
    while not isinstance(node.next_event(), HandshakeCompleted):
        node.receive(await transport.receive_some())
    await transport.send_all(node.take_output())
    return RealityStream(transport, node)
