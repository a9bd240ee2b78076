"""The network that is not there: what daemons find on it is what they would find on a real one."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import trio

from pharos.wire.world import inhabiting
from tests.sim.clockwork import run_seeded
from tests.sim.net import SimNet, Way, open_net
from tests.sim.world import SimFactory, SimWorld

HERE, THERE = "10.0.0.1", "10.0.0.2"
PORT = 7000


Dial = Callable[[], Awaitable[trio.SocketStream]]
"""Connects to where `listen` listens; what it gives is closed with the story."""


def on_net(story: Callable[[SimNet, Dial], Awaitable[None]]) -> None:
    """Run a story on virtual time, as a program on the machine at `HERE`."""

    async def main() -> None:
        trio.socket.set_custom_socket_factory(SimFactory())
        async with AsyncExitStack() as stack, open_net(random.Random(1), lambda _text: None) as net:

            async def dial() -> trio.SocketStream:
                return await stack.enter_async_context(await trio.open_tcp_stream(THERE, PORT))

            with inhabiting(SimWorld(HERE, net, seed=1)), trio.fail_after(10_000):
                await story(net, dial)

    run_seeded(1, main)


async def listen(net: SimNet, handle: Callable[[trio.SocketStream], Awaitable[None]], nursery: trio.Nursery) -> None:
    """Let a program of the machine at `THERE` answer."""
    with inhabiting(SimWorld(THERE, net, seed=1)):
        listeners = await trio.open_tcp_listeners(PORT, host=THERE)
        await nursery.start(trio.serve_listeners, handle, listeners)


async def echo(stream: trio.SocketStream) -> None:
    """Say what is heard, until the other end has nothing more to say."""
    async for piece in stream:
        await stream.send_all(piece)
    await stream.send_eof()


def test_octets_come_in_their_order_after_the_time_that_the_way_takes() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        net.put_way(HERE, THERE, Way(delay=0.25))
        async with trio.open_nursery() as nursery:
            await listen(net, echo, nursery)
            began = trio.current_time()
            stream = await dial()
            assert trio.current_time() - began == pytest.approx(0.5)
            assert stream.socket.getpeername() == (THERE, PORT)
            assert stream.socket.getsockname()[0] == HERE
            sent = random.Random(2).randbytes(300_000)
            nursery.start_soon(stream.send_all, sent)
            heard = bytearray()
            while len(heard) < len(sent):
                heard += await stream.receive_some()
            assert heard == sent
            await stream.send_eof()
            assert await stream.receive_some() == b""
            nursery.cancel_scope.cancel()

    on_net(story)


def test_nobody_listens_is_refused_and_a_black_hole_times_out() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        with pytest.raises(OSError, match="attempts to connect") as refused:
            await dial()
        assert "ECONNREFUSED" in _why(refused.value)
        net.put_way(HERE, THERE, Way(blocked=True))
        with pytest.raises(OSError, match="attempts to connect") as silent:
            await dial()
        assert "ETIMEDOUT" in _why(silent.value)
        assert trio.current_time() > 120

    on_net(story)


def _why(error: OSError) -> set[str]:
    """Return the names of what an attempt to connect came to."""
    cause = error.__cause__
    causes = cause.exceptions if isinstance(cause, BaseExceptionGroup) else (cause,)
    return {errno.errorcode[one.errno] for one in causes if isinstance(one, OSError) and one.errno}


def test_a_second_listener_at_one_address_is_refused_and_a_closed_one_makes_room() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        with inhabiting(SimWorld(THERE, net, seed=1)):
            (one,) = await trio.open_tcp_listeners(PORT, host=THERE)
            with pytest.raises(OSError, match="in use"):
                await trio.open_tcp_listeners(PORT, host=THERE)
            await one.aclose()
            (other,) = await trio.open_tcp_listeners(PORT, host=THERE)
            await other.aclose()

    on_net(story)


@pytest.mark.parametrize("allowance", range(0, 60, 7))
def test_connection_is_cut_after_exactly_so_many_octets(allowance: int) -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        net.put_way(HERE, THERE, Way(allowance=allowance))
        heard = bytearray()

        async def hear(stream: trio.SocketStream) -> None:
            async for piece in stream:
                heard.extend(piece)

        async with trio.open_nursery() as nursery:
            await listen(net, hear, nursery)
            stream = await dial()
            await stream.send_all(bytes(60))
            assert await stream.receive_some() == b""
            await trio.sleep(1)
            assert len(heard) == allowance
            nursery.cancel_scope.cancel()

    on_net(story)


def test_one_direction_may_end_before_the_other() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        net.put_way(HERE, THERE, Way(one_sided=0))
        heard = trio.Event()

        async def talk(stream: trio.SocketStream) -> None:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"still here"
            heard.set()

        async with trio.open_nursery() as nursery:
            await listen(net, talk, nursery)
            stream = await dial()
            assert await stream.receive_some() == b"hello"
            assert await stream.receive_some() == b""
            await stream.send_all(b"still here")
            await heard.wait()
            nursery.cancel_scope.cancel()

    on_net(story)


def test_whoever_does_not_read_makes_the_other_wait() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        async def ignore(stream: trio.SocketStream) -> None:
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            await listen(net, ignore, nursery)
            stream = await dial()
            with trio.move_on_after(600) as patience:
                await stream.send_all(bytes(10_000_000))
            assert patience.cancelled_caught
            nursery.cancel_scope.cancel()

    on_net(story)


def test_a_slow_way_carries_so_many_octets_a_second() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        net.put_way(HERE, THERE, Way(rate=1000))
        async with trio.open_nursery() as nursery:
            await listen(net, echo, nursery)
            stream = await dial()
            began = trio.current_time()
            await stream.send_all(bytes(10_000))
            left = 10_000
            while left:
                left -= len(await stream.receive_some())
            assert 20 <= trio.current_time() - began < 21
            nursery.cancel_scope.cancel()

    on_net(story)


def test_a_third_lost_costs_time_and_no_octet() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        net.put_way(HERE, THERE, Way(loss=0.3))
        async with trio.open_nursery() as nursery:
            await listen(net, echo, nursery)
            stream = await dial()
            for number in range(100):
                await stream.send_all(bytes([number]))
                assert await stream.receive_some() == bytes([number])
            assert 10 < trio.current_time() < 600
            nursery.cancel_scope.cancel()

    on_net(story)


def test_what_a_black_hole_has_swallowed_arrives_when_it_has_gone() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        async with trio.open_nursery() as nursery:
            await listen(net, echo, nursery)
            stream = await dial()
            net.put_way(HERE, THERE, Way(blocked=True))
            await stream.send_all(b"hello")
            with trio.move_on_after(100) as patience:
                await stream.receive_some()
            assert patience.cancelled_caught
            net.calm()
            assert await stream.receive_some() == b"hello"
            nursery.cancel_scope.cancel()

    on_net(story)


def test_a_machine_that_lost_its_power_says_nothing_until_it_is_asked_anew() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        async with trio.open_nursery() as nursery:
            await listen(net, echo, nursery)
            stream = await dial()
            net.lose_power(THERE)
            with trio.move_on_after(100) as patience:
                await stream.receive_some()
            assert patience.cancelled_caught
            net.wake(THERE)
            # It does not know this connection, and nobody listens there any more.
            await stream.send_all(b"hello?")
            assert await stream.receive_some() == b""
            with pytest.raises(OSError, match="attempts to connect"):
                await dial()
            nursery.cancel_scope.cancel()

    on_net(story)


def test_the_kernel_gives_up_what_gets_nowhere() -> None:
    async def story(net: SimNet, dial: Dial) -> None:
        async with trio.open_nursery() as nursery:
            await listen(net, echo, nursery)
            stream = await dial()
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
            net.put_way(HERE, THERE, Way(blocked=True))
            await stream.send_all(b"hello")
            began = trio.current_time()
            assert await stream.receive_some() == b""
            assert trio.current_time() - began == pytest.approx(30, abs=1)
            nursery.cancel_scope.cancel()

    on_net(story)
