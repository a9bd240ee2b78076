"""Ending a session by REST: the node does it, the audit says by whose word, and what cannot be is told apart."""

from __future__ import annotations

import time
from pathlib import Path

import attrs
import httpx
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.buoy.control import Control
from pharos.helm.fleet.nodes import change_node, move_node
from pharos.helm.model.admins import Role
from pharos.helm.model.nodes import NodeAct
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.sessions import apply_events
from pharos.helm.web.app import make_loopback_app
from pharos.wire.desired import Fence, Push
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId
from tests.support.controlled import Fleet, fleet
from tests.support.helm import SampleHelm, adopt_sample_node, enrol_sample_device, open_helm, sample_act
from tests.support.http import asking
from tests.support.nouns import API, operator
from tests.support.signin import sign_in
from tests.support.strategies import parameters_of, peer_of

HOUR = 3_600_000_000


async def connect(helm: SampleHelm, node_id: NodeId, device_id: DeviceId, *, ago: int = 0) -> str:
    """Let a device have shaken hands with a node; give the session's id."""
    at = time.time_ns() // 1_000 - ago
    one = NodeEvent(at=at, kind="handshake", node_id=node_id, device_id=device_id, detail="198.51.100.4:1")
    await helm.store.record(lambda db: apply_events(db, add_events(db, [one])))
    found: str = (await helm.store.read_telemetry(lambda db: db.execute("SELECT id FROM sessions").fetchone()))[0]
    return found


async def serve(at: Fleet) -> DeviceId:
    """Have the node serve a device that is in the record."""
    phone = await at.helm.store.run(enrol_sample_device, 1, "phone")
    peer = attrs.evolve(peer_of(1), device_id=phone.id)
    await at.buoy.node.push(Push(fence=Fence(1, 1, 1), snapshot=True, upsert=(peer,), awg=parameters_of(1)))
    return phone.id


async def end(client: httpx.AsyncClient, session_id: str) -> httpx.Response:
    return await client.post(f"{API}/sessions/{session_id}/end")


async def test_node_ends_the_session_and_the_audit_says_by_whose_word(tmp_path: Path) -> None:
    async with fleet(tmp_path) as at:
        phone = await serve(at)
        session = await connect(at.helm, at.node.id, phone)
        answer = await end(at.client, session)
        assert (answer.status_code, answer.content) == (204, b"")
        assert at.buoy.plane.ended == [phone]
        (row,) = (await at.client.get(f"{API}/audit", params={"verb": "session_ended"})).json()["items"]
        assert (row["subject"], row["detail"]) == (session, "phone at amsterdam")


async def test_device_that_the_node_does_not_serve_has_no_session_to_end(tmp_path: Path) -> None:
    async with fleet(tmp_path) as at:
        session = await connect(at.helm, at.node.id, DeviceId("gone"))
        answer = await end(at.client, session)
        assert (answer.status_code, answer.json()["detail"]) == (
            409,
            "amsterdam: the device is not served here now",
        )


async def test_node_of_an_earlier_version_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unimplemented(_: Control, stream: Stream[pb.EndSessionRequest, pb.EndSessionReply]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED, "unknown method")

    monkeypatch.setattr(Control, "EndSession", unimplemented)
    async with fleet(tmp_path) as at:
        answer = await end(at.client, await connect(at.helm, at.node.id, await serve(at)))
        assert (answer.status_code, "cannot end sessions; upgrade it" in answer.json()["detail"]) == (409, True)


async def test_session_that_is_over_or_unknown_or_at_a_node_that_is_away_is_told_apart(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        moved = {"address": "127.0.0.1", "control_port": 1}
        await helm.store.run(change_node, sample_act(), node.id, node.version, moved)
        assert (await end(client, "nobody")).status_code == 404
        over = await end(client, await connect(helm, node.id, DeviceId("laptop"), ago=HOUR))
        assert (over.status_code, over.json()["detail"]) == (409, "this session has ended already")
        await helm.store.record(lambda db: db.execute("DELETE FROM sessions"))
        session = await connect(helm, node.id, DeviceId("phone"))
        away = await end(client, session)
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        await helm.store.run(move_node, sample_act(), node.id, node.version + 1, NodeAct.REVOKE)
        revoked = await end(client, session)
        assert (revoked.status_code, "revoked" in revoked.json()["detail"]) == (409, True)


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.OPERATOR, 404)])
async def test_ending_a_session_takes_an_operator(tmp_path: Path, role: Role, status: int) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        headers = await sign_in(helm.context, role=role)
        answer = await client.post(f"{API}/sessions/nobody/end", headers=headers)
        assert answer.status_code == status, answer.text


async def test_the_apis_description_has_it(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        paths = (await client.get(f"{API}/openapi.json")).json()["paths"]
    described = paths[f"{API}/sessions/{{session_id}}/end"]["post"]
    assert {"404", "409", "503"} <= described["responses"].keys()
