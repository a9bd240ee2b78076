"""The record of bench.fleet: so many nodes, and devices of users in groups that may use ten nodes each."""

import contextlib
import datetime
import json
import random
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import trio

from pharos.helm.ca.authority import Authority, create_fleet, load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import create_vault
from pharos.helm.fleet.nodes import change_node
from pharos.helm.live.board import now_us
from pharos.helm.model.fleet import Posture
from pharos.helm.model.users import Group, User
from pharos.helm.onboard.agents import NewNode
from pharos.helm.profiles.reseal import reseal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.nodes import NODES, list_nodes
from pharos.helm.store.records import add_record, get_record
from pharos.helm.store.users import GROUPS, USERS, add_member
from pharos.wire.ids import DeviceId, NodeId
from tests.support.helm import enrol_sample_device
from tests.support.rpc import HOST
from tests.support.simnode import adopt_simulated

# A tag for each ten nodes, and a group for each tag.
PER_GROUP: Final = 10
_ACT: Final = Act(actor="bench", at=now_us())


def prepare(folder: Path, *, nodes: int, devices: int) -> list[str]:
    """Write helm's state and ``nodes.json`` below ``folder``; return the ids of the nodes."""
    return trio.run(_prepare, folder, nodes, devices)


async def _prepare(folder: Path, nodes: int, devices: int) -> list[str]:
    state = folder / "helm"
    state.mkdir(mode=0o700)
    vault, data_key = create_vault(state)
    now = datetime.datetime.now(datetime.UTC)
    with open_store(state, create=True) as store:
        await store.run(create_fleet, vault, data_key, Posture.PERSONAL, now=now)
        authority = await store.run(load_authority, vault, now=now)
        facts = await store.run(_add_nodes, authority, nodes)
        await store.run(_add_devices, nodes, devices)
        await reseal(store, LiveAuthority(authority), Nobody())
    (folder / "nodes.json").write_text(json.dumps(facts))
    return [entry["id"] for entry in facts]


def _add_nodes(db: Database, authority: Authority, count: int) -> list[dict[str, Any]]:
    facts = []
    with ExitStack() as stack:
        for number in range(count):
            # Held open until all are chosen, so that no two are the same.
            sock = stack.enter_context(_listen())
            said = NewNode(
                name=f"node-{number:04}",
                address=HOST,
                control_port=sock.getsockname()[1],
                awg_port=443,
                tags=(f"t{number // PER_GROUP}",),
            )
            facts.append(adopt_simulated(db, _ACT, authority, said))
    return facts


def _listen() -> socket.socket:
    """Take a port below those that the kernel gives to outgoing connections: it is still free when its node starts."""
    for port in random.sample(range(10_000, 20_000), 1_000):
        with contextlib.suppress(OSError):
            return socket.create_server((HOST, port))
    raise RuntimeError("there is no free port between 10,000 and 20,000")


class Nobody:
    """Where devices are online, and none is."""

    def notify(self, device_id: DeviceId, epoch: int, rev: int) -> bool:
        return False


def _add_devices(db: Database, nodes: int, count: int) -> None:
    users = []
    for number in range(max(nodes // PER_GROUP, 1)):
        user = add_record(db, USERS, User(id=fresh_id(), name=f"user-{number}"), _ACT)
        group = add_record(db, GROUPS, Group(id=fresh_id(), name=f"group-{number}", node_tags=(f"t{number}",)), _ACT)
        add_member(db, group.id, user.id, _ACT)
        users.append(user.id)
    for number in range(count):
        enrol_sample_device(db, number, f"device-{number}", user_id=users[number % len(users)])


def device_of(db: Database, node_id: str, number: int) -> int:
    """Enrol a device whose user may use this node; return the revision that the node has to acknowledge."""
    node = get_record(db, NODES, NodeId(node_id))
    index = int(node.tags[0].removeprefix("t"))
    user = db.execute("SELECT id FROM users WHERE name = ?", (f"user-{index}",)).fetchone()["id"]
    enrol_sample_device(db, number, f"late-{number}", user_id=user)
    return get_fleet(db).revision


def rename_nodes(db: Database) -> None:
    """Give a node of each group another name, so that every profile of the fleet changes."""
    act = Act(actor="bench", at=now_us())
    for node in list_nodes(db)[::PER_GROUP]:
        change_node(db, act, node.id, node.version, {"name": f"{node.name}-x"})
