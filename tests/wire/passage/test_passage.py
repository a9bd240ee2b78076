from collections.abc import Awaitable, Callable

import pytest
import trio
from grpclib.exceptions import StreamTerminatedError

from pharos.wire.errors import LinkLostError
from pharos.wire.passage import records
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.metadata import Purpose
from tests.support.gen.pharos_test.v1 import echo_pb2
from tests.wire.passage.harness import ALICE, BOB, TICKET, Fleet, raw, running_fleet


async def test_every_kind_of_call_works_inside() -> None:
    async with running_fleet() as fleet, fleet.echo() as stub:
        assert (await stub.Echo(echo_pb2.Ping(seq=7))).seq == 7
        events = await stub.Watch(echo_pb2.WatchRequest(count=20, size=100))
        assert [event.seq for event in events] == list(range(20))
        assert (await stub.Collect([echo_pb2.Ping(payload=bytes(1000))] * 30)).seq == 30_000
        async with stub.Chat.open() as chat:
            await chat.send_message(echo_pb2.Ping(seq=4))
            assert (await chat.recv_message()).seq == 8
            await chat.end()
            assert await chat.recv_message() is None
    assert fleet.helm.incidents == []


async def test_more_than_every_window_passes_both_ways() -> None:
    payload = bytes(range(256)) * 1200
    async with running_fleet() as fleet, fleet.echo() as stub:
        results: list[bytes] = []

        async def call() -> None:
            results.append((await stub.Echo(echo_pb2.Ping(payload=payload))).payload)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert results == [payload] * 3


async def test_both_ends_share_the_handshake_hash_and_helm_knows_the_device() -> None:
    async with running_fleet() as fleet, fleet.passage() as passage, passage.channel():
        accepted = fleet.helm.online[ALICE.record.id]
        assert accepted.handshake_hash == passage.handshake_hash
        assert accepted.device == ALICE.record
        assert accepted.fingerprint == ALICE.fingerprint
        assert accepted.request.purpose is Purpose.DEVICE


async def test_enrolment_and_login_need_no_certificate() -> None:
    async with running_fleet() as fleet:
        fleet.beacon.fingerprints = []
        async with fleet.enrolment() as passage, passage.channel():
            accepted = fleet.helm.online[None]
            assert accepted.device is None
            assert accepted.fingerprint is None
            assert accepted.request.ticket_id == TICKET
        async with fleet.passage(purpose=Purpose.LOGIN, static=None) as passage, passage.channel():
            assert fleet.helm.online[None].request.purpose is Purpose.LOGIN
    assert fleet.helm.incidents == []


async def test_a_device_with_a_certificate_may_enrol_again() -> None:
    async with running_fleet() as fleet, fleet.enrolment() as passage, passage.channel():
        assert fleet.helm.online[None].fingerprint == ALICE.fingerprint


async def test_cancelling_a_call_cancels_its_handler() -> None:
    async with running_fleet() as fleet, fleet.echo() as stub:
        async with stub.Watch.open() as watch:
            await watch.send_message(echo_pb2.WatchRequest(), end=True)
            await watch.recv_message()
            await watch.cancel()
        with trio.fail_after(1):
            await fleet.helm.echo.stopped.wait()
        assert (await stub.Echo(echo_pb2.Ping(seq=1))).seq == 1


async def watch_until(fleet: Fleet, end: Callable[[], Awaitable[None]]) -> None:
    async with fleet.echo() as stub, stub.Watch.open() as watch:
        await watch.send_message(echo_pb2.WatchRequest(), end=True)
        await watch.recv_message()
        await end()
        await watch.recv_message()


async def leave() -> None:
    raise trio.TooSlowError


@pytest.mark.parametrize("who", ["device", "edge", "tunnel"])
async def test_the_end_of_a_passage_ends_its_inner_handlers(who: str) -> None:
    async with running_fleet() as fleet:
        ended = fleet.helm.ended

        async def cut_tunnel() -> None:
            fleet.beacon.tunnel.close_now()

        async def cut_edge() -> None:
            await trio.aclose_forcefully(fleet.edge)

        end = {"device": leave, "edge": cut_edge, "tunnel": cut_tunnel}[who]
        with pytest.raises((StreamTerminatedError, trio.TooSlowError)):
            await watch_until(fleet, end)
        with trio.fail_after(1):
            await fleet.helm.echo.stopped.wait()
            await ended.wait()
        assert fleet.helm.online == {}


async def test_a_graceful_close_leaves_nothing_in_the_audit() -> None:
    async with running_fleet() as fleet:
        async with fleet.passage() as passage, passage.channel():
            accepted = fleet.helm.online[ALICE.record.id]
            ended = fleet.helm.ended
        with trio.fail_after(1):
            await ended.wait()
        assert accepted.session.failure is None
        assert passage.failure is None
        assert fleet.helm.incidents == []
        assert fleet.beacon.completed == 1
        assert fleet.beacon.tunnel.streams == {}


async def test_helm_can_end_a_passage_and_the_device_reads_a_clean_end() -> None:
    async def say_goodbye(stream: InnerStream) -> None:
        assert await stream.receive_some() == b"hello"
        await stream.send_all(b"goodbye")
        fleet.helm.online[ALICE.record.id].end()

    async with running_fleet() as fleet:
        fleet.helm.body = raw(say_goodbye)
        async with fleet.passage() as passage, await passage.open_stream() as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"goodbye"
            assert await stream.receive_some() == b""
            await passage.wait_ended()
        assert passage.failure is None
        assert fleet.helm.incidents == []


async def test_two_devices_do_not_meet() -> None:
    async with running_fleet() as fleet, fleet.echo(ALICE) as alice:
        fleet.beacon.fingerprints = [BOB.fingerprint]
        async with fleet.echo(BOB) as bob:
            assert (await alice.Echo(echo_pb2.Ping(seq=1))).seq == 1
            assert (await bob.Echo(echo_pb2.Ping(seq=2))).seq == 2
            assert set(fleet.helm.online) == {ALICE.record.id, BOB.record.id}


async def test_keys_change_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "REKEY_EVERY", 5)
    async with running_fleet() as fleet, fleet.echo() as stub:
        for seq in range(40):
            assert (await stub.Echo(echo_pb2.Ping(seq=seq))).seq == seq


async def test_a_lost_beacon_is_a_lost_link() -> None:
    async with running_fleet() as fleet:
        await trio.aclose_forcefully(fleet.edge)
        with pytest.raises(LinkLostError):
            async with fleet.passage():
                pass


async def raise_inside(fleet: Fleet, error: Exception) -> None:
    async with fleet.light():
        raise error


async def test_what_the_block_raises_is_not_replaced_by_the_calls_status() -> None:
    async with running_fleet() as fleet:
        with pytest.raises(StreamTerminatedError, match="mine"):
            await raise_inside(fleet, StreamTerminatedError("mine"))


async def test_a_cancelled_receive_loses_nothing() -> None:
    """The engine's alarms cancel a receive now and then; a frame may come in pieces meanwhile."""
    async with running_fleet() as fleet:
        fleet.helm.body = raw(echo_octets)
        sent = bytes(range(250)) * 400
        async with fleet.raw() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, sent)
            received = b""
            while len(received) < len(sent):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    received += await stream.receive_some(1000)
                received += await stream.receive_some(1000)
        assert received == sent


async def echo_octets(stream: InnerStream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
