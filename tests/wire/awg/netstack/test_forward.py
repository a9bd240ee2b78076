from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.forward import Forwarder, ForwardLimits, run_forwarder
from pharos.wire.awg.netstack.hostsockets import open_os_tcp, open_os_udp
from pharos.wire.awg.netstack.ip import UDP, build_ip
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.netstack.tcp.flow import Flow as TcpFlow
from pharos.wire.awg.netstack.tcp.segment import ACK, FIN, RST, SYN, PacketWriter
from pharos.wire.awg.netstack.udp import UdpDatagram, build_udp
from pharos.wire.errors import LinkRefusedError
from pharos.wire.openers import DatagramRefusedError, DatagramTunnel
from tests.wire.awg.netstack.stacks import FAR4, FAR6, NEAR

NODE = [ip_address(FAR4), ip_address(FAR6)]
ELSEWHERE = "192.0.2.80"


class Target:
    """What is beyond: streams that the test has the other ends of, and failures."""

    def __init__(self) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.failure: Exception | None = None
        self.may_go_on = trio.Event()
        self.may_go_on.set()
        self.sender, self.receiver = trio.open_memory_channel[trio.StapledStream](10)

    async def open_tcp(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        self.dialled.append((host, port))
        await self.may_go_on.wait()
        if self.failure is not None:
            raise self.failure
        ours, theirs = trio.testing.memory_stream_pair()
        await self.sender.send(theirs)
        return ours

    async def open_udp(self) -> DatagramTunnel:
        if self.failure is not None:
            raise self.failure
        return Echoing()


class Echoing(DatagramTunnel):
    """Answers each datagram from where it was sent to; port 9 is refused, and port 666 answers from elsewhere."""

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[Datagram](10)

    async def send_datagram(self, datagram: Datagram) -> None:
        await self._sender.send(datagram)

    async def receive_datagram(self) -> Datagram:
        datagram = await self._receiver.receive()
        if datagram.address.port == 9:
            raise DatagramRefusedError(errno.ECONNREFUSED, "refused", datagram.address)
        if datagram.address.port == 666:
            return attrs.evolve(datagram, address=Address("203.0.113.66", 53))
        return datagram

    async def aclose(self) -> None:
        self._sender.close()
        self._receiver.close()
        await trio.lowlevel.checkpoint()


@attrs.frozen
class Forwarding:
    near: Netstack
    target: Target
    forwarder: Forwarder
    end_link: Callable[[], None]


@asynccontextmanager
async def forwarding(**options: object) -> AsyncIterator[Forwarding]:
    target = Target()
    near_end, far_end = memory_link()
    openers = {"open_tcp": target.open_tcp, "open_udp": target.open_udp, "addresses": NODE}
    forwarder = Forwarder(far_end, **{**openers, **options})
    async with open_netstack(near_end, addresses=NEAR) as near, trio.open_nursery() as nursery:
        await nursery.start(forwarder.run)
        yield Forwarding(near, target, forwarder, near_end.close)
        nursery.cancel_scope.cancel()


BOTH = pytest.mark.parametrize("host", [ELSEWHERE, "2001:db8::80", FAR4])


@BOTH
async def test_a_connection_to_anywhere_is_dialled_and_carried_both_ways(host: str):
    with trio.fail_after(10):
        async with forwarding() as here:
            stream = await here.near.open_tcp_stream(host, 80)
            far = await here.target.receiver.receive()
            assert here.target.dialled == [(host, 80)]
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _() -> None:
                    await stream.send_all(bytes(300_000))
                    await stream.send_eof()

                assert sum([len(part) async for part in far]) == 300_000
            # Each direction has its own end.
            await far.send_all(b"still here")
            await far.send_eof()
            assert b"".join([part async for part in stream]) == b"still here"


async def test_a_connection_is_accepted_when_it_has_succeeded_beyond():
    with trio.fail_after(10):
        async with forwarding() as here, trio.open_nursery() as nursery:
            here.target.may_go_on = trio.Event()
            opened = trio.Event()

            @nursery.start_soon
            async def _() -> None:
                await here.near.open_tcp_stream(ELSEWHERE, 80)
                opened.set()

            await trio.testing.wait_all_tasks_blocked(0.01)
            assert here.target.dialled
            assert not opened.is_set()
            here.target.may_go_on.set()
            await opened.wait()


@pytest.mark.parametrize(
    ("failure", "number"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), errno.ECONNREFUSED),
        (LinkRefusedError("not you"), errno.ECONNREFUSED),
        (trio.BrokenResourceError(), errno.ECONNREFUSED),
        (OSError(errno.EHOSTUNREACH, "no way"), errno.EHOSTUNREACH),
        (OSError(errno.ENETUNREACH, "no way"), errno.ENETUNREACH),
        (TimeoutError(errno.ETIMEDOUT, "silent"), errno.EHOSTUNREACH),
    ],
)
@BOTH
async def test_who_asks_for_what_cannot_be_reached_learns_why(failure: Exception, number: int, host: str):
    with trio.fail_after(10):
        async with forwarding() as here:
            here.target.failure = failure
            with pytest.raises(OSError) as caught:
                await here.near.open_tcp_stream(host, 80)
            assert caught.value.errno == number
            assert here.forwarder.flows == 0


async def test_a_group_of_failures_is_told_by_its_first():
    with trio.fail_after(10):
        async with forwarding() as here:
            failure = OSError("all attempts failed")
            failure.__cause__ = ExceptionGroup("tries", [OSError(errno.ENETUNREACH, "no way")])
            here.target.failure = failure
            with pytest.raises(OSError) as caught:
                await here.near.open_tcp_stream(ELSEWHERE, 80)
            assert caught.value.errno == errno.ENETUNREACH


async def test_a_dial_that_takes_too_long_is_given_up(autojump_clock: trio.testing.MockClock):
    async with forwarding(limits=ForwardLimits(dial_timeout=5)) as here:
        here.target.may_go_on = trio.Event()
        begin = trio.current_time()
        with pytest.raises(OSError):
            await here.near.open_tcp_stream(ELSEWHERE, 80)
        assert trio.current_time() - begin == pytest.approx(5, abs=0.1)


async def test_a_syn_that_is_repeated_is_dialled_once(autojump_clock: trio.testing.MockClock):
    async with forwarding() as here, trio.open_nursery() as nursery:
        here.target.may_go_on = trio.Event()
        nursery.start_soon(here.near.open_tcp_stream, ELSEWHERE, 80)
        await trio.sleep(10)
        assert len(here.target.dialled) == 1
        here.target.may_go_on.set()


async def test_what_is_not_allowed_is_refused_and_not_dialled():
    with trio.fail_after(10):
        async with forwarding(allowed=lambda address, port: port == 443) as here:
            with pytest.raises(ConnectionRefusedError):
                await here.near.open_tcp_stream(ELSEWHERE, 80)
            async with await here.near.open_udp(refusals=True) as sock:
                await sock.send_datagram(Datagram(Address(ELSEWHERE, 80), b"x"))
                with pytest.raises(DatagramRefusedError) as caught:
                    await sock.receive_datagram()
            assert caught.value.errno == errno.EACCES
            assert not here.target.dialled
            await here.near.open_tcp_stream(ELSEWHERE, 443)


async def test_a_target_that_breaks_is_a_reset_inside():
    with trio.fail_after(10):
        async with forwarding() as here:
            stream = await here.near.open_tcp_stream(ELSEWHERE, 80)
            far = await here.target.receiver.receive()
            far.receive_stream.close()
            await stream.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            await trio.testing.wait_all_tasks_blocked()
            assert here.forwarder.flows == 0


async def test_a_target_that_does_not_read_holds_the_sender_back():
    async def open_tcp(host: str, port: int) -> trio.abc.HalfCloseableStream:
        ours, _ = trio.testing.lockstep_stream_pair()
        await trio.lowlevel.checkpoint()
        return ours

    with trio.fail_after(20):
        async with forwarding(
            open_tcp=open_tcp, limits=ForwardLimits(buffer=64 * 1024, least_buffer=64 * 1024)
        ) as here:
            stream = await here.near.open_tcp_stream(ELSEWHERE, 80)
            sent = 0
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    @nursery.start_soon
                    async def _() -> None:
                        nonlocal sent
                        while True:
                            await stream.send_all(bytes(32 * 1024))
                            sent += 32 * 1024

                    await trio.testing.wait_all_tasks_blocked(0.05)
                    scope.cancel()
            assert 0 < sent < 1_000_000


async def test_idle_connections_are_reset(autojump_clock: trio.testing.MockClock):
    async with forwarding(limits=ForwardLimits(tcp_idle=60)) as here:
        stream = await here.near.open_tcp_stream(ELSEWHERE, 80)
        await trio.sleep(50)
        await stream.send_all(b"x")
        await trio.sleep(50)
        assert here.forwarder.flows == 1
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        assert here.forwarder.flows == 0


@BOTH
async def test_datagrams_go_anywhere_and_come_back(host: str):
    with trio.fail_after(10):
        async with forwarding() as here, await here.near.open_udp() as sock:
            for size in (1, 1000, 5000):
                datagram = Datagram(Address(host, 443), bytes(size))
                await sock.send_datagram(datagram)
                assert await sock.receive_datagram() == datagram
            assert here.forwarder.flows == 1


async def test_a_datagram_that_is_refused_beyond_is_refused_here():
    with trio.fail_after(10):
        async with forwarding() as here, await here.near.open_udp(refusals=True) as sock:
            await sock.send_datagram(Datagram(Address(ELSEWHERE, 9), b"x"))
            with pytest.raises(DatagramRefusedError) as caught:
                await sock.receive_datagram()
            assert caught.value.address == Address(ELSEWHERE, 9)
            # The socket beyond goes on.
            await sock.send_datagram(Datagram(Address(ELSEWHERE, 7), b"x"))
            assert (await sock.receive_datagram()).data == b"x"


async def test_an_answer_from_whom_nobody_wrote_to_is_dropped():
    with trio.fail_after(10):
        async with forwarding() as here, await here.near.open_udp() as sock:
            await sock.send_datagram(Datagram(Address(ELSEWHERE, 666), b"forged"))
            await sock.send_datagram(Datagram(Address(ELSEWHERE, 7), b"right"))
            assert (await sock.receive_datagram()).data == b"right"


@pytest.mark.parametrize(("port", "seconds"), [(53, 30), (443, 300)])
async def test_idle_sockets_are_closed(port: int, seconds: float, autojump_clock: trio.testing.MockClock):
    async with forwarding() as here, await here.near.open_udp() as sock:
        await sock.send_datagram(Datagram(Address(ELSEWHERE, port), b"x"))
        await sock.receive_datagram()
        await trio.sleep(seconds - 1)
        assert here.forwarder.flows == 1
        await trio.sleep(2)
        assert here.forwarder.flows == 0


async def test_when_no_socket_can_be_had_the_flow_is_forgotten():
    with trio.fail_after(10):
        async with forwarding() as here, await here.near.open_udp() as sock:
            here.target.failure = OSError(errno.EMFILE, "too many open files")
            await sock.send_datagram(Datagram(Address(ELSEWHERE, 443), b"x"))
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert here.forwarder.flows == 0
            here.target.failure = None
            await sock.send_datagram(Datagram(Address(ELSEWHERE, 443), b"x"))
            assert (await sock.receive_datagram()).data == b"x"


async def test_flows_of_one_source_are_bounded(autojump_clock: trio.testing.MockClock):
    async with forwarding(limits=ForwardLimits(flows_per_source=2)) as here:
        streams = [await here.near.open_tcp_stream(ELSEWHERE, 80) for _ in range(2)]
        with trio.move_on_after(5) as scope:
            await here.near.open_tcp_stream(ELSEWHERE, 80)
        assert scope.cancelled_caught
        await streams[0].aclose()
        await (await here.target.receiver.receive()).aclose()
        # What waited is asked again, and has its turn.
        await here.near.open_tcp_stream(ELSEWHERE, 80)
        assert here.forwarder.flows == 2


async def test_the_more_connections_a_source_has_the_less_is_kept_for_the_next():
    limits = ForwardLimits(buffer=1_000_000, buffers_per_source=2_000_000, least_buffer=300_000)
    with trio.fail_after(10):
        async with forwarding(limits=limits) as here:
            for _ in range(9):
                await here.near.open_tcp_stream(ELSEWHERE, 80)
            entries = here.forwarder._tcp.entries()
            buffers = [entry.connection._config.send_buffer for entry in entries]
            assert buffers == [1_000_000] * 2 + [666_666, 500_000, 400_000, 333_333] + [300_000] * 3


async def test_large_datagrams_that_wait_are_bounded(autojump_clock: trio.testing.MockClock):
    gate = trio.Event()

    class Slow(Echoing):
        async def send_datagram(self, datagram: Datagram) -> None:
            await gate.wait()
            await super().send_datagram(datagram)

    async def open_udp() -> DatagramTunnel:
        await trio.lowlevel.checkpoint()
        return Slow()

    with trio.fail_after(10):
        async with forwarding(open_udp=open_udp) as here, await here.near.open_udp() as sock:
            for _ in range(20):
                await sock.send_datagram(Datagram(Address(ELSEWHERE, 443), bytes(60_000)))
                await trio.testing.wait_all_tasks_blocked()
            gate.set()
            came = 0
            with trio.move_on_after(0.2):
                while True:
                    came += len((await sock.receive_datagram()).data)
            assert 0 < came <= 60_000 + 128 * 1024


async def test_flows_of_all_are_bounded(autojump_clock: trio.testing.MockClock):
    async with forwarding(limits=ForwardLimits(flows=1)) as here:
        await here.near.open_tcp_stream(ELSEWHERE, 80)
        async with await here.near.open_udp() as sock:
            await sock.send_datagram(Datagram(Address(ELSEWHERE, 443), b"x"))
            with trio.move_on_after(1) as scope:
                await sock.receive_datagram()
            assert scope.cancelled_caught


async def test_it_answers_pings_to_its_own_addresses_alone(autojump_clock: trio.testing.MockClock):
    async with forwarding() as here:
        for host in (FAR4, FAR6):
            assert (await here.near.ping(host, count=1)).received == 1
        assert (await here.near.ping(ELSEWHERE, count=1)).received == 0
        here.forwarder.set_addresses([ip_address(ELSEWHERE)])
        assert (await here.near.ping(ELSEWHERE, count=1)).received == 1
        assert (await here.near.ping(FAR4, count=1)).received == 0


@pytest.mark.parametrize("host", ["224.0.0.251", "255.255.255.255", "127.0.0.1", "0.0.0.0", "ff02::fb", "::1", "::"])
async def test_groups_and_this_machine_are_not_anywhere(host: str, autojump_clock: trio.testing.MockClock):
    async with forwarding() as here, await here.near.open_udp() as sock:
        await sock.send_datagram(Datagram(Address(host, 5353), b"x"))
        await trio.sleep(1)
        assert here.forwarder.flows == 0


async def test_the_end_of_the_link_ends_it():
    with trio.fail_after(10):
        async with forwarding() as here:
            near = here.near
            await near.open_tcp_stream(ELSEWHERE, 80)
            here.end_link()
            far = await here.target.receiver.receive()
            with pytest.raises(trio.BrokenResourceError):
                await far.send_all(b"x")
                await far.receive_some()
                raise trio.BrokenResourceError("a memory stream's end is no error")


@asynccontextmanager
async def rootless_exit() -> AsyncIterator[Netstack]:
    """A stack whose packets go on by the sockets of this machine."""

    async def open_udp() -> DatagramTunnel:
        return await open_os_udp(refusals=True)

    near_end, far_end = memory_link()
    host = ip_address("203.0.113.1")

    async def open_tcp(name: str, port: int) -> trio.SocketStream:
        # Loopback cannot be addressed through a link: another address stands for it here.
        return await open_os_tcp("127.0.0.1" if name == str(host) else name, port)

    async with open_netstack(near_end, addresses=NEAR) as near, trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: run_forwarder(far_end, open_tcp=open_tcp, open_udp=open_udp, task_status=task_status)
        )
        yield near
        nursery.cancel_scope.cancel()


async def test_a_server_of_this_machine_is_reached_by_its_sockets():
    with trio.fail_after(20):
        async with rootless_exit() as near, trio.open_nursery() as nursery:

            async def echo(stream: trio.SocketStream) -> None:
                async for part in stream:
                    await stream.send_all(part)
                await stream.send_eof()

            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, echo, [listener])
            port = listener.socket.getsockname()[1]
            stream = await near.open_tcp_stream("203.0.113.1", port)
            async with trio.open_nursery() as sending:

                @sending.start_soon
                async def _() -> None:
                    await stream.send_all(bytes(2_000_000))
                    await stream.send_eof()

                assert sum([len(part) async for part in stream]) == 2_000_000
            nursery.cancel_scope.cancel()


async def test_a_port_of_this_machine_that_nobody_serves_refuses():
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with trio.fail_after(20):
        async with rootless_exit() as near:
            with pytest.raises(ConnectionRefusedError):
                await near.open_tcp_stream("203.0.113.1", port)


async def test_a_reset_of_a_server_is_a_reset_inside():
    with trio.fail_after(20):
        async with rootless_exit() as near:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            async with listener:
                stream = await near.open_tcp_stream("203.0.113.1", listener.socket.getsockname()[1])
                server = await listener.accept()
                server.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                await server.aclose()
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()


async def test_a_reset_inside_is_a_reset_of_a_server():
    with trio.fail_after(20):
        async with rootless_exit() as near:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            async with listener:
                stream = await near.open_tcp_stream("203.0.113.1", listener.socket.getsockname()[1])
                server = await listener.accept()
                stream.abort()
                with pytest.raises(trio.BrokenResourceError):
                    await server.receive_some()
                await server.aclose()


FLAGS = st.sampled_from((SYN, SYN, ACK, SYN | ACK, RST, RST | ACK, FIN | ACK, 0, 63))
CLIENT, ANYWHERE = ip_address("10.7.0.2").packed, ip_address(ELSEWHERE).packed


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1), FLAGS, st.binary(max_size=20)),
            st.tuples(st.integers(0, 3), st.integers(0, 3), st.binary(max_size=20)),
        ),
        max_size=30,
    )
)
def test_hostile_packets_stop_nobody(script: list[bytes | tuple[int, ...]]):
    """Whatever one source sends, another's connection goes on, and no more is kept than may be."""

    def build(item: bytes | tuple[int, ...]) -> bytes:
        if isinstance(item, bytes):
            return item
        if len(item) == 3:
            port, to, data = item
            return build_ip(CLIENT, ANYWHERE, UDP, build_udp(UdpDatagram(CLIENT, port, ANYWHERE, to, data)))
        port, seq, flags, data = item
        flow = TcpFlow(local=CLIENT, local_port=port, remote=ANYWHERE, remote_port=80)
        return PacketWriter(flow).write(seq, 0, flags, 1000, b"", data)

    async def main() -> None:
        with trio.fail_after(10):
            async with forwarding(limits=ForwardLimits(flows_per_source=4)) as here:
                for item in script:
                    here.near.driver._link.send_packets_nowait([build(item)])
                    await trio.lowlevel.checkpoint()
                assert here.forwarder.flows <= 4
                here.forwarder.limits = ForwardLimits()
                async with await here.near.open_udp() as sock:
                    await sock.send_datagram(Datagram(Address(ELSEWHERE, 7), b"x"))
                    assert (await sock.receive_datagram()).data == b"x"

    trio.run(main)
