"""Engines on loopback, told over the UAPI what to be, with a link in memory for an inner end."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.awg import engine as engine_module
from pharos.wire.awg.counting import MAX_COUNTED, CountTeller
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.engine import open_engine
from pharos.wire.awg.events import HandshakeCompleted, PeerCounted, SessionEnded
from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.ping import ping
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.uapi import (
    NO_PRIVATE_KEY,
    OFF,
    DeviceChange,
    FaceChange,
    PeerChange,
    parameter_changes,
)
from pharos.wire.awg.uapievents import parse_event
from pharos.wire.awg.uapiread import UapiReader
from pharos.wire.awg.uapiserver import answer, listen_uapi, serve_uapi
from pharos.wire.awg.uapiwrite import parse_reply, render_change
from pharos.wire.awg.udp import bind_udp, local_address

NODE, DEVICE = ip_address("10.7.0.1"), ip_address("10.7.0.2")
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
KEYS = [generate_private_key(os.urandom) for _ in range(3)]
NODE_KEY, DEVICE_KEY = (public_key(key) for key in KEYS[:2])
OBFUSCATED = generate(os.urandom, Generation.V3_1)
DEVICE_PEER = PeerChange(public_key=DEVICE_KEY, allowed_ips=(ip_network("10.7.0.2"),))


@asynccontextmanager
async def running_engine(inner):
    with open_engine(inner) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            yield engine
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def joined_engines(parameters: ObfuscationParameters = PLAIN):
    """A node, and a device that knows where it is."""
    near, far = memory_link()
    async with running_engine(EchoEnd([NODE])) as node, running_engine(far) as device:
        changes = parameter_changes(PLAIN, parameters)
        assert node.apply(DeviceChange(private_key=KEYS[0], parameters=changes, peers=(DEVICE_PEER,))) == 0
        peer = PeerChange(public_key=NODE_KEY, allowed_ips=EVERYTHING, endpoint=where(node))
        assert device.apply(DeviceChange(private_key=KEYS[1], parameters=changes, peers=(peer,))) == 0
        yield node, device, near


def where(engine, face: int = 0):
    state = engine.state()
    ports = {0: state.listen_port} | {each.number: each.listen_port for each in state.faces}
    return "127.0.0.1", ports[face]


async def echoes(link, count: int = 3) -> int:
    with trio.fail_after(10):
        return (await ping(link, source=DEVICE, destination=NODE, count=count, interval=0.001)).received


@pytest.mark.parametrize("parameters", [PLAIN, OBFUSCATED], ids=["plain", "obfuscated"])
async def test_two_engines_become_what_they_are_told_and_talk(parameters):
    async with joined_engines(parameters) as (node, device, link):
        assert await echoes(link) == 3
        state = device.state()
        assert state.private_key == KEYS[1]
        assert state.parameters == parameters
        (peer,) = state.peers
        assert peer.public_key == NODE_KEY
        assert peer.last_handshake_ns > 0
        assert peer.sent_bytes > 3 * 84
        assert node.state().peers[0].endpoint[0] == "127.0.0.1"


async def test_a_port_may_change_under_a_session():
    async with joined_engines() as (node, device, link):
        assert await echoes(link) == 3
        assert node.apply(DeviceChange(listen_port=0)) == 0
        await trio.testing.wait_all_tasks_blocked()
        # The device learns by the first thing that comes from there.
        roused = PeerChange(public_key=DEVICE_KEY, persistent_keepalive=Range(1, 1))
        assert node.apply(DeviceChange(peers=(roused,))) == 0
        with trio.fail_after(5):
            while device.state().peers[0].endpoint != where(node):
                await trio.testing.wait_all_tasks_blocked()
        assert await echoes(link) == 3


async def test_a_port_that_is_taken_changes_nothing():
    async with joined_engines() as (node, _, link):
        before = node.state()
        with bind_udp("::", 0) as taken:
            port = local_address(taken)[1]
            change = DeviceChange(listen_port=port, private_key=KEYS[2], replace_peers=True)
            assert node.apply(change) == errno.EADDRINUSE
        assert node.state() == before
        assert await echoes(link) == 3


async def test_parameters_that_break_a_rule_change_nothing():
    async with joined_engines() as (node, _, _):
        before = node.state()
        assert node.apply(DeviceChange(parameters={"s1": 36, "s2": 92}, replace_peers=True)) == errno.EINVAL
        assert node.state() == before


async def test_a_second_port_speaks_another_dialect_and_answers_from_there():
    async with joined_engines() as (node, device, link):
        face = FaceChange(number=1, parameters=parameter_changes(PLAIN, OBFUSCATED))
        assert node.apply(DeviceChange(faces=(face,))) == 0
        assert where(node, 1) != where(node)
        # Plain WireGuard at the second port is noise.
        there = PeerChange(public_key=NODE_KEY, endpoint=where(node, 1))
        assert device.apply(DeviceChange(peers=(there,))) == 0
        assert (await ping(link, source=DEVICE, destination=NODE, count=2, interval=0.001, patience=0.3)).received == 0
        assert (
            device.apply(
                DeviceChange(
                    parameters=parameter_changes(PLAIN, OBFUSCATED),
                    replace_peers=True,
                    peers=(attrs.evolve(there, allowed_ips=EVERYTHING),),
                )
            )
            == 0
        )
        assert await echoes(link) == 3
        assert device.state().peers[0].endpoint == where(node, 1)
        assert node.apply(DeviceChange(faces=(FaceChange(number=1, remove=True),))) == 0
        assert node.state().faces == ()


async def test_peers_are_changed_key_by_key():
    async with running_engine(EchoEnd([])) as engine:
        one, two = ip_network("10.7.0.0/24"), ip_network("10.8.0.0/24")
        first = PeerChange(
            public_key=DEVICE_KEY,
            allowed_ips=(one, two),
            persistent_keepalive=Range(25, 25),
            preshared_key=bytes(range(32)),
        )
        stranger = PeerChange(public_key=public_key(KEYS[2]), update_only=True, allowed_ips=(one,))
        own = PeerChange(public_key=NODE_KEY, allowed_ips=(one,))
        assert engine.apply(DeviceChange(private_key=KEYS[0], peers=(first, stranger, own))) == 0
        (peer,) = engine.state().peers
        assert (peer.allowed_ips, peer.persistent_keepalive) == ((one, two), Range(25, 25))

        change = PeerChange(
            public_key=DEVICE_KEY, update_only=True, removed_ips=(one,), persistent_keepalive=OFF, send_rate=1000
        )
        assert engine.apply(DeviceChange(peers=(change,))) == 0
        (peer,) = engine.state().peers
        assert (peer.allowed_ips, peer.persistent_keepalive, peer.send_rate) == ((two,), None, 1000)
        assert peer.preshared_key == bytes(range(32))

        assert engine.apply(DeviceChange(peers=(PeerChange(public_key=DEVICE_KEY, remove=True),))) == 0
        assert engine.state().peers == ()
        assert engine.apply(DeviceChange(private_key=NO_PRIVATE_KEY)) == 0
        assert engine.state().private_key == NO_PRIVATE_KEY


async def test_a_key_that_can_do_no_handshake_is_refused_and_the_others_are_served():
    async with running_engine(EchoEnd([])) as engine:
        bad = PeerChange(public_key=bytes(32))
        assert engine.apply(DeviceChange(private_key=KEYS[0], peers=(bad, DEVICE_PEER))) == errno.EINVAL
        assert [peer.public_key for peer in engine.state().peers] == [DEVICE_KEY]


async def test_a_machine_without_ipv6_is_served_by_ipv4(monkeypatch):
    def bind(host, port):
        if host == "::":
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return bind_udp(host, port)

    monkeypatch.setattr(engine_module, "bind_udp", bind)
    async with joined_engines() as (_, _, link):
        assert await echoes(link) == 3


# Over the socket


@asynccontextmanager
async def served(engine, folder):
    with listen_uapi("wg0", [folder / "one", folder / "two"]) as listeners:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_uapi, engine, listeners)
            yield [folder / each / "wg0.sock" for each in ("one", "two")]
            nursery.cancel_scope.cancel()


async def ask(path, text: str) -> str:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(text.encode())
        reply = b""
        with trio.fail_after(5):
            while not reply.endswith(b"\n\n"):
                data = await stream.receive_some()
                if not data:
                    break
                reply += data
        return reply.decode()


async def test_managers_are_answered_at_every_socket(tmp_path):
    async with running_engine(EchoEnd([])) as engine, served(engine, tmp_path) as paths:
        change = DeviceChange(private_key=KEYS[0], peers=(DEVICE_PEER,))
        assert parse_reply(await ask(paths[0], render_change(change, Generation.V3_1)))[1] == 0
        for path in paths:
            state, number = parse_reply(await ask(path, "get=1\n\n"))
            assert number == 0
            assert state == engine.state()
            assert path.stat().st_mode & 0o777 == 0o660


async def test_two_requests_on_one_connection_get_two_replies(tmp_path):
    async with running_engine(EchoEnd([])) as engine, served(engine, tmp_path) as (path, _):
        async with await trio.open_unix_socket(path) as stream:
            for _ in range(2):
                await stream.send_all(b"set=1\nlisten_port=0\n\n")
                assert await stream.receive_some() == b"errno=0\n\n"


async def test_nonsense_ends_its_own_connection_only(tmp_path):
    async with running_engine(EchoEnd([])) as engine, served(engine, tmp_path) as (path, _):
        assert await ask(path, "format=c:\n\n") == ""
        assert await ask(path, "set=1\nprivate_key=zz\n\n") == f"errno=-{errno.EINVAL}\n\n"
        assert (await ask(path, "get=1\n\n")).endswith("errno=0\n\n")


async def test_a_watcher_hears_of_handshakes(tmp_path):
    async with joined_engines() as (node, _, link), served(node, tmp_path) as (path, _):
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"watch=1\n\n")
            await trio.testing.wait_all_tasks_blocked()
            assert await echoes(link) == 3
            node.apply(DeviceChange(replace_peers=True))
            heard = b""
            with trio.fail_after(5):
                while b"session_ended" not in heard:
                    heard += await stream.receive_some()
        events = [parse_event(text) for text in heard.decode().split("\n\n") if text]
        assert [event.peer for event in events if isinstance(event, HandshakeCompleted)] == [DEVICE_KEY]
        assert isinstance(events[-1], SessionEnded)
        # Gone, it is forgotten.
        with trio.fail_after(5):
            while node._watchers:
                await trio.testing.wait_all_tasks_blocked()


async def test_a_watcher_who_falls_behind_is_cut_off(monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_WAITING_EVENTS", 2)
    async with running_engine(EchoEnd([])) as engine, engine.watch() as events:
        for _ in range(3):
            engine._report(SessionEnded(peer=DEVICE_KEY))
        assert len([event async for event in events]) == 2


async def test_a_watcher_hears_what_peers_have_carried(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "COUNT_EVERY", 0.01)
    async with joined_engines() as (node, _, link), node.watch() as events:
        assert await echoes(link) == 3
        (peer,) = node.state().peers
        wanted = PeerCounted(peer=DEVICE_KEY, received_bytes=peer.received_bytes, sent_bytes=peer.sent_bytes)
        with trio.fail_after(5):
            while await events.receive() != wanted:
                pass


async def test_counters_cut_off_no_watcher_that_does_not_read(monkeypatch):
    monkeypatch.setattr(engine_module, "COUNT_EVERY", 0.001)
    looks = 0

    class Busy(CountTeller):
        def tell(self, counts):
            nonlocal looks
            looks += 1
            return super().tell((number.to_bytes(32, "big"), looks, 0) for number in range(3 * MAX_COUNTED))

    monkeypatch.setattr(engine_module, "CountTeller", Busy)
    async with running_engine(EchoEnd([])) as engine, engine.watch() as events:
        with trio.fail_after(5):
            while events.statistics().current_buffer_used <= engine_module.MAX_WAITING_EVENTS - 2 * MAX_COUNTED:
                await trio.lowlevel.checkpoint()
        full, looked = events.statistics().current_buffer_used, looks
        assert full <= engine_module.MAX_WAITING_EVENTS - MAX_COUNTED
        # It reads a little, and is told more only when there is room.
        for _ in range(MAX_COUNTED):
            events.receive_nowait()
        with trio.fail_after(5):
            while looks == looked:
                await trio.lowlevel.checkpoint()
        assert engine._watchers


async def test_the_socket_of_a_dead_engine_is_taken_over_and_that_of_a_live_one_is_not(tmp_path):
    path = tmp_path / "wg0.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with listen_uapi("wg0", [tmp_path]), pytest.raises(OSError, match="in use"):
        with listen_uapi("wg0", [tmp_path]):
            pass
    assert not path.exists()


WORDS = {
    "private_key": ["aa" * 32, "00" * 32, "zz"],
    "jc": ["0", "3", "129", "-1"],
    "jmin": ["0", "50", "1280"],
    "jmax": ["0", "40", "1279"],
    "s1": ["0", "36", "1133"],
    "h1": ["1", "5-9", "9-5", "4294967296"],
    "i1": ["<b 0xff><r 5>", "<c", ""],
    "public_key": ["aa" * 32, "00" * 32, "bb" * 32],
    "endpoint": ["192.0.2.1:5", "[::1]:1", "node.example:1", ""],
    "allowed_ip": ["10.0.0.0/8", "::/0", "10.0.0.1/8", "x"],
    "remove": ["true", "maybe"],
    "unheard_of": ["1"],
}
LINES = st.sampled_from([f"{key}={value}" for key, values in WORDS.items() for value in values])


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, max_size=8))
async def test_whatever_a_set_says_the_engine_stays_whole(said):
    with open_engine(EchoEnd([])) as engine:
        text = "\n".join(["set=1", *said, "", ""])
        for request in UapiReader().receive_data(text.encode()):
            reply = answer(engine, request)
            assert reply.startswith("errno=")
        assert parse_reply(answer(engine, UapiReader().receive_data(b"get=1\n\n")[0]))[1] == 0
