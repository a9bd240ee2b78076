"""The life of a connection: up, kept alive, drained, lost; and its limits."""

from contextlib import AsyncExitStack, suppress

import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, PingReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes

from pharos.wire.errors import LinkLostError, LinkRefusedError, LocalProtocolError
from pharos.wire.rpc import limits
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.status import ConnectionLostError, StreamResetError
from pharos.wire.rpc.transport import TlsAlertError
from tests.support.figures import Fault, record
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, WatchRequest
from tests.support.h2peer import EMPTY_SETTINGS, PREFACE, scripted
from tests.support.rpc import SLEEP, EchoService, over_memory, over_tls, request_headers, wait_released


async def sleep_forever(_stream: H2Stream) -> None:
    await trio.sleep_forever()


# -- coming up


async def test_connection_is_up_when_the_peers_settings_have_arrived() -> None:
    async with scripted(client_side=False, start=False) as (peer, connection), trio.open_nursery() as nursery:
        up = trio.Event()

        async def wait() -> None:
            await connection.wait_up()
            up.set()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not up.is_set()
        await peer.start()
        await up.wait()


async def test_connection_that_ends_before_settings_was_never_up() -> None:
    async with scripted(client_side=False, start=False) as (peer, connection):
        await peer.stream.aclose()
        with pytest.raises(LinkLostError):
            await connection.wait_up()


async def test_alert_before_settings_means_refused() -> None:
    ours, _theirs = trio.testing.memory_stream_pair()

    async def alert() -> None:
        raise TlsAlertError("tlsv13 alert certificate required")

    ours.receive_stream.receive_some_hook = alert
    connection = Connection(ours, client_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        with pytest.raises(LinkRefusedError, match="certificate required"):
            await connection.wait_up()


async def test_open_channel_raises_the_blocks_own_error_unwrapped() -> None:
    async with over_memory([EchoService()]) as outer:
        del outer
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Connection(theirs, client_side=False).run)
            with pytest.raises(KeyError, match="mine"):
                async with open_channel(ours, authority="x"):
                    raise KeyError("mine")


# -- keepalive


async def test_silent_peer_is_lost_after_45_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted(client_side=False, keepalive=limits.KEEPALIVE_INTERVAL) as (_peer, connection):
        heard_at = connection.heard_at
        await connection.wait_closed()
        silent = trio.current_time() - heard_at
        record(Fault.BAD_NETWORK, "until a peer that is silent counts as lost, virtual time", silent, "s")
        assert silent == pytest.approx(45)
        assert isinstance(connection.error, LinkLostError)
        assert "silent for 45 s" in str(connection.error)


async def test_without_keepalive_silence_is_no_sign(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted(client_side=False, keepalive=None) as (_peer, connection):
        await trio.sleep(3600)
        assert not connection.closed


async def test_answered_pings_keep_an_idle_connection(autojump_clock: trio.testing.MockClock) -> None:
    service = EchoService()
    async with over_memory([service], keepalive=limits.KEEPALIVE_INTERVAL) as channel:
        await trio.sleep(3600)
        assert (await EchoStub(channel).Echo(Ping(seq=1))).seq == 1


async def test_busy_connection_sends_no_pings(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted(client_side=False, keepalive=limits.KEEPALIVE_INTERVAL) as (peer, connection):
        for _ in range(20):
            await trio.sleep(10)
            peer.h2.ping(b"12345678")
            await peer.flush()
        assert not connection.closed
        connection.close_now()
        await peer.receive_all()
        assert not [event for event in peer.seen if isinstance(event, PingReceived)]


async def test_pings_go_out_after_15_and_30_seconds_of_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scripted(client_side=False, keepalive=limits.KEEPALIVE_INTERVAL) as (peer, connection):
        await connection.wait_closed()
        await peer.receive_all()
        assert len([event for event in peer.seen if isinstance(event, PingReceived)]) == 2


async def test_one_ping_in_15_seconds_serves_both_ends(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pings: list[tuple[bool, float]] = []
    real = Connection.ping

    def ping(self: Connection) -> None:
        pings.append((self.client_side, trio.current_time()))
        real(self)

    monkeypatch.setattr(Connection, "ping", ping)
    async with over_memory([EchoService()], keepalive=limits.KEEPALIVE_INTERVAL):
        began = trio.current_time()
        await trio.sleep(600)
    assert {dialling for dialling, _ in pings} == {True}
    assert (
        600 / (limits.KEEPALIVE_INTERVAL + limits.KEEPALIVE_TICK) - 1 <= len(pings) <= 600 / limits.KEEPALIVE_INTERVAL
    )
    assert began <= min(at for _, at in pings) - limits.KEEPALIVE_INTERVAL


async def test_all_connections_ring_at_the_same_moments(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: set[float] = set()
    real = Connection.ping
    monkeypatch.setattr(Connection, "ping", lambda self: (times.add(trio.current_time()), real(self))[1])
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await trio.sleep(0.02)
            await stack.enter_async_context(over_memory([EchoService()], keepalive=limits.KEEPALIVE_INTERVAL))
        await trio.sleep(16)
    assert len(times) == 1


# -- leaving


async def test_drain_lets_calls_finish_and_takes_no_new_ones() -> None:
    service = EchoService()
    async with over_memory([service]) as channel:
        stub = EchoStub(channel)
        async with stub.Chat.open() as call:
            await call.send_message(Ping(seq=1))
            await call.recv_message()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.connection.drain, 10)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(LinkLostError):
                    await stub.Echo(Ping(seq=1))
                await call.send_message(Ping(seq=2), end=True)
                assert [pong.seq async for pong in call] == [4, 999]
                await call.recv_trailing_metadata()
                await call.__aexit__(None, None, None)
        assert channel.connection.closed
        assert channel.connection.error is None


async def test_server_that_drains_answers_the_calls_it_has(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()

    async def answer(stream: H2Stream) -> None:
        await release.wait()
        await stream.send_headers([(":status", "200")], end_stream=True)

    async with scripted(client_side=True, accept=answer) as (peer, connection):
        peer.h2.send_headers(1, request_headers("Echo"), end_stream=True)
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.drain, 60)
            goodbye = await peer.wait_for(ConnectionTerminated)
            assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, 1)
            release.set()
        # Stock h2 takes no more after a GOAWAY; that the answer was sent shows in our own state.
        assert connection.error is None
        assert trio.current_time() < 60


async def test_stream_opened_into_a_drain_is_refused() -> None:
    async with scripted(client_side=True, accept=sleep_forever) as (peer, connection):
        peer.h2.send_headers(1, request_headers("Echo"))
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.drain, 60)
            await trio.testing.wait_all_tasks_blocked()
            peer.h2.send_headers(3, request_headers("Echo"))
            await peer.flush()
            await trio.testing.wait_all_tasks_blocked()
            assert set(connection.streams) == {1}
            connection.close_now()


async def test_drain_gives_up_after_its_grace(autojump_clock: trio.testing.MockClock) -> None:
    service = EchoService()
    async with over_memory([service]) as channel:
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                with pytest.raises(LinkLostError):
                    await EchoStub(channel).Echo(Ping(seq=SLEEP))

            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await channel.connection.drain(7)
        assert trio.current_time() == pytest.approx(7)
        await service.wait_idle()
        assert service.cancelled == 1


async def test_goodbye_of_the_peer_ends_the_connection_when_the_last_call_has_ended() -> None:
    async with scripted(client_side=False) as (peer, connection):
        kept, dropped = connection.create_stream(), connection.create_stream()
        await kept.send_request(request_headers("Echo"), end_stream=True)
        await dropped.send_request(request_headers("Echo"), end_stream=True)
        await peer.wait_for(RequestReceived)
        # A graceful GOAWAY, by hand: stock h2 would close the connection with it.
        await peer.stream.send_all(b"\0\0\x08\7\0\0\0\0\0\0\0\0\1\0\0\0\0")
        with pytest.raises(ConnectionLostError, match="goodbye"):
            await dropped.recv_headers()
        with pytest.raises(ConnectionLostError, match="goodbye"):
            await connection.create_stream().send_request(request_headers("Echo"))
        peer.h2.send_headers(1, [(":status", "200")], end_stream=True)
        await peer.flush()
        assert await kept.recv_headers() == [(":status", "200")]
        dropped.close()
        assert not connection.closed
        kept.close()
        await connection.wait_closed()
        assert "goodbye" in str(connection.error)


async def test_close_before_run_ends_the_run_at_once() -> None:
    ours, _theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours, client_side=True)
    connection.close_now()
    await connection.run()
    assert connection.closed


async def test_cancelled_run_fails_its_streams_and_closes_the_transport() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours, client_side=True, keepalive=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        stream = connection.create_stream()
        await stream.send_request(request_headers("Echo"))
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionLostError):
        await stream.recv_headers()
    while await theirs.receive_some(65536):
        pass


async def test_peer_that_stops_listening_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    ours, _theirs = trio.testing.memory_stream_pair()

    async def broken() -> None:
        raise trio.BrokenResourceError

    ours.send_stream.send_all_hook = broken
    connection = Connection(ours, client_side=True, keepalive=None)
    await connection.run()
    assert "stopped listening" in str(connection.error)
    assert trio.current_time() == pytest.approx(limits.CLOSE_GRACE)


# -- streams and their number


async def test_more_calls_than_the_peer_admits_wait_their_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = EchoService()
    async with over_memory([service], max_streams=4) as channel:
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(EchoStub(channel).Watch, WatchRequest(count=1, interval=1))
        assert service.most_running == 4
        # Three waves of one second each, and not twelve: the slots are used.
        assert trio.current_time() == pytest.approx(3)
        await wait_released(channel.connection)


async def test_cancelled_wait_for_a_slot_passes_the_turn_on(autojump_clock: trio.testing.MockClock) -> None:
    service = EchoService()
    async with over_memory([service], max_streams=1) as channel:
        stub = EchoStub(channel)

        async def give_up() -> None:
            with trio.move_on_after(1):
                await stub.Echo(Ping(seq=1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(occupy, stub, 2)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(give_up)
            await trio.testing.wait_all_tasks_blocked()
            assert (await stub.Echo(Ping(seq=7))).seq == 7
            assert trio.current_time() == pytest.approx(2)


async def occupy(stub: EchoStub, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await stub.Echo(Ping(seq=SLEEP))


async def test_handlers_that_will_not_end_keep_their_slots() -> None:
    """Rapid reset buys no more handlers than twice the streams allowed (security.md row 36)."""
    started = 0

    async def stubborn(_stream: H2Stream) -> None:
        nonlocal started
        started += 1
        with trio.CancelScope(shield=True):
            await done.wait()

    done = trio.Event()
    async with scripted(client_side=True, accept=stubborn, max_streams=5) as (peer, connection):
        for number in range(50):
            peer.h2.send_headers(2 * number + 1, request_headers("Echo"))
            await peer.flush()
            await trio.testing.wait_all_tasks_blocked()
            peer.h2.reset_stream(2 * number + 1, ErrorCodes.CANCEL)
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        done.set()
        assert started == 10
        assert not connection.closed


async def test_stream_that_is_reset_in_the_same_breath_has_no_handler() -> None:
    started: list[int] = []

    async def note(stream: H2Stream) -> None:
        started.append(stream.id)

    async with scripted(client_side=True, accept=note, max_streams=5) as (peer, connection):
        for stream_id in (1, 3, 5, 7, 9):
            peer.h2.send_headers(stream_id, request_headers("Echo"))
            if stream_id != 5:
                peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert started == [5]
        assert not connection.streams


async def test_connection_without_handlers_refuses_streams() -> None:
    async with scripted(client_side=True) as (peer, _connection):
        peer.h2.send_headers(1, request_headers("Echo"))
        await peer.flush()
        assert (await peer.wait_for(StreamReset)).error_code == ErrorCodes.REFUSED_STREAM


async def test_sending_after_the_end_is_our_own_mistake() -> None:
    async with scripted(client_side=False) as (_peer, connection):
        stream = connection.create_stream()
        with pytest.raises(LocalProtocolError):
            await stream.send_data(b"too soon")
        await stream.send_request(request_headers("Echo"), end_stream=True)
        with pytest.raises(LocalProtocolError):
            await stream.send_data(b"too late")
        stream.close()


async def test_second_reader_of_a_stream_is_told_off() -> None:
    async with scripted(client_side=False) as (_peer, connection):
        stream = connection.create_stream()
        await stream.send_request(request_headers("Echo"))
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(StreamResetError):
                    await stream.recv_headers()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.recv_data(1)
            stream.on_reset(StreamResetError(ErrorCodes.CANCEL))


async def test_reset_by_the_server_names_its_reason() -> None:
    async with scripted(client_side=False) as (peer, connection):
        stream = connection.create_stream()
        await stream.send_request(request_headers("Echo"))
        await peer.wait_for(RequestReceived)
        peer.h2.reset_stream(1, ErrorCodes.REFUSED_STREAM)
        await peer.flush()
        with pytest.raises(StreamResetError, match="REFUSED_STREAM") as caught:
            await stream.recv_headers()
        assert caught.value.code is ErrorCodes.REFUSED_STREAM
        stream.close()


async def test_stream_ids_running_out_end_the_connection_gracefully() -> None:
    async with scripted(client_side=False) as (_peer, connection):
        connection.machine.highest_outbound_stream_id = 2**31 - 1
        with pytest.raises(ConnectionLostError, match="stream ids"):
            await connection.create_stream().send_request(request_headers("Echo"))
        await connection.wait_closed()


# -- limits


async def test_settings_announce_every_limit() -> None:
    async with scripted(client_side=True, accept=sleep_forever, max_streams=7) as (peer, connection):
        connection.close_now()
        await peer.receive_all()
        settings = peer.h2.remote_settings
        assert settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 7
        assert settings[SettingCodes.MAX_HEADER_LIST_SIZE] == limits.MAX_HEADER_LIST
        assert settings[SettingCodes.INITIAL_WINDOW_SIZE] == connection.windows.stream
        assert settings[SettingCodes.ENABLE_PUSH] == 0


BOMBS = {
    "too large": [("x-big", "v" * limits.MAX_HEADER_LIST)],
    "too many fields": [(f"x-{n}", "") for n in range(limits.MAX_HEADER_FIELDS)],
}


@pytest.mark.parametrize("more", BOMBS.values(), ids=BOMBS)
async def test_header_bomb_ends_the_connection(more: list[tuple[str, str]]) -> None:
    async with scripted(client_side=True, accept=sleep_forever) as (peer, connection):
        peer.h2.send_headers(1, request_headers("Echo", *more))
        await peer.flush()
        goodbye = await peer.wait_for(ConnectionTerminated)
        assert goodbye.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        await connection.wait_closed()


@pytest.mark.parametrize("more", BOMBS.values(), ids=BOMBS)
async def test_header_bomb_passes_where_the_limits_are_lifted(
    more: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that the test above can fail."""
    monkeypatch.setattr(limits, "MAX_HEADER_LIST", 2**20)
    monkeypatch.setattr(limits, "MAX_HEADER_FIELDS", 1000)
    async with scripted(client_side=True, accept=sleep_forever) as (peer, connection):
        peer.h2.send_headers(1, request_headers("Echo", *more))
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert 1 in connection.streams


async def test_sixty_four_fields_are_accepted() -> None:
    seen: list[int] = []

    async def count(stream: H2Stream) -> None:
        seen.append(len(stream.headers or []))

    async with scripted(client_side=True, accept=count) as (peer, _connection):
        headers = request_headers("Echo")
        headers += [(f"x-{n}", "") for n in range(limits.MAX_HEADER_FIELDS - len(headers))]
        peer.h2.send_headers(1, headers)
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [limits.MAX_HEADER_FIELDS]


@pytest.mark.parametrize("capped", [True, False], ids=["capped", "uncapped"])
async def test_peer_that_asks_without_reading_is_dropped(capped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledgements of PING pile up behind a transport that does not move (security.md row 39).

    Uncapped is the proof that this can fail.
    """
    if not capped:
        monkeypatch.setattr(limits, "OUTPUT_CAP", 2**30)
    # The guard would end it sooner.
    monkeypatch.setattr(limits, "CONTROL_BURST", 1e9)
    ours, theirs = trio.testing.memory_stream_pair()
    stuck = trio.Event()
    ours.send_stream.send_all_hook = stuck.wait
    connection = Connection(ours, client_side=False, accept=sleep_forever, keepalive=None)
    ping = b"\0\0\x08\6\0\0\0\0\0" + b"12345678"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await theirs.send_all(PREFACE + EMPTY_SETTINGS)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for _ in range(3 * limits.OUTPUT_HIGH // len(ping) // 100):
                await theirs.send_all(ping * 100)
                await trio.testing.wait_all_tasks_blocked()
        assert connection.closed == capped
        connection.close_now()
    assert ("does not read" in str(connection.error)) == capped


async def test_connection_over_tls_survives_what_memory_streams_cannot_show() -> None:
    """Real records, real partial writes: 64 calls of 200 kB at once."""
    async with over_tls([EchoService()]) as channel:
        stub = EchoStub(channel)
        payload = b"x" * 200_000

        async def call(seq: int) -> None:
            answer = await stub.Echo(Ping(seq=1000 + seq, payload=payload))
            assert (answer.seq, answer.payload) == (1000 + seq, payload)

        async with trio.open_nursery() as nursery:
            for seq in range(64):
                nursery.start_soon(call, seq)
        await wait_released(channel.connection)
