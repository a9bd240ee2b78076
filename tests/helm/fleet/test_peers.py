"""What is brought up to date device by device is what a reading anew would give, whatever happened in between."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pharos.helm.accounts.devices import move_device
from pharos.helm.accounts.users import add_group, add_user, join_group, leave_group
from pharos.helm.fleet import desired as module
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.nodes import change_node
from pharos.helm.model.devices import DeviceAct, DeviceState
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.wire.ids import DeviceId, NodeId
from tests.support.helm import (
    SampleHelm,
    adopt_sample_node,
    enrol_sample_device,
    open_helm,
    revoke_sample_device,
    sample_act,
)

NODES = ("eu-1", "eu-2", "us-1")


async def prepared(helm: SampleHelm) -> tuple[list[NodeId], list[str | None], str]:
    """Three nodes; one user for Europe, one for America, one for nothing, and devices of nobody."""
    nodes = [(await helm.store.run(adopt_sample_node, helm.authority, name))[0] for name in NODES]

    def write(db: Database) -> tuple[list[str | None], str]:
        for node in nodes:
            change_node(db, sample_act(), node.id, node.version, {"tags": (node.name[:2],)})
        groups = [add_group(db, sample_act(), {"name": tag, "node_tags": (tag,)}) for tag in ("eu", "us")]
        users = [add_user(db, sample_act(), {"name": name}) for name in ("ada", "bob", "eve")]
        for group, user in zip(groups, users, strict=False):
            join_group(db, sample_act(), group.id, user.id)
        return [*(user.id for user in users), None], groups[1].id

    users, group = await helm.store.run(write)
    return [node.id for node in nodes], users, group


@pytest.mark.parametrize("seed", range(3))
async def test_devices_that_come_go_and_change_leave_what_a_reading_anew_gives(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with open_helm(tmp_path) as helm:
        nodes, users, group = await prepared(helm)
        kept, devices = DesiredFleet(helm.store), list[DeviceId]()
        before = {node_id: (await kept.of(node_id))[1] for node_id in nodes}
        await kept.changed()
        inside = False
        for step in range(14):
            match chance.choice(["enrol", "enrol", "revoke", "disable", "enable", "regroup"]):
                case "enrol":
                    user = chance.choice(users)
                    devices.append((await helm.store.run(enrol_sample_device, step, user_id=user)).id)
                case "revoke" if devices:
                    await helm.store.run(revoke_sample_device, devices.pop(chance.randrange(len(devices))))
                case "disable" | "enable" as verb if devices:
                    device = await helm.store.read(get_device, chance.choice(devices))
                    if (device.state is DeviceState.ACTIVE) == (verb == "disable"):
                        await helm.store.run(move_device, sample_act(), device.id, device.version, DeviceAct(verb))
                case "regroup":
                    await helm.store.run(leave_group if inside else join_group, sample_act(), group, users[0])
                    inside = not inside
            _, changed = await kept.changed()
            anew = DesiredFleet(helm.store)
            for node_id in nodes:
                now, wanted = (await kept.of(node_id))[1], (await anew.of(node_id))[1]
                assert now == wanted
                assert now is not None
                last = before[node_id]
                assert (node_id in changed) == (last is None or last.peers != now.peers)
                before[node_id] = now


async def test_device_that_changes_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm:
        nodes, users, _ = await prepared(helm)
        kept, whole = DesiredFleet(helm.store), list[int]()
        await helm.store.run(enrol_sample_device, 1, user_id=users[0])
        real = module.read_record
        monkeypatch.setattr(module, "read_record", lambda db: whole.append(1) or real(db))
        await kept.of(nodes[0])
        assert len(whole) == 1
        device = await helm.store.run(enrol_sample_device, 2, user_id=users[0])
        assert device.id in (await kept.of(nodes[0]))[1].peers  # type: ignore[union-attr]
        await helm.store.run(revoke_sample_device, device.id)
        assert device.id not in (await kept.of(nodes[0]))[1].peers  # type: ignore[union-attr]
        assert len(whole) == 1


async def test_what_a_link_was_given_stays_what_it_was(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        nodes, users, _ = await prepared(helm)
        await helm.store.run(enrol_sample_device, 1, user_id=users[0])
        kept = DesiredFleet(helm.store)
        _, given = await kept.of(nodes[0])
        assert given is not None
        count, digest = len(given.peers), given.peers.digest  # type: ignore[attr-defined]
        await helm.store.run(enrol_sample_device, 2, user_id=users[0])
        _, later = await kept.of(nodes[0])
        assert later is not None
        assert (len(given.peers), len(later.peers)) == (count, count + 1)
        assert later.peers.digest != digest  # type: ignore[attr-defined]
