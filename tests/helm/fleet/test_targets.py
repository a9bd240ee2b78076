"""Looking at a site from helm's machine and from a node of the fleet."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.buoy.control import Control, serve_control
from pharos.buoy.events import EventFeed
from pharos.buoy.targets import TargetDesk
from pharos.helm.errors import ConflictError, InvalidRequestError, NodeAwayError
from pharos.helm.fleet.targets import look_from_here, look_from_node, read_target
from pharos.helm.model.nodes import Node
from pharos.wire.agent import AgentKeys
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.pki.roles import Role
from pharos.wire.reality.routing import Routes
from pharos.wire.reality.target import CheckLimits
from pharos.wire.reality.targetreport import Check, Verdict
from tests.support.agents import joined
from tests.support.buoy import make_buoy
from tests.support.helm import SampleHelm, adopt_sample_node, now, open_helm
from tests.support.pki import utc_now
from tests.support.sites import HOST, SITE_NAME, running_tls, site_context, trust_of_the_system, trusting

LOOPBACK = Routes(allowed=(ipaddress.ip_network("127.0.0.0/8"),))
NAMES = (SITE_NAME,)


@attrs.frozen
class Fleet:
    helm: SampleHelm
    node: Node

    async def look(self, port: int = 443, node: Node | None = None) -> object:
        return await look_from_node(self.helm.authority, node or self.node, HOST, port, NAMES)


@asynccontextmanager
async def fleet(tmp_path: Path, desk: TargetDesk | None = None) -> AsyncIterator[Fleet]:
    """helm and a node that serves its control port; by default it may look at this machine."""
    for name in ("helm", "buoy"):
        (tmp_path / name).mkdir(mode=0o700)
    desk = desk or TargetDesk(routes=LOOPBACK, trust=trusting(), limits=CheckLimits(connect=30, visit=30, whole=60))
    async with open_helm(tmp_path / "helm") as helm, trio.open_nursery() as nursery:
        keys = AgentKeys(tmp_path / "buoy", Role.NODE)
        node, grant = await helm.store.run(
            lambda db: adopt_sample_node(db, helm.authority, request=keys.make_request())
        )
        buoy = make_buoy(tmp_path / "buoy", keys=keys, membership=keys.install(grant, now=now()))
        serve = functools.partial(serve_control, buoy.node, EventFeed(), host=HOST, port=0, targets=desk)
        host, port = await nursery.start(serve)
        yield Fleet(helm, attrs.evolve(node, address=host, control_port=port))
        nursery.cancel_scope.cancel()


async def test_a_node_looks_and_helm_hears_what_it_saw(tmp_path: Path) -> None:
    async with fleet(tmp_path) as found, running_tls(site_context(SITE_NAME)) as port:
        report = await look_from_node(found.helm.authority, found.node, HOST, port, NAMES)
    assert report.usable
    assert (report.address, report.port, report.names) == (HOST, port, NAMES)
    assert report.round_trip is not None
    assert Check.CERTIFICATE in {finding.check for finding in report.findings}


async def test_a_node_refuses_what_is_not_of_the_internet(tmp_path: Path) -> None:
    async with fleet(tmp_path, TargetDesk(trust=trusting())) as found:
        report = await look_from_node(found.helm.authority, found.node, "10.0.0.1", 22, NAMES)
    assert [(finding.check, finding.verdict) for finding in report.findings] == [(Check.ADDRESS, Verdict.FORBIDS)]


async def test_a_node_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    async with fleet(tmp_path) as found:
        pass
    with pytest.raises(NodeAwayError, match="node amsterdam does not answer"):
        await found.look()


async def test_a_node_that_has_looked_too_often_says_so(tmp_path: Path) -> None:
    async with fleet(tmp_path, TargetDesk(trust=trusting())) as found:
        for _ in range(6):
            await found.look()
        with pytest.raises(NodeAwayError, match="amsterdam: this node has looked at many sites"):
            await found.look()


async def test_another_machine_in_the_nodes_place_is_not_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as found:
        (tmp_path / "other").mkdir(mode=0o700)
        keys = joined(tmp_path / "other", name="node-1")
        stranger = make_buoy(tmp_path / "other", keys=keys, membership=keys.membership(now=utc_now()))
        async with trio.open_nursery() as nursery:
            serve = functools.partial(serve_control, stranger.node, EventFeed(), host=HOST, port=0)
            _, port = await nursery.start(serve)
            with pytest.raises((NodeAwayError, ConflictError)):
                await found.look(node=attrs.evolve(found.node, control_port=port))
            nursery.cancel_scope.cancel()


async def test_a_node_of_an_earlier_version_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unimplemented(_: Control, stream: Stream[pb.CheckTargetRequest, pb.CheckTargetReply]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED, "unknown method")

    monkeypatch.setattr(Control, "CheckTarget", unimplemented)
    async with fleet(tmp_path) as found:
        with pytest.raises(ConflictError, match="upgrade it"):
            await found.look()


async def test_helm_looks_by_the_trust_of_its_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with running_tls(site_context(SITE_NAME)) as port:
        doubted = await look_from_here(HOST, port, NAMES)
        trust_of_the_system(monkeypatch, tmp_path)
        believed = await look_from_here(HOST, port, NAMES)
    assert (doubted.usable, believed.usable) == (False, True)


@pytest.mark.parametrize(
    ("target", "names"), [("site.test", []), ("site.test:0", []), ("203.0.113.9:443", []), ("site.test:443", ["*.x"])]
)
def test_what_is_no_target_is_said_to_be_none(target: str, names: list[str]) -> None:
    with pytest.raises(InvalidRequestError):
        read_target(target, names)
