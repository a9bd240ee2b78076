"""What a stranger sees of a beacon, over real sockets: an ordinary HTTPS site, on all ports alike."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio

from pharos.beacon.decoy import http1, visits
from pharos.wire.errors import LinkRefusedError
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import Headers
from pharos.wire.rpc.limits import MAX_HEADER_BLOCK
from tests.support.decoy import OWN_NAME, ask, read_all, visit, whole_beacon
from tests.support.peers import needed
from tests.support.rpc import HOST

GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
PAGE = b"<h1>Welcome</h1>"


def of(path: str, method: str = "GET") -> Headers:
    return [(":method", method), (":scheme", "https"), (":authority", "example.org"), (":path", path)]


@pytest.mark.parametrize("old", [False, True], ids=["TLS 1.3", "TLS 1.2"])
@pytest.mark.parametrize(
    "name",
    ["example.org", None, f"x.{OWN_NAME}", OWN_NAME.replace("gate", "other")],
    ids=["a site's", "none", "below ours", "another relay's"],
)
async def test_every_port_shows_the_site_to_whoever_asks_for_another_name(
    tmp_path: Path, name: str | None, old: bool
) -> None:
    async with whole_beacon(tmp_path / "s", ingress_ports=(0,)) as beacon:
        for port in (beacon.ingress, beacon.addresses.more_ingress[0][1], beacon.tunnel):
            said = await ask(port, LAST, name=name, old=old)
            assert said.startswith(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: ")
            assert PAGE in said


async def test_members_who_ask_for_the_relay_are_served_on_every_port(tmp_path: Path) -> None:
    async with whole_beacon(tmp_path / "s", ingress_ports=(0, 0)) as beacon:
        await beacon.come_as_helm()
        assert len(beacon.addresses.more_ingress) == 2
        for port in (beacon.ingress, *(port for _, port in beacon.addresses.more_ingress)):
            assert await beacon.serves(port=port)
        with pytest.raises(LinkRefusedError):
            await beacon.dial(beacon.tunnel, Role.DEVICE)


async def test_name_of_the_relay_is_taken_in_any_case(tmp_path: Path) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        stream = await visit(beacon.ingress, "h2", name=OWN_NAME.upper())
        assert stream.selected_alpn_protocol() == "h2"
        leaf = stream.getpeercert(binary_form=True)
        assert leaf is not None
        assert OWN_NAME.encode() in leaf
        await trio.aclose_forcefully(stream)


async def test_one_connection_answers_many_requests(tmp_path: Path) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        said = await ask(beacon.ingress, GET * 3 + LAST)
        assert said.count(PAGE) == 4
        head = await ask(beacon.ingress, LAST.replace(b"GET", b"HEAD"))
        assert (head[:15], head[-4:], PAGE in head) == (b"HTTP/1.1 200 OK", b"\r\n\r\n", False)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404 Not Found"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", b"400 Bad Request"),
        (b"GET /\r\n\r\n", b"400 Bad Request"),
        (b"\x00\xff\r\n\r\n", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", b"405 Not Allowed"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz", b"405 Not Allowed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * MAX_HEADER_BLOCK, b"400 Bad Request"),
    ],
    ids=["unknown", "no host", "no field", "HTTP/0.9", "junk", "body", "chunks", "large"],
)
async def test_what_is_wrong_is_said_as_web_servers_say_it(tmp_path: Path, request_: bytes, status: bytes) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        said = await ask(beacon.ingress, request_)
        assert said.startswith(b"HTTP/1.1 " + status), said
        assert b"<hr><center>nginx</center>" in said
        assert said.count(b"HTTP/1.1") == 1
        assert b"Connection: close" in said


async def test_who_speaks_http_without_tls_is_told_so(tmp_path: Path) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        for port in (beacon.ingress, beacon.tunnel):
            async with await trio.open_tcp_stream(HOST, port) as stream:
                await stream.send_all(GET)
                assert (await read_all(stream)).startswith(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n")


async def test_http2_is_spoken_too(tmp_path: Path) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        stream = await visit(beacon.ingress, "h2", "http/1.1")
        assert stream.selected_alpn_protocol() == "h2"
        connection = Connection(stream, client_side=True, windows=EDGE, keepalive=None)
        beacon.nursery.start_soon(connection.run)
        await connection.wait_up()
        for method, path, status, has_body in (
            ("GET", "/", "200", True),
            ("HEAD", "/", "200", False),
            ("GET", "/no", "404", True),
            ("POST", "/pharos.relay.v1.Passage/Open", "405", True),
        ):
            call = connection.create_stream()
            await call.send_request(of(path, method), end_stream=True)
            fields = dict(await call.recv_headers())
            assert (fields[":status"], fields["server"]) == (status, "nginx")
            body = await call.recv_data(int(fields["content-length"])) if has_body else b""
            assert not await call.more()
            assert bool(body) is has_body
            call.close()
        connection.close_now()


async def test_site_and_server_are_the_operators(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>Bakery")
    settings = {"decoy_site": str(tmp_path / "page.html"), "decoy_server": "Apache"}
    async with whole_beacon(tmp_path / "s", **settings) as beacon:
        said = await ask(beacon.ingress, LAST)
        assert b"Server: Apache\r\n" in said
        assert said.endswith(b"<p>Bakery")


async def test_visit_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor that asks for nothing goes, and one that asks for ever goes, too."""
    monkeypatch.setattr(http1, "REQUEST_TIME", 0.3)
    async with whole_beacon(tmp_path / "s") as beacon:
        assert await ask(beacon.ingress, b"") == b""
        assert PAGE in await ask(beacon.ingress, GET)
    monkeypatch.setattr(http1, "REQUEST_TIME", 3600.0)
    monkeypatch.setattr(visits, "VISIT_TIME", 0.3)
    async with whole_beacon(tmp_path / "s") as beacon:
        for alpn in ("http/1.1", "h2"):
            stream = await visit(beacon.ingress, alpn)
            await read_all(stream)
            await trio.aclose_forcefully(stream)


async def test_visitor_gets_a_hundred_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_REQUESTS", 3)
    async with whole_beacon(tmp_path / "s") as beacon:
        said = await ask(beacon.ingress, GET * 5)
        assert (said.count(PAGE), said.count(b"Connection: close")) == (3, 1)


async def test_end_of_a_visit_is_marked_as_tls_marks_it(tmp_path: Path) -> None:
    """Scanners look for the close_notify; without it OpenSSL calls the end unexpected."""
    async with whole_beacon(tmp_path / "s") as beacon:
        command = [needed("openssl"), "s_client", "-connect", f"{HOST}:{beacon.ingress}", "-servername", "example.org"]
        done = await trio.run_process([*command, "-ign_eof"], stdin=LAST, capture_stdout=True, stderr=subprocess.STDOUT)
        assert PAGE in done.stdout
        assert b"unexpected eof" not in done.stdout


async def test_places_come_free_with_every_kind_of_end(tmp_path: Path) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        beacon.bound_visitors(2)
        for _ in range(4):
            assert PAGE in await ask(beacon.ingress, LAST)
            await trio.aclose_forcefully(await visit(beacon.ingress, "http/1.1"))
            async with await trio.open_tcp_stream(HOST, beacon.ingress) as stream:
                await stream.send_all(b"\x16\x03\x01\x00\x04junk")
                await read_all(stream)
        held = [await visit(beacon.ingress, "http/1.1") for _ in range(2)]
        with pytest.raises(trio.BrokenResourceError):
            await visit(beacon.ingress, "http/1.1")
        # Devices have nothing to do with it.
        await beacon.come_as_helm()
        assert await beacon.serves()
        for stream_ in held:
            await trio.aclose_forcefully(stream_)
