"""Asking a node by REST to begin an engine anew, or to write more to its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.buoy.control import Control
from pharos.buoy.dataplane.base import EngineError
from pharos.helm.fleet.nodes import change_node, move_node
from pharos.helm.model.nodes import NodeAct
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from tests.support.buoy import FakePlane
from tests.support.controlled import fleet
from tests.support.helm import adopt_sample_node, sample_act
from tests.support.nouns import API, operator


@pytest.fixture
def own_log() -> Iterator[logging.Logger]:
    """The log of our packages, which is this process's too."""
    log = logging.getLogger("pharos")
    level = log.level
    yield log
    log.setLevel(level)


async def test_engine_begins_anew_and_the_audit_says_by_whose_word(tmp_path: Path) -> None:
    async with fleet(tmp_path) as found:
        answer = await found.ask("restart", protocol="amneziawg")
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"id": found.node.id, "name": "amsterdam", "protocol": "amneziawg", "level": None}
        assert found.buoy.plane.restarts == 1
        (row,) = (await found.client.get(f"{API}/audit", params={"verb": "engine_restarted"})).json()["items"]
        assert (row["subject"], row["detail"]) == (found.node.id, "amsterdam: amneziawg")


async def test_node_writes_more_until_it_is_told_otherwise(tmp_path: Path, own_log: logging.Logger) -> None:
    async with fleet(tmp_path) as found:
        for level, number in (("debug", logging.DEBUG), ("info", logging.INFO)):
            answer = await found.ask("log-level", level=level)
            assert (answer.status_code, answer.json()["level"]) == (200, level)
            assert own_log.level == number
        rows = (await found.client.get(f"{API}/audit", params={"verb": "log_level_set"})).json()["items"]
        assert {row["detail"] for row in rows} == {"amsterdam: debug", "amsterdam: info"}


async def test_what_a_node_cannot_do_is_a_conflict_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(_: FakePlane, protocol: str) -> None:
        raise EngineError(f"{protocol} is inside the agent; restart that")

    async with fleet(tmp_path) as found:
        unserved = await found.ask("restart", protocol="vless-reality")
        assert (unserved.status_code, unserved.json()["detail"]) == (
            409,
            "amsterdam: no such protocol is served here",
        )
        monkeypatch.setattr(FakePlane, "restart", refuses)
        refused = await found.ask("restart", protocol="amneziawg")
        assert (refused.status_code, refused.json()["detail"]) == (
            409,
            "amsterdam: amneziawg is inside the agent; restart that",
        )


async def test_node_of_an_earlier_version_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unimplemented(_: Control, stream: Stream[pb.RestartRequest, pb.RestartReply]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED, "unknown method")

    monkeypatch.setattr(Control, "Restart", unimplemented)
    async with fleet(tmp_path) as found:
        answer = await found.ask("restart", protocol="amneziawg")
        assert (answer.status_code, "upgrade it" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("act", "body"),
    [
        ("restart", {}),
        ("restart", {"protocol": "network"}),
        ("restart", {"protocol": "amneziawg", "unit": "ssh.service"}),
        ("log-level", {"level": "trace"}),
        ("log-level", {"protocol": "amneziawg"}),
    ],
)
async def test_what_is_no_such_order_is_a_bad_request(tmp_path: Path, act: str, body: dict[str, str]) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        assert (await client.post(f"{API}/nodes/{node.id}/{act}", json=body)).status_code == 400


async def test_node_that_is_away_or_revoked_or_not_there_is_told_apart(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        moved = {"address": "127.0.0.1", "control_port": 1}
        await helm.store.run(change_node, sample_act(), node.id, node.version, moved)
        restart = f"{API}/nodes/{node.id}/restart"
        away = await client.post(restart, json={"protocol": "amneziawg"})
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        await helm.store.run(move_node, sample_act(), node.id, node.version + 1, NodeAct.REVOKE)
        revoked = await client.post(restart, json={"protocol": "amneziawg"})
        assert (revoked.status_code, "revoked" in revoked.json()["detail"]) == (409, True)
        assert (await client.post(f"{API}/nodes/nobody/log-level", json={"level": "info"})).status_code == 404


async def test_the_apis_description_has_both(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        paths = (await client.get(f"{API}/openapi.json")).json()["paths"]
    for act in ("restart", "log-level"):
        described = paths[f"{API}/nodes/{{record_id}}/{act}"]["post"]
        assert {"200", "400", "404", "409", "503"} <= described["responses"].keys()
        assert described["tags"] == ["nodes"]
