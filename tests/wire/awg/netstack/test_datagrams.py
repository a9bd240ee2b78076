from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest
import trio

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.netstack.icmperror import Problem, build_icmp_error
from pharos.wire.awg.netstack.ip import UDP, build_ip, parse_ip
from pharos.wire.awg.netstack.udp import UdpDatagram, build_udp
from pharos.wire.awg.netstack.udpsocket import MAX_WAITING_BYTES
from pharos.wire.openers import DatagramRefusedError
from tests.wire.awg.netstack.stacks import FAR4, FAR6, NEAR4, NEAR6, open_pair

BOTH = pytest.mark.parametrize("host", [FAR4, FAR6])


@BOTH
@pytest.mark.parametrize("size", [0, 1, 1372, 4000, 65_507])
async def test_datagrams_go_there_and_back_whatever_their_size(host: str, size: int):
    with trio.fail_after(10):
        async with open_pair() as pair:
            async with await pair.near.open_udp() as near, await pair.far.bind_udp(7) as far:
                await near.send_datagram(Datagram(Address(host, 7), bytes(size)))
                came = await far.receive_datagram()
                assert came == Datagram(Address(NEAR4 if host == FAR4 else NEAR6, near.port), bytes(size))
                await far.send_datagram(Datagram(came.address, b"answer"))
                assert await near.receive_datagram() == Datagram(Address(host, 7), b"answer")


async def test_one_socket_writes_to_both_versions():
    with trio.fail_after(10):
        async with open_pair() as pair:
            async with await pair.near.open_udp() as near, await pair.far.bind_udp(7) as far:
                for host in (FAR4, FAR6):
                    await near.send_datagram(Datagram(Address(host, 7), b"x"))
                sources = {(await far.receive_datagram()).address.host for _ in range(2)}
    assert sources == {NEAR4, NEAR6}


@BOTH
async def test_who_asks_for_refusals_is_told_of_them(host: str):
    with trio.fail_after(10):
        async with open_pair() as pair, await pair.near.open_udp(refusals=True) as near:
            await near.send_datagram(Datagram(Address(host, 9), b"x"))
            with pytest.raises(DatagramRefusedError) as caught:
                await near.receive_datagram()
    assert (caught.value.errno, caught.value.address) == (errno.ECONNREFUSED, Address(host, 9))


async def test_who_does_not_ask_for_refusals_goes_on():
    with trio.fail_after(10):
        async with open_pair() as pair:
            async with await pair.near.open_udp() as near, await pair.far.bind_udp(7) as far:
                await near.send_datagram(Datagram(Address(FAR4, 9), b"x"))
                await near.send_datagram(Datagram(Address(FAR4, 7), b"x"))
                await far.send_datagram(Datagram((await far.receive_datagram()).address, b"answer"))
                assert (await near.receive_datagram()).data == b"answer"


async def test_an_error_about_somebody_who_was_never_written_to_is_not_believed():
    with trio.fail_after(10):
        async with open_pair() as pair:
            async with await pair.near.open_udp(refusals=True) as near, await pair.far.bind_udp(7) as far:
                await near.send_datagram(Datagram(Address(FAR4, 7), b"x"))
                came = await far.receive_datagram()
                about = UdpDatagram(ip_address(NEAR4).packed, near.port, ip_address("192.0.2.1").packed, 53, b"")
                packet = build_ip(about.source, about.destination, UDP, build_udp(about))
                forged = build_icmp_error(Problem.PORT_UNREACHABLE, packet, ip_address(FAR4).packed)
                pair.far_end.send_packets_nowait([forged])
                await far.send_datagram(Datagram(came.address, b"answer"))
                assert (await near.receive_datagram()).data == b"answer"


async def test_a_path_that_takes_less_has_datagrams_cut_for_it():
    sizes: list[int] = []

    def narrow(packets: list[bytes]) -> list[bytes]:
        sizes.extend(map(len, packets))
        return [packet for packet in packets if len(packet) <= 1300]

    with trio.fail_after(10):
        async with open_pair(near_sends=narrow) as pair:
            async with await pair.near.open_udp() as near, await pair.far.bind_udp(7) as far:
                datagram = Datagram(Address(FAR4, 7), bytes(1350))
                await near.send_datagram(datagram)
                whole = build_udp(
                    UdpDatagram(ip_address(NEAR4).packed, near.port, ip_address(FAR4).packed, 7, datagram.data)
                )
                about = build_ip(ip_address(NEAR4).packed, ip_address(FAR4).packed, UDP, whole)
                router = ip_address("10.9.9.9").packed
                pair.far_end.send_packets_nowait([build_icmp_error(Problem.TOO_BIG, about, router, mtu=1300)])
                await trio.testing.wait_all_tasks_blocked()
                await near.send_datagram(datagram)
                assert len((await far.receive_datagram()).data) == 1350
    assert sizes[0] == 1378
    assert max(sizes[1:]) <= 1300


async def test_a_receiver_that_is_slow_loses_what_is_too_much():
    with trio.fail_after(10):
        async with open_pair() as pair:
            async with await pair.near.open_udp() as near, await pair.far.bind_udp(7) as far:
                for _ in range(400):
                    await near.send_datagram(Datagram(Address(FAR4, 7), bytes(1000)))
                    await trio.testing.wait_all_tasks_blocked()
                assert far.dropped > 0
                assert far._waiting_bytes <= MAX_WAITING_BYTES
                assert await far.receive_datagram() is not None


async def test_closing_wakes_a_receiver():
    with trio.fail_after(10):
        async with open_pair() as pair, trio.open_nursery() as nursery:
            near = await pair.near.open_udp()

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await near.receive_datagram()

            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()
            await near.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await near.send_datagram(Datagram(Address(FAR4, 7), b"x"))


async def test_two_receivers_are_one_too_many():
    async with open_pair() as pair, await pair.near.open_udp() as near, trio.open_nursery() as nursery:
        nursery.start_soon(near.receive_datagram)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await near.receive_datagram()
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_link_wakes_a_receiver():
    with trio.fail_after(10):
        async with open_pair() as pair, await pair.near.open_udp() as near, trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await near.receive_datagram()

            await trio.testing.wait_all_tasks_blocked()
            pair.near_end.close()


async def test_a_bound_port_is_taken():
    async with open_pair() as pair, await pair.far.bind_udp(7):
        with pytest.raises(OSError, match="is taken"):
            await pair.far.bind_udp(7)


async def test_a_name_that_does_not_resolve_loses_the_datagram(autojump_clock: trio.testing.MockClock):
    async with open_pair(resolvers=[]) as pair, await pair.near.open_udp() as near:
        await near.send_datagram(Datagram(Address("nobody.example", 7), b"x"))


@BOTH
async def test_pings_are_answered(host: str):
    with trio.fail_after(10):
        async with open_pair() as pair:
            report = await pair.near.ping(host, count=3, interval=0.001)
            assert (report.sent, report.received) == (3, 3)
            assert (await pair.near.ping(host, count=1, size=4000)).received == 1


async def test_pings_to_nobody_are_not_answered(autojump_clock: trio.testing.MockClock):
    async with open_pair() as pair:
        assert (await pair.near.ping("192.0.2.1", count=2)).received == 0


async def test_fragments_of_nobodys_datagrams_are_answered_once():
    """An error is about the first fragment, or about none."""
    sent: list[bytes] = []

    def watch(packets: list[bytes]) -> list[bytes]:
        sent.extend(packets)
        return packets

    with trio.fail_after(10):
        async with open_pair(far_sends=watch) as pair, await pair.near.open_udp(refusals=True) as near:
            await near.send_datagram(Datagram(Address(FAR4, 9), bytes(9000)))
            with pytest.raises(DatagramRefusedError):
                await near.receive_datagram()
    assert [parse_ip(packet).protocol for packet in sent] == [1]
