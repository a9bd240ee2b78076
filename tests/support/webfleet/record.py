"""A plan becomes a record: what helm has in its files when it starts."""

from __future__ import annotations

import datetime
import random
import socket
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.demo.processes import free_port
from pharos.helm.accounts.devices import move_device
from pharos.helm.ca.authority import Authority, create_fleet, load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import RecoveryKit, create_vault
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device, DeviceAct
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.model.users import Group, User
from pharos.helm.onboard.agents import NewNode
from pharos.helm.profiles.reseal import reseal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store, open_store
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record
from pharos.helm.store.sessions import apply_events
from pharos.helm.store.settings import put_setting
from pharos.helm.store.users import GROUPS, USERS, add_member
from pharos.wire.files import open_state_directory
from pharos.wire.ids import DeviceId, NodeId
from tests.support.fleet import TARGET
from tests.support.helm import enrol_sample_device
from tests.support.rpc import HOST
from tests.support.simnode import ENDPOINT, adopt_simulated
from tests.support.webfleet.past import write_past
from tests.support.webfleet.plan import Plan, PlannedDevice

HOUR: Final = 3_600_000_000
DAY: Final = 24 * HOUR
CONTROL_PORT: Final = 8443
"""Of nodes that have an address of their own."""


@attrs.frozen(kw_only=True)
class Laid:
    """What was laid down."""

    kit: RecoveryKit
    nodes: list[dict[str, Any]]
    """What each simulated node is made of."""
    devices: dict[str, DeviceId]
    """Ids by name; names are unique in plans."""


class _Nobody:
    """Where devices are online, and none is."""

    def notify(self, device_id: DeviceId, epoch: int, rev: int) -> bool:
        return False


async def lay_down(folder: Path, plan: Plan) -> Laid:
    """Make helm's state directory with this fleet in it."""
    state = open_state_directory(folder)
    vault, data_key = create_vault(state)
    now = datetime.datetime.now(datetime.UTC)
    with open_store(state, create=True) as store:
        kit = await store.run(create_fleet, vault, data_key, plan.posture, now=now)
        await store.run(put_setting, _act(), "reality.targets", 0, [TARGET])
        authority = await store.run(load_authority, vault, now=now)
        nodes = await store.run(_add_nodes, authority, plan)
        devices = await store.run(_add_people, plan)
        await reseal(store, LiveAuthority(authority), _Nobody())
        await _remember(store, plan, {facts["name"]: facts["id"] for facts in nodes}, devices)
    return Laid(kit=kit, nodes=nodes, devices=devices)


def _act() -> Act:
    return Act(actor="operator", at=now_us())


def _add_nodes(db: Database, authority: Authority, plan: Plan) -> list[dict[str, Any]]:
    facts = []
    taken = {CONTROL_PORT}
    for number, planned in enumerate(plan.nodes):
        said = NewNode(
            name=planned.name,
            address=planned.address or HOST,
            control_port=CONTROL_PORT if planned.address else _another_port(taken),
            awg_port=443,
            tags=planned.tags,
            place=planned.place,
            latitude=planned.latitude,
            longitude=planned.longitude,
        )
        facts.append(
            adopt_simulated(db, _act(), authority, said)
            | {"version": planned.version, "host": host_of(number) if planned.address else HOST}
        )
    return facts


# Each process has a part of 127/8 of its own: two fleets of the same names must not meet.
_OWN: Final = f"127.{random.randint(16, 250)}.{random.randint(0, 250)}"


def host_of(number: int) -> str:
    """Return where on this machine the node listens whose address is a name."""
    return f"{_OWN}.{number + 1}"


def _another_port(taken: set[int]) -> int:
    while (port := free_port(socket.SOCK_STREAM)) in taken:
        pass
    taken.add(port)
    return port


def _add_people(db: Database, plan: Plan) -> dict[str, DeviceId]:
    groups = {
        name: add_record(db, GROUPS, Group(id=fresh_id(), name=name, node_tags=tags), _act()).id
        for name, tags in plan.groups.items()
    }
    devices: dict[str, DeviceId] = {}
    for planned in plan.users:
        user = User(
            id=fresh_id(),
            name=planned.name,
            email=planned.email,
            note=planned.note,
            quota_bytes=planned.quota_bytes,
            quota_period=planned.quota_period,
        )
        add_record(db, USERS, user, _act())
        for group in planned.groups:
            add_member(db, groups[group], user.id, _act())
        for wanted in planned.devices:
            devices[wanted.name] = _add_device(db, len(devices), wanted, user.id).id
    return devices


def _add_device(db: Database, number: int, wanted: PlannedDevice, user_id: str) -> Device:
    device = enrol_sample_device(db, number, wanted.name, user_id=user_id)
    values: dict[str, Any] = {}
    if wanted.quota_bytes is not None:
        values["quota_bytes"] = wanted.quota_bytes
    if wanted.expires_in_days is not None:
        values["expires_at"] = now_us() + wanted.expires_in_days * DAY
    if values:
        device = change_record(db, DEVICES, device.id, device.version, values, _act())
    if wanted.state != "active":
        act = DeviceAct.DISABLE if wanted.state == "disabled" else DeviceAct.REVOKE
        device = move_device(db, _act(), device.id, device.version, act)
    return device


async def _remember(store: Store, plan: Plan, nodes: dict[str, str], devices: dict[str, DeviceId]) -> None:
    """Write when those were seen that are not connected now, and what else a plan says of the past."""
    first = next(iter(nodes.values()), "")
    seen = [
        NodeEvent(
            at=now_us() - round(wanted.last_seen_hours * HOUR),
            kind="handshake",
            node_id=NodeId(nodes.get(wanted.node, first)),
            device_id=devices[wanted.name],
            detail=ENDPOINT,
            protocol=wanted.protocol,
        )
        for user in plan.users
        for wanted in user.devices
        if wanted.last_seen_hours is not None
    ]

    def write(db: Database) -> None:
        apply_events(db, add_events(db, seen))
        if plan.with_past:
            write_past(db, plan, nodes, devices)

    await store.record(write)
