"""The tunnel listener: how many it takes, and how long one may take to say hello."""

from __future__ import annotations

import datetime
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from pharos.beacon import tunnel
from pharos.beacon.tunnel import run_tunnel, serve_tunnel
from pharos.beacon.upstream import Upstreams
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


async def test_helm_that_comes_back_finds_room_beside_its_former_self(tmp_path: Path) -> None:
    async with listening(tmp_path) as listener:
        former = [await listener.dial() for _ in range(12)]
        # Nobody has noticed yet that it died.
        again = [await listener.dial() for _ in range(4)]
        with pytest.raises(LinkLostError):
            await listener.dial()
        assert not any(connection.closed for connection in former + again)
        former[0].close_now()
        await former[0].wait_closed()
        while True:
            try:
                await listener.dial()
            except LinkLostError:
                continue
            break


async def test_tunnels_are_bounded_by_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weakened listener takes them all."""
    monkeypatch.setattr(tunnel, "MAX_TUNNELS", 1_000)
    async with listening(tmp_path) as listener:
        for _ in range(20):
            await listener.dial()


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
