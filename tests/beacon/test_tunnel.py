"""The tunnel listener: how many it takes, how long one may take to say hello, and what happens when helm comes back."""

from __future__ import annotations

import contextlib
import datetime
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError

from pharos.beacon import upstream
from pharos.beacon.tunnel import SUPERSEDED_TIME, run_tunnel, serve_tunnel
from pharos.beacon.upstream import MAX_TUNNELS, SETTLE_TIME, Upstreams
from pharos.wire.errors import LinkLostError
from pharos.wire.pki.roles import Role
from pharos.wire.pki.tls import client_context
from pharos.wire.rpc.flow import TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.limits import PREFACE_TIMEOUT
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.status import leaves
from pharos.wire.rpc.transport import open_tls
from pharos.wire.standing import Standing
from tests.support.agents import joined
from tests.support.pki import home_fleet
from tests.support.relay import echo, passage_headers
from tests.support.rpc import HOST


@attrs.frozen
class Listening:
    """A tunnel listener on loopback, and helms that dial it."""

    upstreams: Upstreams
    port: int
    nursery: trio.Nursery

    async def dial(self) -> Connection:
        """Open one tunnel as helm does; it is up.

        Raises: LinkLostError — the beacon refuses it.
        """
        fleet = home_fleet()
        relay = fleet.identity(Role.RELAY, "gate")
        context = client_context(trust=fleet.trust, credentials=fleet.member(Role.CONTROLLER))
        stream = await open_tls(HOST, self.port, context, server_hostname=relay.dns_name or "")
        connection = Connection(stream, client_side=False, windows=TUNNEL)
        self.nursery.start_soon(connection.run)
        await connection.wait_up()
        return connection


@asynccontextmanager
async def listening(state: Path) -> AsyncIterator[Listening]:
    membership = joined(state, Role.RELAY, "gate").membership(now=datetime.datetime.now(datetime.UTC))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            upstreams = Upstreams()
            serve = functools.partial(serve_tunnel, upstreams, standing=Standing(membership), host=HOST, port=0)
            _, port = await nursery.start(serve)
            yield Listening(upstreams, port, nursery)
            nursery.cancel_scope.cancel()


async def test_newest_tunnel_is_taken_and_one_too_many_ends(tmp_path: Path) -> None:
    async with listening(tmp_path) as listener:
        tunnels = [await listener.dial() for _ in range(MAX_TUNNELS)]
        while len(listener.upstreams) < MAX_TUNNELS:
            await trio.lowlevel.checkpoint()
        newest = await listener.dial()
        await wait_any_closed(tunnels)
        assert sum(connection.closed for connection in tunnels) == 1
        assert not newest.closed


async def wait_any_closed(connections: list[Connection]) -> None:
    async with trio.open_nursery() as nursery:

        async def watch(connection: Connection) -> None:
            await connection.wait_closed()
            nursery.cancel_scope.cancel()

        for connection in connections:
            nursery.start_soon(watch, connection)


async def test_tunnels_are_bounded_by_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weakened listener takes them all."""
    monkeypatch.setattr(upstream, "MAX_TUNNELS", 1_000)
    async with listening(tmp_path) as listener:
        tunnels = [await listener.dial() for _ in range(MAX_TUNNELS + 4)]
        while len(listener.upstreams) < len(tunnels):
            await trio.lowlevel.checkpoint()
        assert not any(connection.closed for connection in tunnels)


# -- helm comes back


@attrs.define(eq=False)
class Helms:
    """Helms that dial one beacon over memory streams."""

    nursery: trio.Nursery
    upstreams: Upstreams = attrs.field(factory=Upstreams)
    ended: list[str] = attrs.field(factory=list)

    async def die(self, name: str) -> None:
        """Say hello and never a word again, as a machine that lost its power: its connection is still there."""
        theirs, ours = trio.testing.memory_stream_pair()
        # SETTINGS (RFC 9113 §6.5), which a server begins with.
        await theirs.send_all(b"\0\0\0\4\0\0\0\0\0")
        self.nursery.start_soon(self._run, name, ours, None)
        await trio.testing.wait_all_tasks_blocked()

    async def live(self, name: str, run: str | None = None) -> Connection:
        """Serve passages on one tunnel, which says to which ``run`` it belongs."""
        theirs, ours = trio.testing.memory_stream_pair()
        helm = Connection(theirs, client_side=False, windows=TUNNEL, accept=echo, keepalive=None)
        self.nursery.start_soon(helm.run)
        self.nursery.start_soon(self._run, name, ours, run)
        await trio.testing.wait_all_tasks_blocked()
        return helm

    async def _run(self, name: str, stream: trio.abc.Stream, run: str | None) -> None:
        async def attend(connection: Connection) -> None:
            if run is not None:
                self.upstreams.announce(connection, run)
            await trio.sleep_forever()

        await run_tunnel(self.upstreams, stream, peer=Peer(), attend=attend)
        self.ended.append(name)

    @property
    def passages(self) -> list[int]:
        return [tunnel.passages for tunnel in self.upstreams._tunnels]

    def hold(self) -> None:
        """Hold a passage until its tunnel ends."""

        async def stay() -> None:
            async with self.upstreams.place() as connection:
                stream = connection.create_stream()
                await stream.send_request(passage_headers())
                with contextlib.suppress(StreamTerminatedError):
                    await stream.recv_data(1)
                stream.close()

        self.nursery.start_soon(stay)


@pytest.mark.parametrize(("settles", "ends_after"), [(SETTLE_TIME, SETTLE_TIME), (1_000.0, 45.0)])
async def test_helm_that_comes_back_does_not_wait_for_its_former_self_to_be_found_dead(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    settles: float,
    ends_after: float,
) -> None:
    """Without its return being noticed, three PINGs have to be missed: 45 s."""
    monkeypatch.setattr(upstream, "SETTLE_TIME", settles)
    helms = Helms(nursery)
    for number in range(3):
        await helms.die(f"dead {number}")
    await trio.sleep(1)
    back = await helms.live("back")
    also = await helms.live("back, too")
    began = trio.current_time()
    # At once the newest has all that comes.
    for _ in range(4):
        helms.hold()
    await trio.testing.wait_all_tasks_blocked()
    assert helms.passages == [0, 0, 0, 2, 2]
    await trio.sleep_until(began + ends_after - 2)
    assert helms.ended == []
    await trio.sleep(4)
    assert sorted(helms.ended) == ["dead 0", "dead 1", "dead 2"]
    assert not back.closed
    assert not also.closed


async def test_passages_of_a_superseded_helm_have_a_moment_and_then_move(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    helms = Helms(nursery)
    old = await helms.live("old", "0" * 16)
    idle = await helms.live("old and idle", "0" * 16)
    helms.hold()
    await trio.testing.wait_all_tasks_blocked()
    assert helms.passages == [1, 0]
    began = trio.current_time()
    await helms.live("new", "1" * 16)
    helms.hold()
    await trio.testing.wait_all_tasks_blocked()
    assert helms.passages == [1, 0, 1]
    assert not old.closed
    await old.wait_closed()
    assert trio.current_time() - began == pytest.approx(SUPERSEDED_TIME, abs=1)
    await trio.testing.wait_all_tasks_blocked()
    # The one without passages may stay: its helm would only dial again.
    assert (helms.passages, idle.closed) == ([0, 1], False)


@pytest.mark.parametrize("said", [b"", b"\0\0\0\4\0\0\0", b"\0\0\10\6\0\0\0\0\0" + bytes(8)])
async def test_helm_that_sends_no_settings_is_left_after_ten_seconds(
    autojump_clock: trio.testing.MockClock, said: bytes
) -> None:
    helms, ours = trio.testing.memory_stream_pair()
    upstreams, started = Upstreams(), trio.current_time()
    await helms.send_all(said)
    with trio.fail_after(PREFACE_TIMEOUT + 20), pytest.raises(BaseExceptionGroup) as caught:
        await run_tunnel(upstreams, ours, peer=Peer())
    (error,) = leaves(caught.value)
    assert isinstance(error, LinkLostError)
    assert trio.current_time() - started <= PREFACE_TIMEOUT + 1
    assert len(upstreams) == 0


async def test_tunnel_is_offered_when_its_settings_have_come_and_not_after_its_goodbye() -> None:
    helms, ours = trio.testing.memory_stream_pair()
    upstreams = Upstreams()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(functools.partial(run_tunnel, upstreams, ours, peer=Peer()))
        await trio.testing.wait_all_tasks_blocked()
        assert len(upstreams) == 0
        stay = trio.Event()

        async def accept(_stream: object) -> None:
            await stay.wait()

        helm = Connection(helms, client_side=False, windows=TUNNEL, accept=accept, keepalive=None)
        nursery.start_soon(helm.run)
        await trio.testing.wait_all_tasks_blocked()
        (offered,) = upstreams._tunnels
        assert offered.has_place
        stream = offered.connection.create_stream()
        await stream.send_request([(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "helm")])
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(helm.drain, 60)
        await trio.testing.wait_all_tasks_blocked()
        assert (offered.has_place, offered.connection.closed) == (False, False)
        stream.close()
        await offered.connection.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert len(upstreams) == 0
