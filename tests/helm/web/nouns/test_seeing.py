"""A look at a member over mTLS by REST: it is itself and says how it is, or it is somebody else, or it is away."""

from __future__ import annotations

from pathlib import Path

from pharos.helm.fleet.nodes import move_node
from pharos.helm.model.nodes import NodeAct
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from tests.helm.web.nouns.test_control import fleet
from tests.support.helm import adopt_sample_node, adopt_sample_relay, sample_act
from tests.support.nouns import API


async def test_node_says_how_it_is_and_is_told_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path) as here:
        answer = await here.ask("see")
        seen = answer.json()
        assert (answer.status_code, seen["ordered"], seen["reality_port"]) == (200, False, 0)
        assert seen["version"] == (await here.buoy.node.report()).version
        record = await here.helm.store.read(get_record, NODES, here.node.id)
        await here.helm.store.run(move_node, sample_act(), record.id, record.version, NodeAct.REVOKE)
        assert (await here.ask("see")).status_code == 409


async def test_who_answers_in_a_members_place_is_not_taken_for_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as here:
        current = (await here.client.get(f"{API}/nodes/{here.node.id}")).json()
        where = {"address": current["address"], "control_port": current["control_port"]}
        other, _ = await here.helm.store.run(adopt_sample_node, here.helm.authority, "bergen", **where)
        assert (await here.client.post(f"{API}/nodes/{other.id}/see")).status_code == 409
        relay, _ = await here.helm.store.run(adopt_sample_relay, here.helm.authority)
        body = {"address": where["address"], "tunnel_port": where["control_port"]}
        path = f"{API}/relays/{relay.id}"
        headers = {"If-Match": f'"{relay.version}"'}
        assert (await here.client.patch(path, json=body, headers=headers)).status_code == 200
        assert (await here.client.post(f"{path}/see")).status_code == 409


async def test_member_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    async with fleet(tmp_path) as here:
        # Nobody listens on the ports of the samples.
        relay, _ = await here.helm.store.run(adopt_sample_relay, here.helm.authority)
        answer = await here.client.post(f"{API}/relays/{relay.id}/see")
        assert (answer.status_code, "does not answer" in answer.text) == (503, True)
        assert (await here.client.post(f"{API}/nodes/nobody/see")).status_code == 404
