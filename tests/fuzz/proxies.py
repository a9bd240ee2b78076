"""What the ends of VLESS and the proxies on loopback are sent, as fuzz targets."""

from __future__ import annotations

import random

from pharos.wire.errors import LinkFormatError, RemoteProtocolError
from pharos.wire.reality.accounts import Account, Accounts
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.connect import MAX_HEAD, ConnectServer
from pharos.wire.reality.session import ClientSession, PayloadReceived, ServerSession
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.reality.socks import Credentials, SocksServer, parse_datagram, render_datagram
from pharos.wire.reality.vless import Command, Flow, Request, parse_request
from pharos.wire.reality.xudp import Datagram, Frame, FrameReader, Status, XudpEnd

USER_ID = bytes.fromhex("dabf1c7ab0e8431faf3bb7ee860e75ec")
TARGET = Address("example.test", 443)
ADA = Credentials(b"ada", b"secret")


def halves(data: bytes) -> tuple[bytes, bytes]:
    return data[: len(data) // 2], data[len(data) // 2 :]


def vless_request(data: bytes) -> None:
    """A request is refused, cut off, or survives its rendering."""
    try:
        found = parse_request(data)
    except RemoteProtocolError:
        return
    if found is not None:
        request, end = found
        assert end <= len(data)
        assert parse_request(request.render()) == (request, len(request.render()))


def vless_session(data: bytes) -> None:
    """Neither end of a session is upset by the other; the first byte says which end and how far the session is."""
    if not data:
        return
    flow = Flow.VISION if data[0] & 1 else Flow.NONE
    request = Request(user_id=USER_ID, command=Command.TCP, target=TARGET, flow=flow)
    client = ClientSession(request, random=random.Random(1).randbytes, now=0.0)
    server = ServerSession(
        Accounts([Account(name="ada", user_id=USER_ID, flow=flow)]), random=random.Random(2).randbytes
    )
    if data[0] & 2:
        server.receive_data(client.send_data(b"x").data)
        client.receive_data(server.send_data(b"y").data)
    session = server if data[0] & 4 else client
    given = 0
    try:
        for piece in halves(data[1:]):
            given += sum(len(event.data) for event in session.receive_data(piece) if isinstance(event, PayloadReceived))
        session.receive_end()
    except RemoteProtocolError:
        pass
    assert given < len(data)


def vision_round_trip(data: bytes) -> None:
    """Whatever is sent arrives, in pieces whose sizes are the data's own choice, and raw at the same place."""
    request = Request(user_id=USER_ID, command=Command.TCP, target=TARGET, flow=Flow.VISION)
    client = ClientSession(request, random=random.Random(1).randbytes, now=0.0)
    server = ServerSession(Accounts([Account(name="ada", user_id=USER_ID)]), random=random.Random(2).randbytes)
    server.receive_data(client.tick(1.0).data)
    ends = (client, server)
    while len(data) > 1:
        size = 1 + (data[0] >> 1) * 8
        sender, receiver = ends if data[0] & 1 else ends[::-1]
        piece, data = data[1 : 1 + size], data[1 + size :]
        outgoing = sender.send_data(piece)
        assert outgoing.raw == receiver.receives_raw
        events = [event for half in halves(outgoing.data) for event in receiver.receive_data(half)]
        assert b"".join(event.data for event in events if isinstance(event, PayloadReceived)) == piece
        assert sender.sends_raw == receiver.receives_raw


def xudp(data: bytes) -> None:
    """A stream of frames is refused or read, and each frame survives its rendering."""
    reader, end = FrameReader(), XudpEnd(client=False)
    try:
        frames = [frame for piece in halves(data) for frame in reader.receive_data(piece)]
        for frame in frames:
            if frame.data is None or len(frame.data) < 7000:
                assert FrameReader().receive_data(frame.render()) == [frame]
        end.receive_data(data)
    except RemoteProtocolError:
        return


def socks(data: bytes) -> None:
    """A client of SOCKS is refused, understood, or waited for; so is a datagram of one."""
    for credentials in (None, ADA):
        machine = SocksServer(credentials)
        try:
            for piece in halves(data):
                machine.receive_data(piece)
        except RemoteProtocolError:
            pass
        assert len(machine.take_output()) < 20
        assert len(machine.take_early()) <= len(data)
    try:
        datagram = parse_datagram(data)
    except RemoteProtocolError:
        return
    assert parse_datagram(render_datagram(datagram)) == datagram


def http_connect(data: bytes) -> None:
    """A client of the HTTP proxy is refused with a status, understood, or waited for."""
    machine = ConnectServer(ADA if data[:1] == b"C" else None)
    address = None
    try:
        for piece in halves(data):
            address = machine.receive_data(piece) or address
    except RemoteProtocolError:
        assert machine.take_output().startswith(b"HTTP/1.1 4")
        return
    assert address is not None or len(data) <= MAX_HEAD + 1
    if address is not None:
        assert machine.succeed().startswith(b"HTTP/1.1 200 ")


def share_link(data: bytes) -> None:
    """A share link is refused, or survives its rendering."""
    try:
        link = ShareLink.parse(data.decode("latin-1"))
        text = link.render()
    except LinkFormatError:
        return
    assert ShareLink.parse(text) == link


def requests() -> tuple[bytes, ...]:
    return tuple(
        Request(user_id=USER_ID, command=command, target=target, flow=flow).render()
        for command, target, flow in (
            (Command.TCP, TARGET, Flow.VISION),
            (Command.UDP, Address("2001:db8::7", 53), Flow.NONE),
            (Command.MUX, None, Flow.VISION),
        )
    )


def frames() -> tuple[bytes, ...]:
    end = XudpEnd(client=True, global_id=b"12345678")
    sent = end.send_datagram(Datagram(TARGET, b"one")) + end.send_datagram(Datagram(Address("1.2.3.4", 5), b"two"))
    return (sent + end.send_end(), Frame(status=Status.KEEP_ALIVE, data=b"x").render())


def links() -> tuple[bytes, ...]:
    link = ShareLink(user_id=USER_ID, address=TARGET, public_key=b"k" * 32, server_name="a.test", name="a b")
    return (link.render().encode(),)


def hellos() -> tuple[bytes, ...]:
    """Return TLS as a round trip reads it: a byte for direction and size before each piece."""
    hello = b"\x16\3\3\0\x7a\1" + bytes(121)
    body = b"\3\3" + bytes(32) + b"\0\x13\1\0\0\6\0\x2b\0\2\3\4"
    answer = b"\x16\3\3" + (4 + len(body)).to_bytes(2, "big") + b"\2" + len(body).to_bytes(3, "big") + body
    data = b"\x17\3\3\0\4data"
    pieces = [(hello, 1), (answer, 0), (data, 1), (data, 0), (b"raw" * 3, 1)]
    seed = b""
    for piece, way in pieces:
        eighths = -(-(len(piece) - 1) // 8)
        seed += bytes((eighths << 1 | way,)) + piece.ljust(1 + 8 * eighths)
    return (seed,)
