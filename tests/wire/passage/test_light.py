"""A passage that is light until somebody calls, and light again afterwards; what is said in it meanwhile."""

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError

from pharos.wire.errors import LinkLostError
from pharos.wire.passage import accepted, client, records
from pharos.wire.passage.accepted import AcceptedPassage
from pharos.wire.passage.client import INNER_IDLE, Passage
from pharos.wire.passage.inner import BUFFER, InnerStream
from pharos.wire.passage.notes import Note
from pharos.wire.passage.records import Kind
from pharos.wire.passage.renewal import RENEW_EVERY, RENEW_JITTER, keep_passages, renewal_delay
from pharos.wire.passage.session import END_TIMEOUT, SESSION_LIMIT, WRITE_TIMEOUT, Session
from pharos.wire.units import HOURS
from tests.support.gen.pharos_test.v1 import echo_grpc, echo_pb2
from tests.wire.passage.harness import ALICE, NOTHING, Fleet, raw, running_fleet


async def echo(passage: Passage, seq: int) -> None:
    async with passage.channel() as channel:
        assert (await echo_grpc.EchoStub(channel).Echo(echo_pb2.Ping(seq=seq))).seq == seq


def watch_frames(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Kind, bytes]]:
    """Note every frame that is received, and by whom."""
    seen: list[tuple[str, Kind, bytes]] = []
    take = Session._unseal

    def spy(session: Session, frame: bytes) -> tuple[Kind, bytes]:
        kind, data = take(session, frame)
        seen.append(("device" if session._pace is None else "helm", kind, data))
        return kind, data

    monkeypatch.setattr(Session, "_unseal", spy)
    return seen


def make_immortal(session: Session) -> None:
    """One side lets no time limit end its session."""
    session._expires_at = math.inf
    assert session._reading is not None
    session._reading.deadline = math.inf


# -- light, and not light


async def test_an_idle_passage_is_confirmed_by_its_first_note_and_has_no_connection_inside() -> None:
    async with running_fleet() as fleet, fleet.light(holds=Note(3, 7)):
        await trio.testing.wait_all_tasks_blocked()
        accepted_passage = fleet.helm.online[ALICE.record.id]
        assert accepted_passage.notes.newest == Note(3, 7)
        assert accepted_passage._connection is None
        assert accepted_passage.session._inner is None


async def test_the_inner_connection_opens_at_need_ends_when_idle_and_opens_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch_frames(monkeypatch)
    async with running_fleet() as fleet, fleet.light() as passage:
        for round_ in range(3):
            await echo(passage, round_)
            served = fleet.helm.online[ALICE.record.id]
            assert served._connection is not None
            start = trio.current_time()
            await passage._inner_ended.wait()
            assert trio.current_time() - start == pytest.approx(INNER_IDLE)
            await trio.testing.wait_all_tasks_blocked()
            assert served._connection is None
            assert (served.session._inner, passage._session._inner) == (None, None)
        assert [who for who, kind, _ in seen if kind is Kind.END] == ["helm", "device"] * 3
        assert fleet.helm.accepted == 1
    assert fleet.helm.incidents == []


async def test_blocks_share_one_connection_and_a_long_block_keeps_it(autojump_clock: trio.testing.MockClock) -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        async with passage.channel() as first:
            await trio.sleep(INNER_IDLE)
            async with passage.channel() as second:
                assert first is second
            await trio.sleep(INNER_IDLE - 1)
            assert (await echo_grpc.EchoStub(first).Echo(echo_pb2.Ping(seq=1))).seq == 1


async def test_twenty_first_needs_at_once_open_one_connection() -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        async with trio.open_nursery() as callers:
            for seq in range(20):
                callers.start_soon(echo, passage, seq)
        assert fleet.helm.online[ALICE.record.id]._connection is not None


async def test_helm_ends_a_connection_that_nobody_calls_on(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device should; one that does not costs helm no more than a minute of memory, and may call again."""
    monkeypatch.setattr(client, "INNER_IDLE", math.inf)
    async with running_fleet() as fleet, fleet.light() as passage:
        await echo(passage, 1)
        start = trio.current_time()
        await passage._inner_ended.wait()
        assert trio.current_time() - start == pytest.approx(accepted.INNER_IDLE, abs=2)
        await echo(passage, 2)
        assert fleet.helm.accepted == 1


async def test_what_crosses_an_end_is_dropped_and_the_next_stream_begins_clean() -> None:
    async def serve(stream: InnerStream) -> None:
        assert await stream.receive_some(3) == b"ask"
        # Closes its stream without reading what comes; the device writes on meanwhile.

    async with running_fleet() as fleet:
        fleet.helm.body = raw(serve)
        async with fleet.passage() as passage:
            for _ in range(3):
                async with await passage.open_stream() as stream:
                    await stream.send_all(b"ask")
                    for _ in range(3):
                        await stream.send_all(bytes(BUFFER))
                    assert await stream.receive_some() == b""
    assert fleet.helm.incidents == []


async def test_a_stream_in_which_nothing_was_said_ends_without_a_word() -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        for _ in range(3):
            await (await passage.open_stream()).aclose()
        await echo(passage, 1)


async def test_a_helm_that_does_not_end_its_side_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async def hold(stream: InnerStream) -> None:
        await trio.sleep_forever()

    async with running_fleet() as fleet:
        fleet.helm.body = raw(hold)
        async with fleet.passage() as passage:
            stream = await passage.open_stream()
            await stream.send_all(b"ask")
            await stream.aclose()
            start = trio.current_time()
            with pytest.raises(LinkLostError, match="did not end"):
                await passage.open_stream()
            assert trio.current_time() - start == END_TIMEOUT


async def test_an_inner_connection_that_breaks_leaves_the_passage_whole() -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        async with await passage.open_stream() as stream:
            await stream.send_all(b"this is not HTTP/2" * 20)
            while await stream.receive_some():
                pass
        await echo(passage, 1)
        assert fleet.helm.accepted == 1
    assert fleet.helm.incidents == []


# -- notes


async def test_news_reach_a_device_that_is_light_and_one_that_calls() -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        await trio.testing.wait_all_tasks_blocked()
        served = fleet.helm.online[ALICE.record.id]
        served.notify(Note(1, 1))
        assert await anext(passage.notes) == Note(1, 1)
        async with passage.channel() as channel:
            served.notify(Note(1, 2))
            assert await anext(passage.notes) == Note(1, 2)
            assert (await echo_grpc.EchoStub(channel).Echo(echo_pb2.Ping(seq=5))).seq == 5


async def test_news_that_wait_are_replaced_by_newer_ones() -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        await trio.testing.wait_all_tasks_blocked()
        for rev in range(100):
            fleet.helm.online[ALICE.record.id].notify(Note(1, rev))
        while await anext(passage.notes) != Note(1, 99):
            pass
        # The first was on its way when the others came.
        assert fleet.beacon.down_frames <= 3


async def test_notes_end_with_the_passage() -> None:
    async with running_fleet() as fleet, fleet.light() as passage:
        await trio.testing.wait_all_tasks_blocked()
        fleet.helm.online[ALICE.record.id].end()
        assert [note async for note in passage.notes] == []
        await passage.wait_ended()
        with pytest.raises(LinkLostError):
            await echo(passage, 1)


# -- ends


GOAWAY = b"\x00\x00\x08\x07\x00"
"""How the frame begins (RFC 9113 §6.8)."""


async def test_a_graceful_end_says_goodbye_inside_then_closes_then_ends_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = watch_frames(monkeypatch)
    async with running_fleet() as fleet:
        async with fleet.light() as passage:
            await echo(passage, 1)
            ended = fleet.helm.ended
        await ended.wait()
        *_, (_, goodbye), (end, _), (close, _) = [(kind, data) for who, kind, data in seen if who == "helm"]
        assert GOAWAY in goodbye
        assert (end, close) == (Kind.END, Kind.CLOSE)
        # The call was ended by both sides, by a reset of neither.
        assert fleet.beacon.completed == 1
        assert fleet.helm.incidents == []


async def test_helm_ends_gracefully_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch_frames(monkeypatch)
    async with running_fleet() as fleet, fleet.light() as passage:
        async with passage.channel() as channel:
            await echo_grpc.EchoStub(channel).Echo(echo_pb2.Ping())
            fleet.helm.online[ALICE.record.id].end()
            await passage.wait_ended()
            with pytest.raises(StreamTerminatedError):
                await echo_grpc.EchoStub(channel).Echo(echo_pb2.Ping())
        *_, (_, goodbye), (end, _), (close, _) = [(kind, data) for who, kind, data in seen if who == "device"]
        assert GOAWAY in goodbye
        assert (end, close) == (Kind.END, Kind.CLOSE)
        assert passage.failure is None


@pytest.mark.parametrize("full", [False, True])
async def test_a_session_ends_after_a_day_at_helm(
    full: bool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "INNER_IDLE", math.inf)
    monkeypatch.setattr(accepted, "INNER_IDLE", math.inf)
    async with running_fleet() as fleet, fleet.passage() as passage:
        start = trio.current_time()
        make_immortal(passage._session)
        await (echo(passage, 1) if full else passage.send_note(NOTHING))
        await passage.wait_ended()
        assert trio.current_time() - start == pytest.approx(SESSION_LIMIT, abs=2)
        assert passage.failure is None
        await trio.testing.wait_all_tasks_blocked()
        assert fleet.helm.incidents == []


@pytest.mark.parametrize("full", [False, True])
async def test_a_session_ends_after_a_day_at_the_device(
    full: bool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "INNER_IDLE", math.inf)
    monkeypatch.setattr(accepted, "INNER_IDLE", math.inf)
    async with running_fleet() as fleet, fleet.passage() as passage:
        start = trio.current_time()
        await (echo(passage, 1) if full else passage.send_note(NOTHING))
        await trio.testing.wait_all_tasks_blocked()
        make_immortal(fleet.helm.online[ALICE.record.id].session)
        await passage.wait_ended()
        assert trio.current_time() - start == pytest.approx(SESSION_LIMIT, abs=2)
        await trio.testing.wait_all_tasks_blocked()
        assert fleet.helm.incidents == []


async def test_a_block_at_helm_that_heeds_nothing_is_cancelled_after_a_day(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def stay(_passage: AcceptedPassage) -> None:
        await trio.sleep_forever()

    async with running_fleet() as fleet:
        fleet.helm.body = stay
        async with fleet.light() as passage:
            start = trio.current_time()
            make_immortal(passage._session)
            await passage.wait_ended()
            assert SESSION_LIMIT <= trio.current_time() - start <= SESSION_LIMIT + 5


async def test_a_session_that_has_carried_all_its_frames_ends_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_FRAMES", 50)
    async with running_fleet() as fleet, fleet.light() as passage:
        with pytest.raises((StreamTerminatedError, LinkLostError)):
            await echo_for_ever(passage)
        await passage.wait_ended()
        await trio.testing.wait_all_tasks_blocked()
        assert fleet.helm.online == {}
        assert fleet.helm.incidents == []


async def echo_for_ever(passage: Passage) -> None:
    while True:
        await echo(passage, 1)


# -- renewal


def test_renewals_spread_over_a_fifth_either_way() -> None:
    assert renewal_delay(lambda: 0.0) == RENEW_EVERY * (1 - RENEW_JITTER)
    assert renewal_delay(lambda: 0.5) == RENEW_EVERY
    assert renewal_delay(lambda: 1.0) == RENEW_EVERY * (1 + RENEW_JITTER) < SESSION_LIMIT


async def test_a_device_renews_and_is_never_without_a_passage(autojump_clock: trio.testing.MockClock) -> None:
    used: list[tuple[float, Passage]] = []
    left: list[float] = []

    async with running_fleet() as fleet:

        @asynccontextmanager
        async def dial() -> AsyncIterator[Passage]:
            async with fleet.light() as passage:
                yield passage
            left.append(trio.current_time())

        async def use(passage: Passage) -> bool:
            used.append((trio.current_time(), passage))
            await passage.wait_ended()
            return False

        with trio.move_on_after(40 * HOURS):
            await keep_passages(dial, use, random=random.Random(7).random)
        assert 3 <= len(used) <= 5
        assert len({passage.handshake_hash for _, passage in used}) == len(used)
        for (began, _), (renewed, _), ended in zip(used, used[1:], left, strict=False):
            assert renewed - began <= RENEW_EVERY * (1 + RENEW_JITTER)
            assert ended >= renewed
        assert fleet.helm.incidents == []


async def test_the_next_passage_comes_when_it_is_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    used: list[Passage] = []

    async def use(passage: Passage) -> bool:
        used.append(passage)
        if len(used) < 3:
            return True
        await passage.wait_ended()
        return False

    async with running_fleet() as fleet:
        with trio.move_on_after(RENEW_EVERY / 2):
            await keep_passages(fleet.light, use, random=lambda: 0.5)
        assert len({passage.handshake_hash for passage in used}) == len(used) == 3
        # Those that were replaced are not renewed as well.
        with trio.move_on_after(RENEW_EVERY * 1.5):
            await keep_passages(fleet.light, use, random=lambda: 0.5)
        assert len(used) == 5
        assert fleet.helm.incidents == []


async def test_a_passage_that_is_lost_ends_the_renewing() -> None:
    async def use(passage: Passage) -> bool:
        await trio.aclose_forcefully(fleet.edge)
        await passage.wait_ended()
        return False

    async with running_fleet() as fleet:
        with pytest.RaisesGroup(LinkLostError):
            await keep_passages(fleet.light, use, random=lambda: 0.5)


# -- how much of it there is


async def count_tasks(fleet: Fleet, passages: int) -> int:
    async with trio.open_nursery() as nursery:

        async def hold(*, task_status: trio.TaskStatus[None]) -> None:
            async with fleet.light():
                task_status.started()
                await trio.sleep_forever()

        fleet.beacon.fingerprints = [ALICE.fingerprint]
        for _ in range(passages):
            await nursery.start(hold)
        await trio.testing.wait_all_tasks_blocked()
        living = trio.lowlevel.current_statistics().tasks_living
        nursery.cancel_scope.cancel()
    return living


async def test_a_light_passage_is_one_task_at_helm() -> None:
    async with running_fleet() as fleet:
        few, many = await count_tasks(fleet, 1), await count_tasks(fleet, 3)
    # Beside helm's handler: at the device the reader and this test's own, at this beacon the handler and its pump.
    assert (many - few) / 2 == 1 + 2 + 2


def test_the_limits_are_what_the_page_says() -> None:
    assert (SESSION_LIMIT, RENEW_EVERY, WRITE_TIMEOUT) == (24 * HOURS, 12 * HOURS, 30)
