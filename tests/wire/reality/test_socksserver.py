import contextlib
import errno
import shutil
import socket
import subprocess

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from pharos.wire.errors import AddressError, ConfigError, LinkRefusedError, RemoteProtocolError
from pharos.wire.reality import socksudp
from pharos.wire.reality.addresses import SOCKS, Address
from pharos.wire.reality.front import Limits
from pharos.wire.reality.socks import Credentials, Reply, parse_datagram, render_datagram
from pharos.wire.reality.socksserver import serve_socks
from pharos.wire.reality.xudp import Datagram
from tests.wire.reality.fronts import (
    HOST,
    PATIENCE,
    DirectTunnel,
    Proxy,
    is_reset,
    receive_all,
    receive_exactly,
    running_socks,
    running_target,
    running_udp_echo,
)

GREETING = b"\5\1\0"
ADA = Credentials(b"ada", b"secret")


def connect_to(port: int, host: str = HOST) -> bytes:
    return b"\5\1\0" + SOCKS.render(Address(host, port))


async def dial(proxy: Proxy, port: int, host: str = HOST) -> trio.SocketStream:
    """Ask a proxy for a stream; return it once it is there."""
    stream = await proxy.connect()
    assert await ask(stream, port, host) is Reply.SUCCEEDED
    return stream


async def ask(stream: trio.SocketStream, port: int, host: str = HOST) -> Reply:
    await stream.send_all(GREETING)
    assert await receive_exactly(stream, 2) == b"\5\0"
    await stream.send_all(connect_to(port, host))
    answer = await receive_exactly(stream, 10)
    assert (answer[0], answer[2:4]) == (5, b"\0\1")
    return Reply(answer[1])


async def test_a_stream_goes_both_ways_and_each_way_ends_on_its_own():
    async def answer(stream):
        # The whole question first, which only a half close tells the end of.
        data = await receive_all(stream)
        await stream.send_all(data[::-1])

    async with running_target(answer) as target, running_socks() as proxy:
        stream = await dial(proxy, target.port)
        await stream.send_all(b"abc" * 100_000)
        await stream.send_eof()
        assert await receive_all(stream) == b"cba" * 100_000


async def test_a_target_may_end_first_and_still_be_spoken_to():
    got = []
    done = trio.Event()

    async def serve(stream):
        await stream.send_all(b"bye")
        await stream.send_eof()
        got.append(await receive_all(stream))
        done.set()

    async with running_target(serve) as target, running_socks() as proxy:
        stream = await dial(proxy, target.port)
        assert await receive_all(stream) == b"bye"
        await stream.send_all(b"thanks")
        await stream.send_eof()
        await done.wait()
        assert got == [b"thanks"]


async def test_what_a_client_says_before_the_answer_arrives():
    async with running_target() as target, running_socks() as proxy:
        stream = await proxy.connect()
        await stream.send_all(GREETING + connect_to(target.port) + b"early")
        await stream.send_eof()
        assert (await receive_all(stream))[12:] == b"early"


async def test_what_a_client_says_while_the_tunnel_opens_arrives():
    opening, go_on = trio.Event(), trio.Event()

    async def slow(host, port):
        opening.set()
        await go_on.wait()
        return await trio.open_tcp_stream(host, port)

    async with running_target() as target, running_socks(open_tcp=slow) as proxy:
        stream = await proxy.connect()
        await stream.send_all(GREETING + connect_to(target.port))
        await opening.wait()
        await stream.send_all(b"early")
        await wait_all_tasks_blocked(0.05)
        go_on.set()
        await stream.send_eof()
        assert (await receive_all(stream))[12:] == b"early"


async def test_a_name_is_resolved_at_the_other_end():
    asked = []

    async def open_tcp(host, port):
        asked.append((host, port))
        return await trio.open_tcp_stream(HOST, port)

    async with running_target() as target, running_socks(open_tcp=open_tcp) as proxy:
        stream = await dial(proxy, target.port, "inside.example.test")
        await stream.aclose()
    assert asked == [("inside.example.test", target.port)]


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Reply.CONNECTION_REFUSED),
        (OSError(errno.ENETUNREACH, "no network"), Reply.NETWORK_UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, "no host"), Reply.HOST_UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, "no name"), Reply.HOST_UNREACHABLE),
        (TimeoutError(errno.ETIMEDOUT, "silence"), Reply.TTL_EXPIRED),
        (LinkRefusedError("not you"), Reply.NOT_ALLOWED),
        (RemoteProtocolError("nonsense"), Reply.GENERAL_FAILURE),
        (trio.BrokenResourceError("gone"), Reply.GENERAL_FAILURE),
    ],
)
async def test_a_tunnel_that_fails_is_told_by_the_reply_that_fits(error, reply):
    async def fail(_host, _port):
        raise error

    async with running_socks(open_tcp=fail) as proxy:
        stream = await proxy.connect()
        assert await ask(stream, 80) is reply
        assert not await is_reset(stream)


async def test_a_refusal_of_the_kernel_comes_through_trio_s_own_error():
    async with running_target() as target:
        port = target.port
    async with running_socks() as proxy:
        stream = await proxy.connect()
        assert await ask(stream, port) is Reply.CONNECTION_REFUSED


async def test_a_tunnel_that_never_opens_is_given_up(mock_clock):
    async def never(_host, _port):
        mock_clock.jump(6)
        await trio.sleep_forever()

    async with running_socks(open_tcp=never, limits=Limits(open_timeout=5)) as proxy:
        stream = await proxy.connect()
        assert await ask(stream, 80) is Reply.TTL_EXPIRED


async def test_a_client_that_vanishes_while_the_tunnel_opens_ends_that_and_nothing_else():
    opening, ended = trio.Event(), trio.Event()

    async def open_tcp(host, port):
        if port == 1:
            opening.set()
            try:
                await trio.sleep_forever()
            finally:
                ended.set()
        return await trio.open_tcp_stream(host, port)

    async with running_target() as target, running_socks(open_tcp=open_tcp) as proxy:
        stays = await dial(proxy, target.port)
        goes = await proxy.connect()
        await goes.send_all(GREETING + connect_to(1))
        await opening.wait()
        vanish(goes)
        await ended.wait()
        await stays.send_all(b"still here")
        assert await receive_exactly(stays, 10) == b"still here"


def vanish(stream: trio.SocketStream) -> None:
    """End a connection by a reset, as a process does that is killed with data unread."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.socket.close()


@pytest.mark.parametrize("when", ["at once", "after the greeting", "in the middle of the request", "while relaying"])
async def test_a_client_that_vanishes_ends_its_own_connection_and_nothing_else(when):
    ended = trio.Event()

    async def serve(stream):
        try:
            async for data in stream:
                await stream.send_all(data)
        finally:
            ended.set()

    async with running_target() as other, running_target(serve) as target, running_socks() as proxy:
        stays = await dial(proxy, other.port)
        goes = await proxy.connect()
        if when == "while relaying":
            assert await ask(goes, target.port) is Reply.SUCCEEDED
            await goes.send_all(b"x" * 100)
        elif when != "at once":
            await goes.send_all(GREETING if when == "after the greeting" else GREETING + b"\5\1\0\3")
            await receive_exactly(goes, 2)
        vanish(goes)
        if when == "while relaying":
            await ended.wait()
        await stays.send_all(b"still here")
        assert await receive_exactly(stays, 10) == b"still here"


async def test_a_target_that_breaks_off_is_not_taken_for_one_that_ended():
    async def serve(stream):
        await stream.send_all(b"half of it")
        await stream.receive_some(1)
        vanish(stream)

    async with running_target(serve) as target, running_socks() as proxy:
        stream = await dial(proxy, target.port)
        assert await receive_exactly(stream, 10) == b"half of it"
        await stream.send_all(b"x")
        assert await is_reset(stream)


async def test_a_proxy_that_is_stopped_resets_its_clients_and_leaves_no_stream_open():
    ended = trio.Event()

    async def serve(stream):
        with contextlib.suppress(trio.BrokenResourceError):
            await receive_all(stream)
        ended.set()

    async with running_target(serve) as target:
        async with running_socks() as proxy:
            stream = await trio.open_tcp_stream(HOST, proxy.port)
            assert await ask(stream, target.port) is Reply.SUCCEEDED
        async with stream:
            assert await is_reset(stream)
        await ended.wait()


async def test_a_tunnel_that_opens_for_a_proxy_that_stops_is_closed():
    opened = []
    opening = trio.Event()

    async def open_tcp(_host, _port):
        opening.set()
        with trio.CancelScope(shield=True):
            # As one that is cancelled too late.
            await wait_all_tasks_blocked()
        near, far = trio.testing.memory_stream_pair()
        opened.append(far)
        return near

    async with running_socks(open_tcp=open_tcp) as proxy:
        stream = await proxy.connect()
        await stream.send_all(GREETING + connect_to(80))
        await opening.wait()
    assert await receive_all(opened[0]) == b""


async def test_a_reader_that_is_slow_holds_the_writer_back():
    sent = 0
    blocked = trio.Event()

    async def serve(stream):
        nonlocal sent
        piece = bytes(1 << 16)
        while sent < 1 << 28:
            with trio.move_on_after(0.2) as scope:
                await stream.send_all(piece)
            if scope.cancelled_caught:
                blocked.set()
                return
            sent += len(piece)

    async with running_target(serve) as target, running_socks() as proxy:
        stream = await dial(proxy, target.port)
        await blocked.wait()
        # What the kernel's buffers of two connections hold, and one reading of ours.
        assert sent < 1 << 27
        await stream.aclose()


async def test_a_client_that_does_not_say_what_it_wants_is_let_go(mock_clock):
    async with running_socks(limits=Limits(request_timeout=5)) as proxy:
        stream = await proxy.connect()
        await stream.send_all(GREETING)
        assert await receive_exactly(stream, 2) == b"\5\0"
        mock_clock.jump(6)
        assert await receive_all(stream) == b""


async def test_a_connection_that_is_silent_for_long_is_ended(mock_clock):
    async with running_target() as target, running_socks(limits=Limits(idle_timeout=5)) as proxy:
        stream = await dial(proxy, target.port)
        for _ in range(3):
            mock_clock.jump(4)
            await stream.send_all(b"x")
            assert await receive_exactly(stream, 1) == b"x"
            # The proxy notes the time once more after it has sent.
            await wait_all_tasks_blocked()
        mock_clock.jump(6)
        assert await is_reset(stream)


async def test_more_clients_than_there_is_room_for_are_refused_and_room_comes_back():
    async with running_target() as target, running_socks(limits=Limits(clients=2)) as proxy:
        first, second = await dial(proxy, target.port), await dial(proxy, target.port)
        # The reset may come before trio has seen that the connection stands.
        with contextlib.suppress(OSError):
            assert await is_reset(await proxy.connect())
        await first.aclose()
        again = None
        while again is None:
            # The proxy has to learn first that one of them has gone.
            with contextlib.suppress(OSError, trio.BrokenResourceError, AssertionError):
                again = await dial(proxy, target.port)
        for stream in (second, again):
            await stream.send_all(b"x")
            assert await receive_exactly(stream, 1) == b"x"


async def test_without_the_password_nobody_comes_in():
    async with running_target() as target, running_socks(credentials=ADA) as proxy:
        stream = await proxy.connect()
        await stream.send_all(GREETING + connect_to(target.port))
        assert await receive_all(stream) == b"\5\xff"
        stream = await proxy.connect()
        await stream.send_all(b"\5\1\2\1\3ada\5wrong")
        assert await receive_all(stream) == b"\5\2\1\1"
        assert target.connections == 0
        stream = await proxy.connect()
        await stream.send_all(b"\5\1\2\1\3ada\6secret" + connect_to(target.port) + b"hello")
        assert (await receive_exactly(stream, 19))[4:5] == b"\5"


async def test_a_proxy_listens_on_loopback_only():
    for host in ("0.0.0.0", "::", "192.0.2.7", "localhost"):
        with pytest.raises(ConfigError, match="an address of loopback"):
            await serve_socks(open_tcp=trio.open_tcp_stream, host=host)


async def test_a_port_that_is_taken_is_named():
    async with running_socks() as proxy:
        with pytest.raises(AddressError, match=f"TCP port {proxy.port}"):
            await serve_socks(open_tcp=trio.open_tcp_stream, port=proxy.port)


async def associate(proxy: Proxy, port: int = 0) -> tuple[trio.SocketStream, Address]:
    """Ask for an association; return the connection and where datagrams go."""
    stream = await proxy.connect()
    await stream.send_all(GREETING + b"\5\3\0\1\0\0\0\0" + port.to_bytes(2, "big"))
    answer = await receive_exactly(stream, 12)
    assert answer[:4] == b"\5\0\5\0"
    found = SOCKS.parse(answer, 5)
    assert found is not None
    return stream, found[0]


async def test_datagrams_go_both_ways_for_as_long_as_the_connection_stands():
    tunnels = []

    async def open_udp():
        tunnels.append(DirectTunnel())
        return tunnels[-1]

    async with running_udp_echo() as one, running_udp_echo() as other, running_socks(open_udp=open_udp) as proxy:
        stream, at = await associate(proxy)
        sock = await proxy.udp()
        assert tunnels == []
        for target, data in ((one, b"a"), (other, b"b"), (one, bytes(5000))):
            await sock.sendto(render_datagram(Datagram(target, data)), (at.host, at.port))
            answer, source = await sock.recvfrom(65535)
            assert source == (at.host, at.port)
            assert parse_datagram(answer) == Datagram(target, b"E" + data)
        assert len(tunnels) == 1
        await stream.aclose()
        await tunnels[0].closed.wait()


async def test_a_datagram_that_is_damaged_is_lost_and_the_next_one_is_not():
    async def open_udp():
        return DirectTunnel()

    async with running_udp_echo() as target, running_socks(open_udp=open_udp) as proxy:
        _stream, at = await associate(proxy)
        sock = await proxy.udp()
        for damaged in (b"", b"\0\0\1" + bytes(20), b"\0\0\0\7"):
            await sock.sendto(damaged, (at.host, at.port))
        await sock.sendto(render_datagram(Datagram(target, b"x")), (at.host, at.port))
        assert parse_datagram(await sock.recv(65535)).data == b"Ex"


@pytest.mark.parametrize("announces", [True, False])
async def test_another_program_cannot_use_a_client_s_association(announces, monkeypatch):
    async def open_udp():
        return DirectTunnel()

    async def intrude(proxy, target) -> bool:
        """Say whether a second socket of this machine gets an answer, or takes the client's away."""
        mine = await proxy.udp()
        other = await proxy.udp()
        _stream, at = await associate(proxy, mine.getsockname()[1] if announces else 0)
        if not announces:
            await mine.sendto(render_datagram(Datagram(target, b"first")), (at.host, at.port))
            await mine.recv(65535)
        await other.sendto(render_datagram(Datagram(target, b"intruder")), (at.host, at.port))
        await mine.sendto(render_datagram(Datagram(target, b"mine")), (at.host, at.port))
        answer = parse_datagram(await mine.recv(65535))
        with trio.move_on_after(0.2):
            await other.recv(65535)
            return True
        return answer.data != b"Emine"

    async with running_udp_echo() as target, running_socks(open_udp=open_udp) as proxy:
        with monkeypatch.context() as weakened:
            weakened.setattr(socksudp._Association, "_is_from_client", lambda *_: True)
            assert await intrude(proxy, target)
        assert not await intrude(proxy, target)


async def test_a_tunnel_for_datagrams_that_fails_ends_the_association():
    async def open_udp():
        raise OSError(errno.ENETUNREACH, "no network")

    async with running_udp_echo() as target, running_socks(open_udp=open_udp) as proxy:
        stream, at = await associate(proxy)
        sock = await proxy.udp()
        await sock.sendto(render_datagram(Datagram(target, b"x")), (at.host, at.port))
        assert await receive_all(stream) == b""


async def test_a_silent_association_is_ended(mock_clock):
    async def open_udp():
        return DirectTunnel()

    async with running_udp_echo() as target, running_socks(open_udp=open_udp, limits=Limits(idle_timeout=5)) as proxy:
        stream, at = await associate(proxy)
        sock = await proxy.udp()
        await sock.sendto(render_datagram(Datagram(target, b"x")), (at.host, at.port))
        assert parse_datagram(await sock.recv(65535)).data == b"Ex"
        mock_clock.jump(6)
        assert await receive_all(stream) == b""


async def test_a_tunnel_without_datagrams_says_so():
    async with running_socks() as proxy:
        stream = await proxy.connect()
        await stream.send_all(GREETING + b"\5\3\0\1" + bytes(6))
        assert (await receive_all(stream))[:4] == b"\5\0\5\7"


async def test_an_association_works_on_ipv6_loopback():
    async with running_socks(open_udp=DirectTunnel, host="::1") as proxy:
        stream = await proxy.connect()
        await stream.send_all(GREETING + b"\5\3\0\1" + bytes(6))
        answer = await receive_exactly(stream, 2 + 22)
        assert answer[2:6] == b"\5\0\0\4"
        assert answer[6:22] == bytes(15) + b"\1"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the PATH")
async def test_curl_fetches_through_it():
    body = b"line\n" * 200_000

    async def serve(stream):
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)

    async def open_tcp(host, port):
        assert host == "inside.example.test"
        return await trio.open_tcp_stream(HOST, port)

    async with running_target(serve) as target, running_socks(open_tcp=open_tcp, credentials=ADA) as proxy:
        command = ["curl", "-sS", "-m", str(PATIENCE), "--socks5-hostname", f"{HOST}:{proxy.port}"]
        url = f"http://inside.example.test:{target.port}/"
        done = await trio.run_process([*command, "--proxy-user", "ada:secret", url], capture_stdout=True)
        assert done.stdout == body
        refused = await trio.run_process([*command, url], check=False, capture_stderr=True, stdout=subprocess.DEVNULL)
        assert refused.returncode == 97
