import errno
import shutil

import pytest
import trio

from pharos.wire.errors import ConfigError, LinkRefusedError
from pharos.wire.reality.front import Limits
from pharos.wire.reality.httpproxy import serve_http_proxy
from pharos.wire.reality.socks import Credentials
from tests.wire.reality.fronts import (
    HOST,
    PATIENCE,
    Proxy,
    is_reset,
    receive_all,
    receive_exactly,
    running_http_proxy,
    running_target,
)

ADA = Credentials(b"ada", b"secret")
GRANTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def connect_to(port: int, *headers: str) -> bytes:
    lines = [f"CONNECT {HOST}:{port} HTTP/1.1", f"Host: {HOST}:{port}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def dial(proxy: Proxy, port: int) -> trio.SocketStream:
    stream = await proxy.connect()
    await stream.send_all(connect_to(port))
    assert await receive_exactly(stream, len(GRANTED)) == GRANTED
    return stream


async def test_a_stream_goes_both_ways_and_each_way_ends_on_its_own():
    async def answer(stream):
        await stream.send_all((await receive_all(stream))[::-1])

    async with running_target(answer) as target, running_http_proxy() as proxy:
        stream = await dial(proxy, target.port)
        await stream.send_all(b"abc" * 100_000)
        await stream.send_eof()
        assert await receive_all(stream) == b"cba" * 100_000


async def test_what_a_client_says_before_the_answer_arrives():
    async with running_target() as target, running_http_proxy() as proxy:
        stream = await proxy.connect()
        await stream.send_all(connect_to(target.port) + b"early")
        await stream.send_eof()
        assert await receive_all(stream) == GRANTED + b"early"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), 502),
        (OSError(errno.ENETUNREACH, "no network"), 502),
        (TimeoutError(errno.ETIMEDOUT, "silence"), 504),
        (trio.TooSlowError(), 504),
        (LinkRefusedError("not you"), 403),
        (trio.BrokenResourceError("gone"), 502),
    ],
)
async def test_a_tunnel_that_fails_is_told_by_the_status_that_fits(error, status):
    async def fail(_host, _port):
        raise error

    async with running_http_proxy(open_tcp=fail) as proxy:
        stream = await proxy.connect()
        await stream.send_all(connect_to(80))
        assert (await receive_all(stream)).startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_refusal_arrives_though_the_client_goes_on_sending():
    async with running_http_proxy() as proxy:
        stream = await proxy.connect()
        head = b"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n"
        await stream.send_all(head + bytes(300_000))
        assert (await receive_exactly(stream, 12)) == b"HTTP/1.1 405"
        await stream.send_eof()
        assert not await is_reset(stream)


async def test_a_head_without_an_end_is_refused():
    async with running_http_proxy() as proxy:
        stream = await proxy.connect()
        await stream.send_all(b"CONNECT a.test:1 HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert (await receive_exactly(stream, 12)) == b"HTTP/1.1 431"


async def test_a_client_that_does_not_say_what_it_wants_is_let_go():
    async with running_http_proxy(limits=Limits(request_timeout=0.05)) as proxy:
        stream = await proxy.connect()
        await stream.send_all(b"CONNECT a.test:1 HTTP/1.1\r\n")
        assert await receive_all(stream) == b""


async def test_a_client_that_vanishes_ends_its_own_connection_and_nothing_else():
    async with running_target() as target, running_http_proxy() as proxy:
        stays = await dial(proxy, target.port)
        for begun in (b"", b"CONNECT", connect_to(target.port), connect_to(target.port) + b"x"):
            goes = await proxy.connect()
            await goes.send_all(begun)
            await goes.aclose()
        await stays.send_all(b"still here")
        assert await receive_exactly(stays, 10) == b"still here"


async def test_a_proxy_listens_on_loopback_only():
    with pytest.raises(ConfigError, match="an address of loopback"):
        await serve_http_proxy(open_tcp=trio.open_tcp_stream, host="0.0.0.0")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the PATH")
async def test_curl_fetches_through_it():
    body = b"line\n" * 200_000

    async def serve(stream):
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)

    async with running_target(serve) as target, running_http_proxy(credentials=ADA) as proxy:
        # Plain HTTP goes by CONNECT too if curl is asked to.
        command = ["curl", "-sS", "-m", str(PATIENCE), "--proxytunnel", "-o", "-", "-w", "%{http_connect}"]
        url = f"http://{HOST}:{target.port}/"
        done = await trio.run_process(
            [*command, "-x", f"http://ada:secret@{HOST}:{proxy.port}", url], capture_stdout=True
        )
        assert done.stdout == body + b"200"
        refused = await trio.run_process(
            [*command, "-x", f"http://ada:wrong@{HOST}:{proxy.port}", url],
            check=False,
            capture_stdout=True,
            capture_stderr=True,
        )
        assert (refused.returncode, refused.stdout) == (56, b"407")
