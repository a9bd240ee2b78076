"""Attacks on helm's patience: repeats, crowds, floods, and peers that take nothing (passage.md §5; security.md 26, 29).

Each guard is first shown to be what stops it: with the guard's bound removed the attack succeeds.
"""

import functools
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.relay.v1.passage_grpc import PassageStub
from pharos.wire.gen.pharos.relay.v1.passage_pb2 import Frame
from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.keys import KeyPair
from pharos.wire.noise.stream import NoiseSession
from pharos.wire.passage import server, session
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import MAX_PER_BEACON, MAX_PER_FINGERPRINT, Door
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, PURPOSE_HEADER, PassageRequest, Purpose, key_id
from pharos.wire.passage.notes import Note
from pharos.wire.passage.pace import FramePace
from pharos.wire.passage.records import Kind
from pharos.wire.passage.server import BUSY, CONFIRM_TIMEOUT, FIRST_MESSAGE_TIMEOUT, REFUSAL, Trouble
from pharos.wire.passage.session import WRITE_TIMEOUT
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.flow import TUNNEL
from pharos.wire.rpc.h2stream import H2Stream
from tests.wire.passage.harness import (
    ALICE,
    BOB,
    FLEET,
    HELM_KEY,
    Device,
    EvilBeacon,
    Fleet,
    raw,
    running_fleet,
)

ONE_DAY = 86_400.0


def first_message(device: Device = ALICE, *, static: KeyPair | None = None, helm: bytes = HELM_KEY.public) -> bytes:
    request = PassageRequest(purpose=Purpose.DEVICE, fleet=FLEET)
    handshake = Handshake(
        request.purpose.protocol,
        initiator=True,
        prologue=request.prologue,
        static=static or device.static,
        remote_static=helm,
        generate=KeyPair.generate,
    )
    return bytes((key_id(helm),)) + handshake.write()


@asynccontextmanager
async def called(fleet: Fleet, *frames: bytes, **metadata: str) -> AsyncIterator[Any]:
    """Call helm as a beacon can, for whomever it likes."""
    headers = {PURPOSE_HEADER: "device", FINGERPRINT_HEADER: ALICE.fingerprint} | {
        name.replace("_", "-"): value for name, value in metadata.items()
    }
    channel = Channel(fleet.beacon.tunnel, authority="helm")
    async with PassageStub(channel).Open.open(metadata=headers) as call:
        await call.send_request()
        for frame in frames:
            await call.send_message(Frame(data=frame))
        yield call
        await call.cancel()


async def answered(fleet: Fleet, *frames: bytes, **metadata: str) -> Any:
    """Return helm's first frame.

    Raises: GRPCError — it refused.
    """
    async with called(fleet, *frames, **metadata) as call:
        return await call.recv_message()


async def refusal(fleet: Fleet, *frames: bytes, **metadata: str) -> GRPCError:
    with pytest.raises(GRPCError) as caught:
        await answered(fleet, *frames, **metadata)
    return caught.value


async def read_all(call: Any) -> None:
    """Read helm's frames to the end of the call; its status comes as a GRPCError."""
    while await call.recv_message() is not None:
        pass
    await call.end()


# -- repeats


@pytest.mark.parametrize("remembered", [0, 10_000])
async def test_a_repeated_first_message_is_dropped_before_any_exchange_of_keys(
    remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when weakened: a helm that remembers nothing reads it and answers."""
    exchanges = 0
    exchange = KeyPair.exchange

    def count(key: KeyPair, public: bytes) -> bytes:
        nonlocal exchanges
        exchanges += key is HELM_KEY
        return exchange(key, public)

    monkeypatch.setattr(KeyPair, "exchange", count)
    async with running_fleet() as fleet:
        fleet.helm.door = Door(remembered=remembered)
        message = first_message()
        assert await answered(fleet, message) is not None
        exchanges = 0
        if not remembered:
            assert await answered(fleet, message) is not None
            assert exchanges > 0
            return
        error = await refusal(fleet, message)
        assert (error.status, error.message, exchanges) == (Status.UNAUTHENTICATED, REFUSAL, 0)
        assert fleet.helm.incidents[-1].trouble is Trouble.REPEATED
        assert fleet.helm.accepted == 0


async def test_a_repeat_displaces_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        await trio.testing.wait_all_tasks_blocked()
        served = fleet.helm.online[ALICE.record.id]
        await refusal(fleet, fleet.beacon.seen_up[-1][0])
        assert fleet.helm.online[ALICE.record.id] is served
        served.notify(Note(1, 1))
        assert await anext(passage.notes) == Note(1, 1)


# -- crowds


async def crowd(fleet: Fleet, nursery: trio.Nursery, number: int, fingerprint: Callable[[int], str]) -> None:
    """Open so many passages whose handshake is done and who then say nothing."""

    async def wait(index: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with called(fleet, first_message(), x_pharos_device_fp=fingerprint(index)) as call:
            with trio.move_on_after(1):
                await call.recv_message()
            task_status.started()
            await trio.sleep_forever()

    for index in range(number):
        await nursery.start(wait, index)


def everybody(fleet: Fleet) -> None:
    """Every fingerprint is of a device's certificate, so that the crowd gets as far as a crowd can."""

    class Everything(frozenset[str]):
        def __contains__(self, _: object) -> bool:
            return True

    record = DeviceRecord(id=ALICE.record.id, fingerprints=Everything())
    fleet.helm.devices[ALICE.static.public] = record


@pytest.mark.parametrize("door", [Door(), Door(per_fingerprint=1000)])
async def test_two_of_one_certificate_may_wait_to_be_confirmed(
    door: Door, autojump_clock: trio.testing.MockClock
) -> None:
    """Red when weakened: without the bound as many as one likes wait at once."""
    async with running_fleet() as fleet, trio.open_nursery() as nursery:
        fleet.helm.door = door
        await crowd(fleet, nursery, MAX_PER_FINGERPRINT, lambda _: ALICE.fingerprint)
        if door._per_fingerprint > MAX_PER_FINGERPRINT:
            assert await answered(fleet, first_message()) is not None
        else:
            error = await refusal(fleet, first_message())
            assert (error.status, error.message) == (Status.UNAVAILABLE, BUSY)
            assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.CROWDED]
            # Nobody else is kept out, and the device itself not for long: it is told to come again.
            fleet.beacon.fingerprints = [BOB.fingerprint]
            async with fleet.light(BOB):
                await trio.testing.wait_all_tasks_blocked()
                assert BOB.record.id in fleet.helm.online
            fleet.beacon.fingerprints = [ALICE.fingerprint]
            with pytest.raises(LinkLostError, match=BUSY):
                await fleet.passage().__aenter__()
            await trio.sleep(CONFIRM_TIMEOUT)
            async with fleet.light():
                await trio.testing.wait_all_tasks_blocked()
                assert ALICE.record.id in fleet.helm.online
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("door", [Door(), Door(per_beacon=1000)])
async def test_64_of_one_beacon_may_wait_to_be_confirmed(door: Door, autojump_clock: trio.testing.MockClock) -> None:
    """Red when weakened: without the bound a beacon has as many as it has streams."""
    async with running_fleet() as fleet, trio.open_nursery() as nursery:
        fleet.helm.door = door
        everybody(fleet)
        await crowd(fleet, nursery, MAX_PER_BEACON, lambda index: f"{index:064x}")
        if door._per_beacon > MAX_PER_BEACON:
            assert await answered(fleet, first_message(), x_pharos_device_fp="e" * 64) is not None
        else:
            error = await refusal(fleet, first_message(), x_pharos_device_fp="e" * 64)
            assert (error.status, error.message) == (Status.UNAVAILABLE, BUSY)
        nursery.cancel_scope.cancel()


async def test_whoever_waits_in_silence_has_twenty_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with running_fleet() as fleet:
        start = trio.current_time()
        with pytest.raises(GRPCError, match=REFUSAL):
            await dawdle(fleet)
        assert trio.current_time() - start == FIRST_MESSAGE_TIMEOUT - 1 + CONFIRM_TIMEOUT


async def dawdle(fleet: Fleet) -> None:
    async with called(fleet) as call:
        await trio.sleep(FIRST_MESSAGE_TIMEOUT - 1)
        await call.send_message(Frame(data=first_message()))
        await read_all(call)


async def test_without_the_confirm_timeout_it_would_wait_for_ever(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when weakened."""
    monkeypatch.setattr(server, "CONFIRM_TIMEOUT", math.inf)
    async with running_fleet() as fleet, called(fleet, first_message()) as call:
        await call.recv_message()
        with trio.move_on_after(ONE_DAY) as patience:
            await call.recv_message()
        assert patience.cancelled_caught


# -- which of helm's keys

NEXT_KEY = KeyPair.from_private_bytes(bytes([201] * 32))


async def test_during_a_rotation_both_keys_serve_and_only_the_one_that_is_named_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: set[bytes] = set()
    exchange = KeyPair.exchange

    def note(key: KeyPair, public: bytes) -> bytes:
        tried.add(key.public)
        return exchange(key, public)

    async with running_fleet() as fleet:
        fleet.helm.keys = [HELM_KEY, NEXT_KEY]
        monkeypatch.setattr(KeyPair, "exchange", note)
        for key, other in [(HELM_KEY, NEXT_KEY), (NEXT_KEY, HELM_KEY)]:
            tried.clear()
            await answered(fleet, first_message(helm=key.public))
            assert key.public in tried
            assert other.public not in tried


async def test_a_key_that_helm_has_not_is_refused_as_everything_else() -> None:
    async with running_fleet() as fleet:
        stranger = NEXT_KEY.public
        error = await refusal(fleet, first_message(helm=stranger))
        assert (error.status, error.message) == (Status.UNAUTHENTICATED, REFUSAL)
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE]
        with pytest.raises(LinkRefusedError):
            await fleet.passage(helm_key=stranger).__aenter__()


async def test_a_beacon_that_names_the_other_key_breaks_the_handshake_and_no_more() -> None:
    async with running_fleet() as fleet:
        fleet.helm.keys = [HELM_KEY, NEXT_KEY]
        swapped = bytes((key_id(NEXT_KEY.public),)) + first_message()[1:]
        assert (await refusal(fleet, swapped)).message == REFUSAL
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE]


async def test_two_keys_of_one_name_both_serve() -> None:
    """One rotation in 256 has them."""
    twin = next(
        key for number in range(5000) if key_id((key := numbered_key(number)).public) == key_id(HELM_KEY.public)
    )
    async with running_fleet() as fleet:
        fleet.helm.keys = [twin, HELM_KEY]
        for key in fleet.helm.keys:
            assert await answered(fleet, first_message(helm=key.public)) is not None


def numbered_key(number: int) -> KeyPair:
    return KeyPair.from_private_bytes(number.to_bytes(32, "big"))


# -- whoever stole helm's key


class Impostor(KeyPair):
    """Alice's public key, and of private ones only helm's, which was stolen."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(KeyPair.generate()._private)
        object.__setattr__(self, "public", ALICE.static.public)

    def exchange(self, public: bytes) -> bytes:
        if public == HELM_KEY.public:
            return HELM_KEY.exchange(ALICE.static.public)
        return super().exchange(public)


async def test_a_thief_of_helms_key_can_forge_any_devices_first_message_and_no_frame_after_it() -> None:
    """Key-compromise impersonation: for the first frame it needs ``se``, which takes the device's own key."""
    async with running_fleet() as fleet:
        with pytest.raises(GRPCError, match=REFUSAL):
            await forge(fleet)
        assert fleet.beacon.tunnel.streams == {}
        assert fleet.helm.accepted == 0
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.UNCONFIRMED]


async def forge(fleet: Fleet) -> None:
    async with called(fleet, first_message(static=Impostor())) as call:
        assert len((await call.recv_message()).data) == 48
        await call.send_message(Frame(data=bytes(272)))
        await read_all(call)


# -- floods


@pytest.mark.parametrize("paced", [True, False])
async def test_a_flood_of_small_frames_is_read_at_helms_pace(
    paced: bool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when weakened: without the pace they are read as they come."""
    rate, burst, frames = 50, 100, 400
    monkeypatch.setattr(server, "FramePace", functools.partial(FramePace, rate if paced else 1e9, burst))
    read: list[float] = []

    all_read = trio.Event()

    async def count(stream: InnerStream) -> None:
        while await stream.receive_some(1):
            read.append(trio.current_time())
            if len(read) == frames:
                all_read.set()

    async with running_fleet() as fleet:
        fleet.helm.body = raw(count)
        async with fleet.raw() as stream:
            start = trio.current_time()
            for _ in range(frames):
                await stream.send_all(b"x")
            with trio.fail_after(1000):
                await all_read.wait()
        took = read[-1] - start
        assert took == pytest.approx((frames - burst) / rate, abs=0.5) if paced else took < 0.1
        assert fleet.helm.incidents == []


# -- peers that take nothing


def trickle(beacon: EvilBeacon, every: float) -> None:
    """The device takes one octet of what helm sends now and then, and so keeps the engine's patience."""

    async def pump(source: H2Stream, sink: H2Stream, edit: Any, seen: list[bytes]) -> bool:
        if source.connection is not beacon.tunnel:
            return await forward(source, sink, edit, seen)
        chunk = await source.receive_chunk()
        assert chunk is not None, "helm's handshake message"
        await sink.send_data(chunk[0])
        while True:
            await trio.sleep(every)
            if source.closable:
                source.connection.machine.give_credit(source.id, 1)
                source.connection.flush()
            elif source.error is not None:
                raise source.error

    forward = beacon._pump
    beacon._pump = pump  # type: ignore[method-assign]


@pytest.mark.parametrize("patience", [WRITE_TIMEOUT, math.inf])
async def test_a_peer_that_takes_no_frame_within_30_seconds_is_left(
    patience: float, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when weakened: an octet of credit now and then holds helm's frame, and its memory, as long as it lasts."""
    monkeypatch.setattr(session, "WRITE_TIMEOUT", patience)

    async def pour(stream: InnerStream) -> None:
        await stream.send_all(bytes(2 * TUNNEL.stream))

    async with running_fleet() as fleet:
        fleet.helm.body = raw(pour)
        trickle(fleet.beacon, WRITE_TIMEOUT / 3)
        ended = fleet.helm.ended
        async with fleet.raw() as stream:
            await stream.send_all(b"pour")
            with trio.move_on_after(5 * WRITE_TIMEOUT):
                await ended.wait()
            assert ended.is_set() is (patience == WRITE_TIMEOUT)
            assert (ALICE.record.id in fleet.helm.online) is (patience != WRITE_TIMEOUT)


# -- after a forgery


@pytest.mark.parametrize("sound", [True, False])
async def test_after_a_forgery_nobody_is_told_of_a_clean_end(sound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red when weakened: if helm closed as usual, the device would log a clean end although its frame was refused."""
    if not sound:
        monkeypatch.setattr(NoiseSession, "_broken", property(lambda self: self._torn))
    async with running_fleet() as fleet:
        fleet.beacon.edit_up = lambda: lambda number, frame: [bytes(len(frame)) if number == 2 else frame]
        async with fleet.light() as passage:
            await passage.send_note(Note(1, 1))
            await passage.wait_ended()
        told_clean = fleet.beacon.reset_by_helm == 0
        assert told_clean is not sound
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.BROKEN]


async def test_frames_dropped_with_nothing_behind_them_are_only_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Which a deadline has to find; see the page."""
    async with running_fleet() as fleet:
        fleet.beacon.edit_down = lambda: lambda number, frame: [] if number == 2 else [frame]
        async with fleet.light() as passage:
            await trio.testing.wait_all_tasks_blocked()
            served = fleet.helm.online[ALICE.record.id]
            served.notify(Note(1, 1))
            assert await anext(passage.notes) == Note(1, 1)
            served.notify(Note(1, 2))
            with trio.move_on_after(3600) as patience:
                await anext(passage.notes)
            assert patience.cancelled_caught
            assert passage.failure is None
            served.notify(Note(1, 3))
            await passage.wait_ended()
            assert passage.failure is not None


# -- frames that are authentic and out of place

OUT_OF_PLACE: dict[str, tuple[Kind, bytes]] = {
    "an end of nothing": (Kind.END, b""),
    "a note that is none": (Kind.NOTE, b"sync!"),
    "a note too long": (Kind.NOTE, bytes(18)),
}


@pytest.mark.parametrize("name", OUT_OF_PLACE)
async def test_a_device_that_says_what_has_no_place_ends_its_passage(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, data = OUT_OF_PLACE[name]
    async with running_fleet() as fleet, fleet.light() as passage:
        monkeypatch.setattr(type(passage._session._records._epochs), "step", step_leniently)
        await passage._session.send(kind, data)
        await passage.wait_ended()
        await trio.testing.wait_all_tasks_blocked()
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.BROKEN]
        assert fleet.beacon.reset_by_helm == 1


def step_leniently(self: Any, given: Any) -> None:
    """A device that minds no order; helm's own side does."""
    if given.name.startswith("RECEIVE"):
        self.state = self._transitions.get((self.state, given)) or missing(given)


def missing(given: Any) -> Any:
    raise server.RemoteProtocolError(f"cannot {given.value}")


async def test_helm_cannot_begin_a_connection_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    async def speak(passage: AcceptedPassage) -> None:
        monkeypatch.setattr(type(passage.session._records._epochs), "step", step_leniently)
        await passage.session.send(Kind.DATA, b"hello")
        await passage.serve_streams(trio.sleep_forever)  # type: ignore[arg-type]

    async with running_fleet() as fleet:
        fleet.helm.body = speak
        async with fleet.light() as passage:
            await passage.wait_ended()
            assert "cannot receive data" in str(passage.failure)
