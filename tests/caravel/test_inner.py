"""The insides of a connection, each over a real tunnel on loopback; Linux's own where this system lets us."""

from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio

from pharos.caravel.errors import NoNamespaceError
from pharos.caravel.tunnel import inner as inner_module
from pharos.caravel.tunnel.inner import InnerKind, open_inner, probe_userns
from pharos.caravel.tunnel.parts import StreamOpener
from pharos.caravel.tunnel.userns import open_userns
from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.memory import MemoryEnd
from pharos.wire.awg.tun import Tun
from pharos.wire.errors import ParameterError
from tests.support.innernode import DEVICE_ADDRESSES, NAME, NODE, NODE6, RESOLVER, InnerNode, running_inner_node

HAS_RTO_MAX = Path("/proc/sys/net/ipv4/tcp_rto_max_ms").exists()
TCP_RTO_MAX_MS = 44
"""linux/tcp.h; the standard library does not know it."""
KINDS = [InnerKind.NETSTACK, InnerKind.USERNS]


@asynccontextmanager
async def connected(kind: InnerKind) -> AsyncIterator[tuple[StreamOpener, InnerNode]]:
    """Have streams over an inside of a kind, or over the pure one where there is no other."""
    if await probe_userns():
        kind = InnerKind.NETSTACK
    async with (
        running_inner_node() as node,
        open_inner(kind, addresses=DEVICE_ADDRESSES, resolvers=[RESOLVER]) as inner,
        node.leg(inner),
    ):
        assert inner.streams is not None
        with trio.fail_after(20):
            yield inner.streams, node


async def echoed(streams: StreamOpener, host: str, payload: bytes) -> bytes:
    async with await streams.open_tcp_stream(host, 7) as stream:
        answer = b""
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(payload)
                await stream.send_eof()

            nursery.start_soon(send)
            while piece := await stream.receive_some(65536):
                answer += piece
        return answer


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "userns_child" in " ".join(each.cmdline())]


def status_of(process: psutil.Process) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", [str(NODE.ip), str(NODE6.ip), NAME])
async def test_streams_carry_what_is_sent_both_ways_to_the_end(kind: InnerKind, host: str) -> None:
    payload = random.Random(7).randbytes(300_000)
    async with connected(kind) as (streams, _):
        assert await echoed(streams, host, payload) == payload


@pytest.mark.parametrize("kind", KINDS)
async def test_datagrams_go_to_addresses_and_to_names(kind: InnerKind) -> None:
    async with connected(kind) as (streams, _), await streams.open_udp() as sock:
        for host, source in ((str(NODE.ip), NODE.ip), (str(NODE6.ip), NODE6.ip), (NAME, NODE.ip)):
            await sock.send_datagram(Datagram(Address(host, 7), host.encode()))
            assert await sock.receive_datagram() == Datagram(Address(str(source), 7), host.encode())


@pytest.mark.parametrize("kind", KINDS)
async def test_names_are_asked_of_the_resolver_inside_and_of_nobody_else(
    kind: InnerKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outside(*_: object) -> None:
        raise AssertionError("the system's resolver was asked")

    monkeypatch.setattr(socket, "getaddrinfo", outside)
    async with connected(kind) as (streams, node):
        await (await streams.open_tcp_stream(NAME, 7)).aclose()
        assert NAME in node.asked
        with pytest.raises(OSError, match="no-such"):
            await streams.open_tcp_stream("no-such.example", 7)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_port_that_nobody_serves_refuses(kind: InnerKind) -> None:
    async with connected(kind) as (streams, _):
        with pytest.raises(ConnectionRefusedError) as caught:
            await streams.open_tcp_stream(str(NODE.ip), 9)
        assert caught.value.errno == errno.ECONNREFUSED


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_outlives_the_leg_that_carries_it(kind: InnerKind) -> None:
    if await probe_userns():
        kind = InnerKind.NETSTACK
    async with (
        running_inner_node() as node,
        open_inner(kind, addresses=DEVICE_ADDRESSES, resolvers=[RESOLVER]) as inner,
    ):
        assert inner.streams is not None
        with trio.fail_after(20):
            async with node.leg(inner):
                stream = await inner.streams.open_tcp_stream(str(NODE.ip), 7)
                await stream.send_all(b"before")
                assert await stream.receive_some(64) == b"before"
            async with node.leg(inner):
                inner.path_changed()
                await stream.send_all(b"after")
                assert await stream.receive_some(64) == b"after"
                await stream.aclose()


async def test_the_fast_inside_is_linux_own_where_there_is_one() -> None:
    why = await probe_userns()
    async with open_inner("fast", addresses=DEVICE_ADDRESSES) as inner:
        assert isinstance(inner.far, MemoryEnd if why else Tun)


async def test_where_a_program_gets_no_network_the_pure_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_module, "_known_why", [])
    # An interpreter that cannot be started.
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    async with open_inner("fast", addresses=DEVICE_ADDRESSES) as inner:
        assert isinstance(inner.far, MemoryEnd)
    assert "/nowhere/python cannot be started (No such file or directory)" in await probe_userns()
    with pytest.raises(NoNamespaceError, match="no network inside this program: "):
        async with open_inner("userns", addresses=DEVICE_ADDRESSES):
            raise AssertionError("there is none")


async def test_a_kind_that_does_not_exist_is_named() -> None:
    with pytest.raises(ParameterError, match="inner = 'slow': must be one of netstack, userns, fast"):
        async with open_inner("slow", addresses=DEVICE_ADDRESSES):
            raise AssertionError("there is none")


async def test_the_holder_of_the_network_has_no_rights_and_ends_with_the_block() -> None:
    if await probe_userns():
        return
    async with open_userns(addresses=DEVICE_ADDRESSES, mtu=1400) as (userns, _):
        [child] = children()
        # What it is allowed in its own namespaces, it is not any more; nor has it our environment or files.
        rights = status_of(child)
        assert {int(rights[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
        assert rights["NoNewPrivs"] == "1"
        assert child.num_fds() <= 5
        with pytest.raises(PermissionError):
            await userns.make_tun("pharos1")
        with pytest.raises(PermissionError):
            await userns.tell_kernel(b"anything")
    assert not children()


async def test_a_network_that_has_ended_says_so() -> None:
    if await probe_userns():
        return
    async with open_userns(addresses=DEVICE_ADDRESSES, mtu=1400) as (userns, _):
        [child] = children()
        child.kill()
        for _ in range(2):
            with pytest.raises(OSError, match="the network inside this program has ended"):
                await userns.open_socket(socket.AF_INET, socket.SOCK_STREAM)


async def test_who_is_cancelled_while_a_socket_is_made_confuses_nobody() -> None:
    if await probe_userns():
        return
    async with open_userns(addresses=DEVICE_ADDRESSES, mtu=1400) as (userns, _):
        before = psutil.Process().num_fds()
        with trio.CancelScope() as scope:
            scope.cancel()
            (await userns.open_socket(socket.AF_INET, socket.SOCK_DGRAM)).close()
        with await userns.open_socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            assert (sock.family, sock.type) == (socket.AF_INET6, socket.SOCK_STREAM)
            assert not sock.getblocking()
            assert not sock.get_inheritable()
        assert psutil.Process().num_fds() == before


async def test_a_stream_never_waits_long_for_the_leg_that_carries_it_on() -> None:
    # Linux 6.15 lets us say how long at most.
    if await probe_userns() or not HAS_RTO_MAX:
        return
    async with open_userns(addresses=DEVICE_ADDRESSES, mtu=1400) as (userns, _):
        with await userns.open_socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS) == 2000


KILLED = """
import ipaddress, trio
from pharos.caravel.tunnel.userns import open_userns

async def main():
    async with open_userns(addresses=[ipaddress.ip_interface("10.7.0.2/24")], mtu=1400):
        print("up", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_the_holder_of_the_network_ends_with_a_program_that_is_killed() -> None:
    if await probe_userns():
        return
    program = await trio.lowlevel.open_process([sys.executable, "-c", KILLED], stdout=subprocess.PIPE)
    assert program.stdout is not None
    async with program.stdout:
        assert (await program.stdout.receive_some(16)).startswith(b"up")
        [child] = psutil.Process(program.pid).children()
        program.kill()
        await program.wait()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert not alive


async def test_what_is_typed_at_a_terminal_does_not_end_the_network() -> None:
    if await probe_userns():
        return
    async with open_userns(addresses=DEVICE_ADDRESSES, mtu=1400):
        [child] = children()
        assert os.getpgid(child.pid) != os.getpgid(0)


async def test_nothing_is_left_when_the_setting_up_is_cancelled() -> None:
    if await probe_userns():
        return
    for delay in (0.0, 0.005, 0.02):
        with trio.move_on_after(delay):
            async with open_userns(addresses=DEVICE_ADDRESSES, mtu=1400):
                pass
        assert not children()
