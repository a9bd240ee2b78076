"""The client port: what a stranger may open, send and hold, and what busy means (security.md row 26)."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError
from h2.errors import ErrorCodes

from pharos.beacon.ingress import DEVICE_IDLE, STRANGER_TIME
from pharos.beacon.limiter import (
    ENROLMENT_TIME,
    LOGIN_TIME,
    LOGINS,
    PASSAGE_BURST,
    SOURCE_BURST,
    SOURCE_LOGINS,
    STRANGER_OCTETS,
    PassageLimiter,
    Rates,
)
from pharos.beacon.shares import DEVICE_BURST, DEVICE_CONNECTIONS, DEVICE_PASSAGES
from pharos.wire.passage.metadata import RETRY_HEADER
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import EDGE_STREAMS, FIRST_REQUEST_TIMEOUT
from pharos.wire.rpc.status import StreamResetError
from pharos.wire.units import HOURS, KIB
from tests.support.relay import MemoryBeacon, memory_beacon

Clock = trio.testing.MockClock
ENROL = "enrol.0123456789abcdef"


async def fate(stream: H2Stream) -> str:
    """Wait for the answer: "open", a status with its message, or a reset."""
    try:
        headers = dict(await stream.recv_headers())
    except StreamResetError as error:
        return f"reset {error.code!r}"
    if "grpc-status" not in headers:
        return "open"
    return f"{Status(int(headers['grpc-status'])).name}: {headers['grpc-message']}"


async def strangers_fate(beacon: MemoryBeacon, purpose: str, address: str = "192.0.2.1") -> str:
    client = await beacon.dial(certificate=None, address=address)
    return await fate(await client.open(purpose))


# -- rates


async def test_beyond_its_rate_the_relay_is_busy_for_devices(autojump_clock: Clock) -> None:
    async with memory_beacon(limiter=PassageLimiter(Rates(passage_burst=10))) as beacon, beacon.linked():
        assert len(await beacon.open_passages(12)) == 10
        client = await beacon.dial()
        assert await fate(await client.open()) == "UNAVAILABLE: this relay is busy"
        # A second refills many times as many.
        await trio.sleep(1)
        assert await fate(await client.open()) == "open"
    assert Rates().passage_burst == PASSAGE_BURST


@pytest.mark.row(26)
async def test_stranger_is_held_back_by_its_address_whatever_connection_it_comes_on(autojump_clock: Clock) -> None:
    async with memory_beacon(limiter=PassageLimiter()) as beacon, beacon.linked():
        fates = [await strangers_fate(beacon, ENROL) for _ in range(SOURCE_BURST + 5)]
        assert fates.count("open") == SOURCE_BURST
        assert set(fates[SOURCE_BURST:]) == {"RESOURCE_EXHAUSTED: too many tries from this address"}
        assert await strangers_fate(beacon, ENROL, "192.0.2.2") == "open"
        # A device behind the same address is none of them.
        assert len(await beacon.open_passages(20)) == 20
        await trio.sleep(5)
        assert await strangers_fate(beacon, ENROL) == "open"


@pytest.mark.row(26)
async def test_only_so_many_logins_wait_for_a_person(autojump_clock: Clock) -> None:
    limiter = PassageLimiter(Rates(source_burst=1_000, strangers_burst=1_000))
    async with memory_beacon(limiter=limiter) as beacon, beacon.linked():
        for office in range(LOGINS // SOURCE_LOGINS):
            address = f"192.0.2.{office}"
            assert {await strangers_fate(beacon, "login", address) for _ in range(SOURCE_LOGINS)} == {"open"}
            assert "from this address" in await strangers_fate(beacon, "login", address)
        assert await strangers_fate(beacon, "login", "192.0.2.100") == "UNAVAILABLE: this relay is busy"
        assert await strangers_fate(beacon, ENROL) == "open"
        await trio.sleep(LOGIN_TIME)
        assert await strangers_fate(beacon, "login") == "open"


async def test_while_helm_is_away_it_is_said_so(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon:
        client = await beacon.dial()
        assert await fate(await client.open()) == "UNAVAILABLE: helm is not connected to this relay"


async def hint_of(stream: H2Stream) -> float:
    """Return after how many seconds the beacon says that a try is worth it."""
    return int(dict(await stream.recv_headers())[RETRY_HEADER]) / 1000


async def test_whoever_is_sent_away_is_told_when_to_come_again(autojump_clock: Clock) -> None:
    async with memory_beacon(limiter=PassageLimiter(Rates(passage_burst=1, passage_rate=0.01))) as beacon:
        assert 5 <= await hint_of(await (await beacon.dial()).open()) <= 30, "helm is away"
        busy = [await hint_of(await (await beacon.dial()).open()) for _ in range(5)]
        assert all(1 <= seconds <= 5 for seconds in busy)
        assert len(set(busy)) > 1, "they do not come back all at once"


async def test_refusal_for_good_gives_no_hope(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        client = await beacon.dial(certificate=None)
        assert RETRY_HEADER not in dict(await (await client.open("device")).recv_headers())


# -- shares


async def test_device_is_known_on_whatever_connection_it_comes(autojump_clock: Clock) -> None:
    async with memory_beacon(limiter=PassageLimiter()) as beacon, beacon.linked():
        clients = [await beacon.dial(certificate=b"greedy") for _ in range(3)]
        fates = [await fate(await client.open()) for client in clients for _ in range(EDGE_STREAMS)]
        assert fates[:DEVICE_PASSAGES] == ["open"] * DEVICE_PASSAGES
        assert set(fates[DEVICE_PASSAGES:]) == {"UNAVAILABLE: this device has too many passages open"}
        assert await fate(await (await beacon.dial(certificate=b"good")).open()) == "open"


async def test_device_that_opens_and_ends_passages_is_slowed_down(autojump_clock: Clock) -> None:
    async with memory_beacon(limiter=PassageLimiter()) as beacon, beacon.linked():
        client = await beacon.dial(certificate=b"greedy")
        fates = []
        for _ in range(DEVICE_BURST + 5):
            stream = await client.open()
            fates.append(await fate(stream))
            stream.close()
            await trio.testing.wait_all_tasks_blocked()
        assert fates == ["open"] * DEVICE_BURST + ["UNAVAILABLE: too many tries by this device"] * 5
        # What it was refused it has not taken from others, either.
        assert len(await beacon.open_passages(200)) == 200


async def test_newest_connections_of_a_device_stay(autojump_clock: Clock) -> None:
    async with memory_beacon(limiter=PassageLimiter()) as beacon, beacon.linked():
        clients = [await beacon.dial(certificate=b"roaming") for _ in range(DEVICE_CONNECTIONS + 2)]
        await trio.testing.wait_all_tasks_blocked()
        assert [client.connection.closed for client in clients] == [True] * 2 + [False] * DEVICE_CONNECTIONS


# -- what a stranger may send and hold


async def sends(beacon: MemoryBeacon, octets: int, *, certificate: bytes | None) -> tuple[int, object]:
    """Send in one passage, a KiB at a time; return how much came back from helm, and what reset it."""
    client = await beacon.dial(certificate=certificate)
    stream = await client.open(ENROL)
    assert await fate(stream) == "open"
    back = 0
    try:
        for _ in range(octets // KIB):
            await stream.send_data(bytes(KIB))
            back += len(await stream.recv_data(KIB))
    except StreamResetError as error:
        return back, error.code
    return back, None


@pytest.mark.row(26)
@pytest.mark.red_inside
async def test_stranger_sends_32_kib_and_no_more(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        too_much = (STRANGER_OCTETS, ErrorCodes.ENHANCE_YOUR_CALM)
        assert await sends(beacon, 100 * KIB, certificate=None) == too_much
        assert await sends(beacon, 100 * KIB, certificate=b"a device") == (100 * KIB, None)
        await trio.testing.wait_all_tasks_blocked()
        assert beacon.passages == [1], "the device's"
        monkeypatch.setattr("pharos.beacon.ingress.STRANGER_OCTETS", 2**40)
        assert await sends(beacon, 100 * KIB, certificate=None) == (100 * KIB, None)


@pytest.mark.row(26)
async def test_whole_request_at_once_is_not_a_way_round(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        client = await beacon.dial(certificate=None)
        stream = await client.open(ENROL)
        with pytest.raises(StreamTerminatedError):
            await stream.send_data(bytes(STRANGER_OCTETS + KIB), end_stream=True)
            while await stream.more():
                assert len(stream.buffered) <= STRANGER_OCTETS


async def lasts(beacon: MemoryBeacon, purpose: str, *, certificate: bytes | None) -> float:
    """Hold a passage, with an octet each 5 s so that it is never idle, and return for how many seconds."""
    client = await beacon.dial(certificate=certificate)
    stream = await client.open(purpose)
    began = trio.current_time()
    with trio.move_on_after(HOURS):
        try:
            await fate(stream)
            while True:
                await stream.send_data(b".")
                await stream.recv_data(1)
                await trio.sleep(5)
        except StreamTerminatedError:
            pass
    return trio.current_time() - began


@pytest.mark.parametrize(("purpose", "seconds"), [(ENROL, ENROLMENT_TIME), ("login", LOGIN_TIME)])
@pytest.mark.row(26)
@pytest.mark.red_inside
async def test_strangers_passage_ends_in_time(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, purpose: str, seconds: float
) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        assert await lasts(beacon, purpose, certificate=None) == pytest.approx(seconds, abs=6)
        assert await lasts(beacon, purpose, certificate=b"a device") == pytest.approx(HOURS, abs=6)
        # Weakened.
        for name in ("ENROLMENT_TIME", "LOGIN_TIME", "STRANGER_TIME"):
            monkeypatch.setattr(f"pharos.beacon.ingress.{name}", 10 * HOURS)
        assert await lasts(beacon, purpose, certificate=None) == pytest.approx(HOURS, abs=6)


@pytest.mark.parametrize(("certificate", "seconds"), [(None, FIRST_REQUEST_TIMEOUT), (b"a device", DEVICE_IDLE)])
@pytest.mark.row(26, 33)
async def test_client_that_asks_for_nothing_is_left(
    autojump_clock: Clock, certificate: bytes | None, seconds: float
) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        began = trio.current_time()
        client = await beacon.dial(certificate=certificate)
        await client.connection.wait_closed()
        assert trio.current_time() - began == pytest.approx(seconds, abs=2)
        assert "goodbye" in str(client.connection.error)


@pytest.mark.row(26)
async def test_stranger_cannot_hold_its_connection_by_being_refused(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        began = trio.current_time()
        client = await beacon.dial(certificate=None)
        with pytest.raises(StreamTerminatedError):
            while trio.current_time() - began < HOURS:
                stream = await client.open("device")
                assert (await fate(stream)).startswith("UNAUTHENTICATED")
                stream.close()
                await trio.sleep(1)
        assert trio.current_time() - began == pytest.approx(STRANGER_TIME, abs=5)


async def test_device_holds_four_passages_and_no_more(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        client = await beacon.dial()
        for _ in range(EDGE_STREAMS):
            assert await fate(await client.open()) == "open"
        with trio.move_on_after(1) as patience:
            await client.open()
        assert patience.cancelled_caught
