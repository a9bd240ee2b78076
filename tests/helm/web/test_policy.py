"""What devices may reach through a node: by the node's own word, by what helm knows, and for settings to be tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.buoy.control import Control
from pharos.helm.model.admins import Role
from pharos.helm.web.app import make_loopback_app
from pharos.wire.desired import Policy
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.nfttext import nft_text
from tests.support.controlled import fleet
from tests.support.helm import adopt_sample_node, open_helm
from tests.support.http import asking
from tests.support.netplans import PLAN
from tests.support.nouns import API, operator
from tests.support.signin import sign_in

DEFAULT = {"internet": True, "peer_to_peer": False, "closed": [], "resolvers": []}


async def ask(client: httpx.AsyncClient, node_id: str, **wanted: Any) -> Any:
    path = f"{API}/nodes/{node_id}/policy"
    answer = await (client.post(f"{path}/preview", json=wanted) if wanted else client.get(path))
    assert answer.status_code == 200, answer.text
    return answer.json()


def lines(rules: str) -> set[str]:
    return {line.strip() for line in rules.splitlines()}


async def test_rules_are_those_of_the_plan_that_the_node_holds(tmp_path: Path) -> None:
    async with fleet(tmp_path) as at:
        at.buoy.plane.network = PLAN
        shown = await ask(at.client, at.node.id)
        assert (shown["settings"], shown["assumed"]) == (DEFAULT, None)
        # The settings are the record's, whatever the node was told last; all else is the machine's.
        assert shown["rules"] == nft_text(attrs.evolve(PLAN, policy=Policy()))
        assert 'oifname { "eth0", "eth1" } accept' in lines(shown["rules"])


async def test_preview_shows_what_other_settings_would_change_and_changes_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path) as at:
        at.buoy.plane.network = PLAN
        now = await ask(at.client, at.node.id)
        tried = await ask(at.client, at.node.id, peer_to_peer=True, closed=["192.168.0.0/16"], resolvers=["9.9.9.9"])
        assert tried["settings"] == DEFAULT | {
            "peer_to_peer": True,
            "closed": ["192.168.0.0/16"],
            "resolvers": ["9.9.9.9"],
        }
        assert 'oifname { "awg0", "awg1" } accept' in lines(tried["rules"]) - lines(now["rules"])
        assert 'oifname { "awg0", "awg1" } goto refused' in lines(now["rules"]) - lines(tried["rules"])
        assert "elements = { 192.168.0.0/16 }" in lines(tried["rules"])
        assert await ask(at.client, at.node.id) == now
        settings = (await at.client.get(f"{API}/settings")).json()["items"]
        assert {one["version"] for one in settings if one["id"].startswith("policy.")} == {0}


async def test_settings_that_were_set_are_shown_and_a_preview_goes_on_from_them(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority, address="127.0.0.1", control_port=1)
        headers = {"If-Match": '"0"'}
        await client.put(f"{API}/settings/policy.internet", json={"value": False}, headers=headers)
        shown = await ask(client, node.id)
        assert shown["settings"]["internet"] is False
        assert (await ask(client, node.id, peer_to_peer=True))["settings"]["internet"] is False
        assert "does not answer" in shown["assumed"]
        assert "10." in shown["rules"], "the fleet's own networks are known without the node"


async def test_pool_in_a_spelling_of_its_own_is_a_network_like_any_other(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority, address="127.0.0.1", control_port=1)
        await helm.store.run(lambda db: db.execute("UPDATE pools SET network6 = 'fdc6:0d0c:a6cc:0f57::/64'"))
        assert "fc00::/7" in (await ask(client, node.id))["rules"], "which it is a part of"


async def test_node_that_keeps_no_rules_or_is_of_an_earlier_version_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(tmp_path) as at:
        shown = await ask(at.client, at.node.id)
        assert shown["assumed"] == "amsterdam has put no rules in force"

    async def unimplemented(_: Control, stream: Stream[pb.NetworkRequest, pb.NetworkReply]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED, "unknown method")

    monkeypatch.setattr(Control, "ShowNetwork", unimplemented)
    (tmp_path / "again").mkdir()
    async with fleet(tmp_path / "again") as at:
        assert "upgrade it" in (await ask(at.client, at.node.id))["assumed"]


async def test_rules_that_are_none_are_not_shown_as_a_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lies(_: Control, stream: Stream[pb.NetworkRequest, pb.NetworkReply]) -> None:
        await stream.recv_message()
        await stream.send_message(pb.NetworkReply(plan=b'{"interfaces": ["eth0"]}'))

    monkeypatch.setattr(Control, "ShowNetwork", lies)
    async with fleet(tmp_path) as at:
        shown = await ask(at.client, at.node.id)
        assert "rules that are none" in shown["assumed"]
        assert shown["rules"].startswith("table inet pharos {\n")


async def test_node_is_asked_seldom_however_often_somebody_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    told = Control.ShowNetwork

    async def counting(self: Control, stream: Stream[pb.NetworkRequest, pb.NetworkReply]) -> None:
        asked.append(1)
        await told(self, stream)

    monkeypatch.setattr(Control, "ShowNetwork", counting)
    async with fleet(tmp_path) as at:
        at.buoy.plane.network = PLAN
        for internet in (True, False, True):
            await ask(at.client, at.node.id, internet=internet)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "wanted",
    [
        {"internet": "yes"},
        {"closed": ["192.168.0.1/16"]},
        {"closed": "192.168.0.0/16"},
        {"resolvers": ["dns.example"]},
        {"resolvers": ["9.9.9.9", "9.9.9.9"]},
        {"firewall": True},
    ],
)
async def test_setting_that_could_not_be_set_is_not_previewed(tmp_path: Path, wanted: dict[str, Any]) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        assert (await client.post(f"{API}/nodes/{node.id}/policy/preview", json=wanted)).status_code == 400


async def test_viewer_sees_the_policy_and_nobody_else_s_node(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority, address="127.0.0.1", control_port=1)
        async with asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
            path = f"{API}/nodes/{node.id}/policy"
            assert (await client.get(path)).status_code == 401
            headers = await sign_in(helm.context, role=Role.VIEWER)
            assert (await client.get(path, headers=headers)).status_code == 200
            assert (await client.get(f"{API}/nodes/nobody/policy", headers=headers)).status_code == 404
