"""A beacon, or somebody between, against the passage (security.md rows 17, 18, 24; passage.md §5)."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.errors import DecryptError, LinkLostError, LinkRefusedError, RemoteProtocolError, TruncatedError
from pharos.wire.gen.pharos.relay.v1.passage_grpc import PassageStub
from pharos.wire.gen.pharos.relay.v1.passage_pb2 import Frame
from pharos.wire.ids import DeviceId, FleetId, TicketId
from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage import server
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import Door
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, PURPOSE_HEADER, PassageRequest, Purpose, key_id
from pharos.wire.passage.records import MAX_FRAME
from pharos.wire.passage.server import (
    CONFIRM_TIMEOUT,
    FIRST_MESSAGE_TIMEOUT,
    REFUSAL,
    Trouble,
)
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.server import refuse
from tests.support.frameforward import Edit
from tests.support.gen.pharos_test.v1 import echo_pb2
from tests.wire.passage.harness import (
    ALICE,
    BOB,
    FLEET,
    HELM_KEY,
    PSK,
    TICKET,
    Fleet,
    raw,
    running_fleet,
)

Frames = list[bytes | None]

# -- frames edited on the way. Frame 0 is the handshake message, 1 to 3 carry b"1" to b"3".


def at(number: int, change: Callable[[bytes], Frames]) -> Callable[[], Edit]:
    return lambda: lambda seen, frame: change(frame) if seen == number else [frame]


def reorder() -> Edit:
    held: Frames = []

    def edit(number: int, frame: bytes) -> Frames:
        if number == 2:
            held.append(frame)
            return []
        return [frame, *held] if number == 3 else [frame]

    return edit


MANGLERS: dict[str, tuple[Callable[[], Edit], type[RemoteProtocolError]]] = {
    "flip in the tag": (at(2, lambda frame: [frame[:-1] + bytes([frame[-1] ^ 1])]), DecryptError),
    "flip in the body": (at(2, lambda frame: [bytes([frame[0] ^ 0x80]) + frame[1:]]), DecryptError),
    "replay": (at(2, lambda frame: [frame, frame]), DecryptError),
    "drop": (at(2, lambda frame: []), DecryptError),
    "reorder": (reorder, DecryptError),
    "shorten": (at(2, lambda frame: [frame[:-1]]), DecryptError),
    "empty": (at(2, lambda frame: [b"", frame]), DecryptError),
    "inject": (at(2, lambda frame: [bytes(300), frame]), DecryptError),
    "too long": (at(2, lambda frame: [bytes(MAX_FRAME + 1)]), RemoteProtocolError),
    "truncate": (at(2, lambda frame: [None]), TruncatedError),
}


async def read_to_the_end(stream: InnerStream) -> bytes:
    received = b""
    while data := await stream.receive_some():
        received += data
    return received


@pytest.mark.parametrize("mangler", MANGLERS)
async def test_a_mangled_frame_from_the_device_ends_the_passage_at_helm(mangler: str) -> None:
    edit, expected = MANGLERS[mangler]
    received = b""

    async def read(stream: InnerStream) -> None:
        nonlocal received
        while data := await stream.receive_some():
            received += data

    async with running_fleet() as fleet:
        fleet.helm.body = raw(read)
        fleet.beacon.edit_up = edit
        incident = fleet.helm.incident
        with trio.fail_after(2):
            async with fleet.passage() as passage:
                async with await passage.open_stream() as stream:
                    for data in (b"1", b"2", b"3"):
                        await stream.send_all(data)
                    await incident.wait()
                    with pytest.raises(trio.BrokenResourceError):
                        await stream.receive_some()
        # helm reset the call after the forgery and said no authenticated end; what went before was all that was read.
        assert fleet.beacon.reset_by_helm == 1
        assert received in (b"1", b"12")
        [found] = fleet.helm.incidents
        assert (found.trouble, found.device) == (Trouble.BROKEN, ALICE.record.id)
        assert fleet.helm.online == {}
    assert expected is not TruncatedError or "without an authenticated end" in found.detail


@pytest.mark.parametrize("mangler", MANGLERS)
async def test_a_mangled_frame_from_helm_ends_the_passage_at_the_device(mangler: str) -> None:
    edit, expected = MANGLERS[mangler]

    async def speak(stream: InnerStream) -> None:
        for data in (b"1", b"2", b"3"):
            await stream.send_all(data)
        await stream.receive_some()

    async with running_fleet() as fleet:
        fleet.helm.body = raw(speak)
        fleet.beacon.edit_down = edit
        incident = fleet.helm.incident
        with trio.fail_after(2):
            async with fleet.passage() as passage, await passage.open_stream() as stream:
                await stream.send_all(b"ask")
                with pytest.raises(trio.BrokenResourceError):
                    await read_to_the_end(stream)
                assert type(passage.failure) is expected
                await passage.wait_ended()
                with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                    await stream.send_all(b"answer")
            if mangler == "truncate":
                # The stream was ended towards helm as well, or reset: whichever came first.
                return
            await trio.testing.wait_all_tasks_blocked()
        # The device reset its call and sent no authenticated end.
        assert not incident.is_set()
        assert fleet.helm.online == {}


async def test_frames_of_two_devices_cannot_be_spliced() -> None:
    taken: dict[int, list[bytes]] = {0: [], 1: []}
    received: dict[DeviceId, bytes] = {}

    def splice(own: int) -> Edit:
        def edit(number: int, frame: bytes) -> Frames:
            if number < 2:
                return [frame]
            taken[own].append(frame)
            return [taken[1 - own].pop(0)] if taken[1 - own] else []

        return edit

    async def read(passage: AcceptedPassage) -> None:
        assert passage.device is not None
        device = passage.device.id
        received[device] = b""

        async def receive(stream: InnerStream) -> None:
            while data := await stream.receive_some():
                received[device] += data

        await passage.serve_streams(receive)

    async with running_fleet() as fleet:
        fleet.helm.body = read
        fleet.beacon.edit_up = lambda: splice(0)
        async with fleet.raw(ALICE) as alice:
            await alice.send_all(b"alice")
            fleet.beacon.fingerprints = [BOB.fingerprint]
            fleet.beacon.edit_up = lambda: splice(1)
            async with fleet.raw(BOB) as bob:
                await bob.send_all(b"bob")
                await alice.send_all(b"secret of alice")
                await trio.testing.wait_all_tasks_blocked()
                await bob.send_all(b"secret of bob")
                with trio.fail_after(1), pytest.raises(trio.BrokenResourceError):
                    await bob.receive_some()
    assert received == {ALICE.record.id: b"alice", BOB.record.id: b"bob"}
    assert {incident.device for incident in fleet.helm.incidents} >= {BOB.record.id}


# -- who is calling


async def refused(running: Fleet, **changes: Any) -> str:
    """Open a passage that has to be refused; return all that the device is told."""
    with pytest.raises(LinkRefusedError) as caught:
        await open_and_speak(running, **changes)
    assert running.helm.online == {}
    assert running.helm.accepted == 0
    status = caught.value.__cause__
    assert isinstance(status, GRPCError)
    assert (status.status, status.message, status.details) == (Status.UNAUTHENTICATED, REFUSAL, None)
    return str(caught.value)


async def open_and_speak(running: Fleet, **changes: Any) -> None:
    async with running.light(**changes) as passage:
        await passage.wait_ended()


async def test_another_devices_fingerprint_is_refused_and_names_the_device() -> None:
    async with running_fleet() as fleet:
        fleet.beacon.fingerprints = [BOB.fingerprint]
        await refused(fleet)
        [incident] = fleet.helm.incidents
        assert incident.trouble is Trouble.FINGERPRINT
        assert (incident.device, incident.fingerprint) == (ALICE.record.id, BOB.fingerprint)


async def test_without_the_fingerprint_check_it_would_get_in_but_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red when weakened: the check is what refuses; and even without it the identity is that of the static key."""
    monkeypatch.setattr(server, "verify_fingerprint", lambda fingerprint, device: fingerprint)
    async with running_fleet() as fleet:
        fleet.beacon.fingerprints = [BOB.fingerprint]
        async with fleet.echo():
            assert set(fleet.helm.online) == {ALICE.record.id}


async def test_both_certificates_of_a_renewal_are_good() -> None:
    async with running_fleet() as fleet:
        renewed = DeviceRecord(id=ALICE.record.id, fingerprints=frozenset({ALICE.fingerprint, "f" * 64}))
        fleet.helm.devices[ALICE.static.public] = renewed
        for fingerprint in renewed.fingerprints:
            fleet.beacon.fingerprints = [fingerprint]
            async with fleet.echo():
                assert fleet.helm.online[ALICE.record.id].fingerprint == fingerprint


@pytest.mark.parametrize(
    "fingerprints",
    [
        [],
        [ALICE.fingerprint, ALICE.fingerprint],
        [ALICE.fingerprint, BOB.fingerprint],
        [f"{ALICE.fingerprint},{ALICE.fingerprint}"],
        ["A" * 64],
        [ALICE.fingerprint[:-1]],
        [""],
    ],
)
async def test_a_device_needs_exactly_one_fingerprint(fingerprints: list[str]) -> None:
    async with running_fleet() as fleet:
        fleet.beacon.fingerprints = fingerprints
        await refused(fleet)
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.MALFORMED]


@pytest.mark.parametrize("fingerprints", [[ALICE.fingerprint] * 2, ["junk"]])
async def test_an_enrolment_has_one_fingerprint_at_most(fingerprints: list[str]) -> None:
    async with running_fleet() as fleet:
        fleet.beacon.fingerprints = fingerprints
        await refused(fleet, purpose=Purpose.ENROL, static=None, psk=PSK, ticket_id=TICKET)


@pytest.mark.parametrize(
    "purposes",
    [
        [],
        ["device", "device"],
        ["Device"],
        ["enrol"],
        ["enrol."],
        ["enrol.zz"],
        ["login.00"],
        ["device.0001020304050607"],
    ],
)
async def test_a_purpose_that_is_none_is_refused(purposes: list[str]) -> None:
    async with running_fleet() as fleet:
        fleet.beacon.purposes = purposes
        await refused(fleet)
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.MALFORMED]


async def test_a_key_that_no_device_has_is_refused() -> None:
    async with running_fleet() as fleet:
        await refused(fleet, static=KeyPair.generate())
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.UNKNOWN_DEVICE]


@pytest.mark.parametrize("purposes", [["login"], [f"enrol.{TICKET.hex()}"]])
async def test_a_handshake_does_not_serve_another_purpose(purposes: list[str]) -> None:
    async with running_fleet() as fleet:
        fleet.beacon.purposes = purposes
        await refused(fleet)
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE]


async def test_a_handshake_does_not_serve_another_fleet() -> None:
    async with running_fleet() as fleet:
        await refused(fleet, fleet=FleetId("f" * 16))
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE]


async def test_a_beacon_cannot_play_helm() -> None:
    """It knows all but helm's static key, and for an enrolment the psk."""
    stranger = KeyPair.generate()
    async with running_fleet() as fleet:
        await refused(fleet, helm_key=stranger.public)

    async def answer(call: Any) -> None:
        message = await call.recv_message()
        hello = Handshake("Noise_NN_25519_ChaChaPoly_BLAKE2s", initiator=True, generate=KeyPair.generate).write()
        assert len(message.data) == 97
        await call.send_message(Frame(data=hello + bytes(16)))
        await call.recv_message()

    async with running_fleet() as fleet:
        fleet.helm.handle = answer
        with pytest.raises(DecryptError):
            await open_and_speak(fleet)


async def test_a_beacon_cannot_play_helm_in_an_enrolment_either() -> None:
    """It lacks helm's key and the psk: the first message it cannot read, and one of its own makes no sense."""

    async def answer(call: Any) -> None:
        assert len((await call.recv_message()).data) == 49
        await call.send_message(Frame(data=KeyPair.generate().public + bytes(16)))
        await call.recv_message()

    async with running_fleet() as fleet:
        fleet.helm.handle = answer
        with pytest.raises(DecryptError):
            async with fleet.enrolment():
                pytest.fail("the device took it for helm")


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
async def test_a_point_of_low_order_serves_neither_side(point: bytes) -> None:
    """With one of them the secret would not depend on our key; as an ephemeral key, or as the device's own."""

    async def answer(call: Any) -> None:
        await call.recv_message()
        await call.send_message(Frame(data=point + bytes(16)))
        await call.recv_message()

    async with running_fleet() as fleet:
        fleet.helm.handle = answer
        with pytest.raises(RemoteProtocolError, match="cannot be used"):
            await open_and_speak(fleet)
    async with running_fleet() as fleet:
        assert await call_as_beacon(fleet, [NAMED + point + bytes(64)]) == []
        weak = KeyPair.from_private_bytes(bytes([5] * 32))
        object.__setattr__(weak, "public", point)
        await refused(fleet, static=weak)
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE] * 2


async def test_every_wrong_ticket_fails_alike() -> None:
    other = TicketId(bytes(8))
    told = set()
    for psk, ticket_id in [(bytes(32), TICKET), (PSK, TicketId(b"unknown!")), (PSK, other)]:
        async with running_fleet() as fleet:
            fleet.helm.tickets[other] = bytes([1] * 32)
            answer = await refused(fleet, purpose=Purpose.ENROL, static=None, psk=psk, ticket_id=ticket_id)
            [incident] = fleet.helm.incidents
            assert incident.request == PassageRequest(purpose=Purpose.ENROL, fleet=FLEET, ticket_id=ticket_id)
            told.add((answer, incident.trouble, incident.detail))
    assert len(told) == 1


async def test_a_ticket_swapped_by_the_beacon_is_refused() -> None:
    other = TicketId(bytes(8))
    async with running_fleet() as fleet:
        fleet.helm.tickets[other] = PSK
        fleet.beacon.purposes = [f"enrol.{other.hex()}"]
        await refused(fleet, purpose=Purpose.ENROL, static=None, psk=PSK, ticket_id=TICKET)


# -- the first message is nobody's word yet

DEVICE_METADATA = {PURPOSE_HEADER: "device", FINGERPRINT_HEADER: ALICE.fingerprint}


async def call_as_beacon(fleet: Fleet, frames: list[bytes]) -> list[bytes]:
    """Say to helm what a device is said to have said; return helm's frames when it has refused."""
    answers: list[bytes] = []
    call = PassageStub(Channel(fleet.beacon.tunnel, authority="helm")).Open.open(metadata=DEVICE_METADATA)
    with pytest.raises(GRPCError, match=REFUSAL) as caught:
        await speak(call, frames, answers)
    assert caught.value.status is Status.UNAUTHENTICATED
    return answers


async def speak(opened: Any, frames: list[bytes], answers: list[bytes]) -> None:
    async with opened as call:
        await call.send_request()
        for frame in frames:
            await call.send_message(Frame(data=frame))
        while (message := await call.recv_message()) is not None:
            answers.append(message.data)
        await call.end()
        await call.recv_trailing_metadata()


async def recorded(fleet: Fleet) -> list[bytes]:
    """Return the frames of one whole session of a device's, of which helm remembers nothing."""
    fleet.helm.door = Door(remembered=0)
    ended = fleet.helm.ended
    async with fleet.echo() as stub:
        await stub.Echo(echo_pb2.Ping())
    await ended.wait()
    fleet.helm.accepted = 0
    return fleet.beacon.seen_up[-1]


async def test_a_replayed_first_message_is_answered_and_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running_fleet() as fleet:
        frames = await recorded(fleet)
        start = trio.current_time()
        [answer] = await call_as_beacon(fleet, frames[:1])
        assert len(answer) == 48
        assert trio.current_time() - start == CONFIRM_TIMEOUT
        assert fleet.helm.accepted == 0
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.UNCONFIRMED]


async def test_a_replayed_session_fails_with_its_first_transport_frame() -> None:
    async with running_fleet() as fleet:
        frames = await recorded(fleet)
        assert len(await call_as_beacon(fleet, frames)) == 1
        assert fleet.helm.accepted == 0
        [incident] = fleet.helm.incidents
        assert incident.trouble is Trouble.UNCONFIRMED
        assert "not authentic" in incident.detail


async def test_a_replay_does_not_displace_the_live_session(autojump_clock: trio.testing.MockClock) -> None:
    async with running_fleet() as fleet:
        frames = await recorded(fleet)
        async with fleet.echo() as stub:
            live = fleet.helm.online[ALICE.record.id]
            await call_as_beacon(fleet, frames[:1])
            assert fleet.helm.online[ALICE.record.id] is live
            assert (await stub.Echo(echo_pb2.Ping(seq=2))).seq == 2


async def test_acting_on_the_first_message_would_let_a_replay_displace_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Red when weakened: a helm whose look-up already counts the device as here falls for the same replay."""
    async with running_fleet() as fleet:
        frames = await recorded(fleet)

        async def find_and_act(static: bytes) -> DeviceRecord | None:
            record = fleet.helm.devices.get(static)
            if record is not None:
                fleet.helm.online.pop(record.id, None)
            return record

        async with fleet.echo():
            assert ALICE.record.id in fleet.helm.online
            fleet.helm.find_device = find_and_act  # type: ignore[method-assign]
            await call_as_beacon(fleet, frames[:1])
            assert ALICE.record.id not in fleet.helm.online


async def test_a_silent_caller_is_refused_after_ten_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with running_fleet() as fleet:
        start = trio.current_time()
        assert await call_as_beacon(fleet, []) == []
        assert trio.current_time() - start == FIRST_MESSAGE_TIMEOUT
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE]


async def test_a_device_that_says_nothing_is_not_confirmed(autojump_clock: trio.testing.MockClock) -> None:
    async with running_fleet() as fleet:
        async with fleet.passage() as passage:
            start = trio.current_time()
            await passage.wait_ended()
            assert trio.current_time() - start == CONFIRM_TIMEOUT
            assert isinstance(passage.failure, TruncatedError)
        assert fleet.helm.accepted == 0
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.UNCONFIRMED]


NAMED = bytes((key_id(HELM_KEY.public),))
"""Says which key of helm's a first message is for."""


def ik_message(payload: bytes = b"") -> bytes:
    request = PassageRequest(purpose=Purpose.DEVICE, fleet=FLEET)
    handshake = Handshake(
        request.purpose.protocol,
        initiator=True,
        prologue=request.prologue,
        static=ALICE.static,
        remote_static=HELM_KEY.public,
        generate=KeyPair.generate,
    )
    return NAMED + handshake.write(payload)


FIRST_MESSAGES = {
    "empty": b"",
    "no more than the key's name": NAMED,
    "short": NAMED + bytes(95),
    "not authentic": NAMED + bytes([9] * 96),
    "low-order ephemeral": NAMED + bytes(96),
    "for another key": bytes((NAMED[0] ^ 1,)) + ik_message()[1:],
    "for no key": ik_message()[1:],
    "a payload": ik_message(b"surprise"),
    "too long": ik_message(bytes(416)),
}


@pytest.mark.parametrize("name", FIRST_MESSAGES)
async def test_a_bad_first_message_is_refused(name: str) -> None:
    async with running_fleet() as fleet:
        assert await call_as_beacon(fleet, [FIRST_MESSAGES[name]]) == []
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE]


@given(junk=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
async def test_junk_instead_of_a_first_message_is_refused(junk: bytes) -> None:
    async with running_fleet() as fleet:
        assert await call_as_beacon(fleet, [junk]) == []
        assert fleet.helm.accepted == 0


@pytest.mark.parametrize(
    "raw",
    [b"\0\0\0\0\x01\xff", b"\x01\0\0\0\0", b"\0\xff\xff\xff\xff", b"\0\0\0\0\x05abc"],
    ids=["no protobuf", "compressed", "four gigabytes", "cut short"],
)
async def test_a_carriers_junk_is_refused_as_everything_else(raw: bytes) -> None:
    async with running_fleet() as fleet:
        stream = fleet.beacon.tunnel.create_stream()
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/pharos.relay.v1.Passage/Open"),
            (":authority", "helm"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *DEVICE_METADATA.items(),
        ]
        await stream.send_request(headers)
        await stream.send_data(raw, end_stream=True)
        answer = dict(await stream.recv_headers())
        stream.close()
        assert (answer["grpc-status"], answer["grpc-message"]) == (str(Status.UNAUTHENTICATED.value), REFUSAL)
        assert [incident.trouble for incident in fleet.helm.incidents] == [Trouble.HANDSHAKE]


async def test_a_helm_that_is_not_there_is_a_lost_link() -> None:
    async with running_fleet() as fleet:

        async def say_unavailable(down: Any) -> None:
            await refuse(down, Status.UNAVAILABLE, "helm is away")

        fleet.beacon.handle = say_unavailable
        with pytest.raises(LinkLostError, match="helm is away"):
            await open_and_speak(fleet)
