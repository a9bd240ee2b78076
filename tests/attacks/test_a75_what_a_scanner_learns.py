"""Row 75, port by port: what a stranger is told by each port that a fleet has open, and that it is no more than that.

Beacons' ports are in `test_a75_decoy.py`, a REALITY port in `tests/wire/reality/test_server_probes.py`; here are a
node's control port, which shows who it is and says nothing, its UDP port, which says nothing at all, and helm's page on
loopback, which names its fleet to whoever sits at the machine. docs/attacks.md says the same in words.

Takes 5 s.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

import pytest
import trio
from quart import g
from quart_trio import QuartTrio

from pharos import __version__
from pharos.buoy.control import serve_control
from pharos.buoy.events import EventFeed
from pharos.caravel.tunnel.inner import InnerKind
from pharos.helm.model.admins import OPERATOR
from pharos.helm.web.app import make_loopback_app
from pharos.wire.awg.udp import UdpPort
from pharos.wire.pki.roles import ListenerPolicy, Role
from pharos.wire.profile import AMNEZIAWG
from pharos.wire.standing import Standing
from tests.support.agents import joined
from tests.support.buoy import make_buoy
from tests.support.decoy import read_all, stranger_context
from tests.support.fleet import running_fleet
from tests.support.helm import adopt_sample_node, open_helm
from tests.support.http import asking
from tests.support.pki import home_fleet, utc_now
from tests.support.signin import sign_in

HOST: Final = "127.0.0.1"
HOME = home_fleet()

# -- a node's control port


@asynccontextmanager
async def control_port(state: Path) -> AsyncIterator[int]:
    """Run a node's control port alone."""
    keys = joined(state, name="node-1")
    node = make_buoy(state, keys=keys, membership=keys.membership(now=utc_now())).node
    async with trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            await serve_control(node, EventFeed(), host=HOST, port=0, task_status=task_status)

        _, port = await nursery.start(serve)
        yield port
        nursery.cancel_scope.cancel()


async def scan(port: int, name: str | None, *alpn: str) -> tuple[bytes, bytes]:
    """Connect as a stranger; return the certificate that is shown, and what is said first after the handshake.

    Raises: trio.BrokenResourceError — there is no handshake to be had.
    """
    tcp = await trio.open_tcp_stream(HOST, port)
    stream = trio.SSLStream(tcp, stranger_context(*alpn), server_hostname=name, https_compatible=True)
    try:
        await stream.do_handshake()
        shown = stream.getpeercert(binary_form=True) or b""
        # Whoever speaks HTTP/2 says something first; a stranger is not heard.
        try:
            await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return shown, bytes(await stream.receive_some())
        except trio.BrokenResourceError:
            return shown, b""
    finally:
        await trio.aclose_forcefully(stream)


async def test_a75_control_port_shows_its_certificate_and_says_nothing(tmp_path: Path) -> None:
    async with control_port(tmp_path) as port:
        with trio.fail_after(20):
            for name in (None, "example.org", HOME.identity(Role.NODE, "node-1").dns_name):
                shown, said = await scan(port, name, "h2")
                # By the fleet's id in it, nodes of one fleet are known for that by whoever tries the port.
                assert HOME.id.encode() in shown
                assert b"node-1" in shown
                assert b"pharos" not in shown.lower()
                assert said == b""


async def test_a75_control_port_speaks_nothing_older_and_no_http(tmp_path: Path) -> None:
    async with control_port(tmp_path) as port:
        with trio.fail_after(20):
            for alpn in ((), ("http/1.1",)):
                _, said = await scan(port, None, *alpn)
                assert said == b""
            tcp = await trio.open_tcp_stream(HOST, port)
            old = trio.SSLStream(tcp, stranger_context("h2", old=True), https_compatible=True)
            with pytest.raises(trio.BrokenResourceError):
                await old.do_handshake()
            await trio.aclose_forcefully(old)
            plain = await trio.open_tcp_stream(HOST, port)
            await plain.send_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
            said = await read_all(plain)
            # An alert of TLS at most: seven octets.
            assert b"HTTP" not in said
            assert len(said) <= 7
            await plain.aclose()


async def test_a75_turns_red_where_a_control_port_asks_nobody_who_he_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Standing.context

    def asks_nobody(standing: Standing, policy: ListenerPolicy) -> ssl.SSLContext:
        context = make(standing, policy)
        context.verify_mode = ssl.CERT_NONE
        return context

    monkeypatch.setattr(Standing, "context", asks_nobody)
    monkeypatch.setattr(Standing, "admit", lambda *_arguments: HOME.identity(Role.CONTROLLER, "helm"))
    monkeypatch.setattr(Standing, "session", lambda *_arguments: nullcontext())
    async with control_port(tmp_path) as port:
        with trio.fail_after(20):
            _, said = await scan(port, None, "h2")
            # SETTINGS: HTTP/2 begins.
            assert said[3:4] == b"\x04"


# -- a node's UDP port

DNS: Final = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\7version\4bind\0\0\x10\0\3"
STUN: Final = struct.pack(">HHL", 1, 0, 0x2112A442) + bytes(12)
QUIC: Final = b"\xc0" + bytes.fromhex("babababa") + b"\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1180)
PROBES: Final = {
    "an empty datagram": b"",
    "an octet": b"\0",
    "a plain WireGuard initiation": struct.pack("<L", 1) + os.urandom(144),
    "a plain WireGuard response": struct.pack("<L", 2) + os.urandom(88),
    "a plain WireGuard datagram": struct.pack("<L", 4) + os.urandom(44),
    "QUIC of a version nobody has": QUIC,
    "DNS": DNS,
    "STUN": STUN,
    "DTLS": b"\x16\xfe\xfd" + bytes(10) + os.urandom(80),
    "noise": os.urandom(1400),
}


async def answers(folder: Path) -> set[str]:
    """Send each probe to a node's UDP port, then let a device in by the same port; return what was answered."""
    probes = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in PROBES}
    try:
        async with running_fleet(folder, reality=False) as fleet:
            await fleet.enrol()
            await fleet.wait_settled(peers=1)
            for name, probe in probes.items():
                probe.settimeout(0)
                probe.connect((HOST, fleet.ports["a"]["awg_port"]))
                probe.send(PROBES[name])
            # Datagrams are read in their order: when a device is in, all before it have been looked at.
            async with fleet.client() as client:
                await client.sync()
                node = client.profile().nodes[0].id
                async with client.connect(node, protocol=AMNEZIAWG, inner=InnerKind.NETSTACK) as tunnel:
                    await tunnel.wait_up(20)
            return {name for name, probe in probes.items() if has_answer(probe)}
    finally:
        for probe in probes.values():
            probe.close()


def has_answer(probe: socket.socket) -> bool:
    """Whether anything came back, an ICMP error included."""
    try:
        probe.recv(2000)
    except BlockingIOError:
        return False
    except ConnectionRefusedError:
        return True
    return True


@pytest.mark.system
async def test_a75_udp_port_answers_nobody_but_devices(tmp_path: Path) -> None:
    assert await answers(tmp_path) == set()


@pytest.mark.system
async def test_a75_turns_red_where_a_udp_port_answers_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = UdpPort.receive_nowait

    def answering(port: UdpPort, room: memoryview) -> tuple[int, int, tuple[str, int]]:
        size, segment, source = receive(port, room)
        port.sock.sendto(b"what?", source)
        return size, segment, source

    monkeypatch.setattr(UdpPort, "receive_nowait", answering)
    assert await answers(tmp_path) >= {"QUIC of a version nobody has", "DNS", "noise"}


# -- helm's page, on loopback

DOOR: Final = "/api/v1/session/door"
"""What the page shows before anybody has signed in."""


async def told_to_strangers(state: Path) -> dict[str, set[str]]:
    """Ask helm for everything without signing in; return which of its own words stand in which answer."""
    async with open_helm(state) as helm:
        await helm.store.run(lambda db: adopt_sample_node(db, helm.authority, "lighthouse"))
        await sign_in(helm.context, name="grace")
        words = {helm.authority.trust.fleet: "fleet", "lighthouse": "node", "grace": "admin", __version__: "version"}
        app = make_loopback_app(helm.context, {"localhost:8440"})
        paths = {rule.rule for rule in app.url_map.iter_rules() if not rule.websocket and "GET" in (rule.methods or ())}
        found = {}
        async with asking(app) as client:
            for path in sorted(re.sub(r"<[^>]*>", "x", path) for path in paths):
                # A sign-in by somebody else's page ends here, and leads elsewhere.
                answer = await client.get(path)
                said = answer.text + str(answer.headers)
                if told := {what for word, what in words.items() if word in said}:
                    found[path] = told
        assert len(paths) > 60
        return found


async def test_a75_helms_page_tells_strangers_which_fleet_it_is_and_no_more(tmp_path: Path) -> None:
    assert await told_to_strangers(tmp_path) == {DOOR: {"fleet"}}


async def test_a75_turns_red_where_helms_page_is_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_everybody(app: QuartTrio, _table: object) -> None:
        """Weakened: whoever sits at the machine is its operator."""

        @app.before_request
        async def believe() -> None:
            g.principal = OPERATOR

    monkeypatch.setattr("pharos.helm.web.app.check_permissions", take_everybody)
    told = await told_to_strangers(tmp_path)
    assert {"node"} <= told["/api/v1/nodes"]
    assert {"admin"} <= told["/api/v1/admins"]
