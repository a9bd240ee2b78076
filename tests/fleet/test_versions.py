"""A fleet of two versions: an older program misses nothing, and nothing that it is told of harms it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpclib.const
import pytest
import trio
from google.protobuf.message import Message
from sqlite_utils import Migrations

import pharos
from pharos.helm.backup.revert import revert
from pharos.helm.errors import NewerDatabaseError
from pharos.helm.store import database
from pharos.helm.store.migrations import core_migrations
from pharos.wire.gen.pharos.account.v1.account_grpc import AccountBase, EnrolmentBase
from pharos.wire.gen.pharos.buoy.v1.control_grpc import ControlBase
from pharos.wire.gen.pharos.relay.v1.orders_grpc import OrdersBase
from tests.support.figures import Fault, record
from tests.support.fleet import Fleet, running_fleet
from tests.support.helm import sample_act
from tests.support.wireversions import Vocabulary, frozen, frozen_versions, without

# What nodes learnt last: one that stands before it has no other word for it than silence.
RECENT = (
    *(f"pharos.buoy.v1.StatusReply.{name}" for name in ("token", "summary", "reality", "engines", "machine")),
    *("pharos.buoy.v1.StatusReply.throttles", "pharos.buoy.v1.PushRequest.reality"),
    *("pharos.buoy.v1.EventBatch.resume", "pharos.buoy.v1.WatchRequest.resume", "pharos.buoy.v1.Lease.earlier"),
    *("pharos.buoy.v1.Peer.protocols", "pharos.buoy.v1.Peer.quota_throttle_bps", "pharos.buoy.v1.Endpoint.reality"),
    *(f"pharos.buoy.v1.Control/{name}" for name in ("CheckTarget", "Restart", "SetLogLevel")),
)


class Narrowed:
    """A class of messages of which only what another version knows arrives."""

    def __init__(self, message: type[Message], vocabulary: Vocabulary) -> None:
        self.DESCRIPTOR = message.DESCRIPTOR
        self._message, self._vocabulary = message, vocabulary

    def FromString(self, data: bytes) -> Message:  # noqa: N802 -- protobuf's name
        return self._message.FromString(self._vocabulary.without_the_unknown(self._message.FromString(data)))


def narrowed(handler: grpclib.const.Handler, vocabulary: Vocabulary) -> grpclib.const.Handler:
    async def serve(stream: Any) -> None:
        send = stream.send_message

        async def send_narrowed(message: Message, **more: Any) -> None:
            await send(type(message).FromString(vocabulary.without_the_unknown(message)), **more)

        stream.send_message = send_narrowed
        await handler.func(stream)

    asked: Any = Narrowed(handler.request_type, vocabulary)
    return handler._replace(func=serve, request_type=asked)


@pytest.fixture
def speaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Vocabulary], None]:
    """Return a function from which on one end of each conversation is of another version: buoy, beacon and device.

    It stands where a service is served, and takes from what is asked and what is answered all that a program built from
    that version's protos would not find there, or not send.
    """

    def begin(vocabulary: Vocabulary) -> None:
        for base in (ControlBase, OrdersBase, EnrolmentBase, AccountBase):
            whole = base.__mapping__

            def mapping(self: Any, whole: Any = whole) -> dict[str, grpclib.const.Handler]:
                known = {path: handler for path, handler in whole(self).items() if vocabulary.knows(path)}
                return {path: narrowed(handler, vocabulary) for path, handler in known.items()}

            monkeypatch.setattr(base, "__mapping__", mapping)

    return begin


FUTURE = 4_000_000_000_000_000


async def node_id(fleet: Fleet) -> str:
    found: str = (await fleet.ask("GET", "/api/v1/nodes"))["items"][0]["id"]
    return found


async def lives(folder: Path, *, reality: bool) -> dict[str, Any]:
    """Have a fleet do what a fleet does; return helm's last picture of its node."""
    async with running_fleet(folder, reality=reality) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        async with fleet.client() as client:
            await client.sync()
            async with client.connect() as tunnel:
                await tunnel.wait_up(10)
                # What an upgrade's gate looks at.
                health = await fleet.ask("GET", f"/api/v1/nodes/{await node_id(fleet)}/health")
                assert (health["answers"], health["settled"], health["tunnels"]) == (True, True, 1)
                assert health["version"] == pharos.__version__
                later = await fleet.ask("GET", f"/api/v1/nodes/{await node_id(fleet)}/health?since={FUTURE}")
                assert later["tunnels"] == 0
        # What is ordered of an existing peer goes over the same wire, and so does taking it away.
        await fleet.move_device("laptop", "revoke")
        await fleet.wait_settled(peers=0)
        await fleet.buoys["a"].stop()
        await fleet.wait_status(lambda picture: picture["nodes"][0]["link"] != "up")
        await fleet.buoys["a"].start()
        await fleet.wait_settled(peers=0)
        node: dict[str, Any] = (await fleet.ask("GET", "/api/v1/status"))["nodes"][0]
    return node


@pytest.mark.parametrize("version", frozen_versions())
async def test_fleet_of_todays_helm_and_frozen_agents_lives(
    tmp_path: Path, speaking: Callable[[Vocabulary], None], version: str
) -> None:
    speaking(Vocabulary(frozen(version)))
    node = await lives(tmp_path, reality=True)
    assert node["agent_version"] == pharos.__version__
    record(Fault.MIXED_VERSIONS, f"steps of a fleet's life that failed with agents of {version}", 0)


async def test_node_that_never_heard_of_what_came_last_is_served_without_it(
    tmp_path: Path, speaking: Callable[[Vocabulary], None]
) -> None:
    speaking(Vocabulary(without(frozen(frozen_versions()[0]), *RECENT)))
    node = await lives(tmp_path, reality=False)
    assert (node["engines"], node["machine"]) == ([], None)


async def test_helm_that_went_back_commands_the_fleet_that_the_newer_one_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The copy knows nothing of the newer helm's lease, and the node waits for the end of that.
    monkeypatch.setattr("pharos.helm.fleet.lease.LEASE", 1)
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        await fleet.helm.stop()
        newer = Migrations(core_migrations.name)
        newer._migrations = [*core_migrations._migrations]
        newer(name="m0901_colour")(lambda db: db.execute("ALTER TABLE fleet ADD COLUMN colour TEXT"))
        with monkeypatch.context() as version:
            version.setattr(database, "core_migrations", newer)
            await fleet.helm.start()
            # Its relay too has to be up before somebody joins by it.
            await fleet.wait_settled(peers=1)
            await fleet.enrol("of the newer one")
            await fleet.wait_settled(peers=2)
            await fleet.helm.stop()
        with pytest.raises(NewerDatabaseError, match="helm revert --state"):
            await fleet.helm.run_once()
        reverted = await trio.to_thread.run_sync(revert, fleet.helm_state, sample_act())
        assert [path.name for path in reverted.copies.values()] == ["before-m0901-core.db"]
        await fleet.helm.start()
        # The nodes obey it, and who came meanwhile keeps the tunnel until somebody decides.
        await fleet.wait_settled(peers=2)
        (stranger,) = (await fleet.ask("GET", "/api/v1/adoptions"))["items"]
        assert stranger["state"] == "waiting"
        await fleet.move_device("laptop", "revoke")
        await fleet.wait_settled(peers=1)
    caplog.clear()
