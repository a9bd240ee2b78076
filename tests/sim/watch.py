"""The invariants of security.md §3, looked at after each step of a storm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import trio

from pharos.helm.audit.checkpoints import signing_keys
from pharos.helm.audit.pruning import missed_from
from pharos.helm.audit.verify import verify_audit
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.store.database import Database
from pharos.helm.store.devices import list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.users import list_groups
from pharos.wire.link import LinkState
from pharos.wire.world import inhabiting
from tests.sim.daemons import LightBuoy
from tests.sim.fleet import CREW, HELM, SimFleet, tag_of
from tests.sim.ledger import Ledger, Tags
from tests.sim.machines import Machine, files_below

CUT: Final = 2.0
"""Seconds within which an online node has cut whoever was revoked (security.md row 11)."""
LOOK_EVERY: Final = 0.25

Order = tuple[int, ...]


class BrokenInvariantError(Exception):
    """One of I1 to I7 does not hold; the message begins with its name."""


class Watch:
    """Looks at a fleet, and remembers what it has seen of it."""

    def __init__(self, fleet: SimFleet, ledger: Ledger) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._orders: dict[str, dict[str, Order]] = {}
        """What never goes down, by its name and by the member that holds it."""
        self._freed: dict[str, set[str]] = {}
        """Revoked devices that a node was seen not to serve, by the node's name."""
        self._kept: dict[str, tuple[Order, set[str]]] = {}
        """What a node that is down served when it went, with the order that said so."""

    async def look(self) -> None:
        """Look at what has to hold at any moment. Raises: BrokenInvariantError."""
        self.look_at_orders()
        self._look_at_serving()
        if self._fleet.helm.up:
            await self._look_at_record()
            await self._look_for_revoked()

    # -- I1 and I6: helm's record

    async def _look_at_record(self) -> None:
        context: HelmContext = self._fleet.helm.value
        states, tags, order = await context.store.read(_record)
        if wrong := self._ledger.settle(states, tags):
            raise BrokenInvariantError(f"I1: {'; '.join(wrong)}")
        self._rise("helm's record", "helm", order)
        with inhabiting(self._fleet.helm.world):
            kept_from = await context.store.read(missed_from, now_us())
            fleet, keys = context.authority.trust.fleet, signing_keys(context.authority)
            found = await verify_audit(context.store, fleet=fleet, keys=keys, kept_from=kept_from)
        if not found.ok:
            raise BrokenInvariantError(f"I6: the audit does not verify: {found.detail}")

    # -- I2: the revoked

    async def _look_for_revoked(self) -> None:
        deadline = trio.current_time() + CUT
        while serving := self._serving_revoked():
            if trio.current_time() >= deadline:
                raise BrokenInvariantError(f"I2: revoked, and served {CUT:.0f} s later: {serving}")
            await trio.sleep(LOOK_EVERY)
        for name, machine in self._fleet.nodes.items():
            if machine.up:
                freed = self._freed.setdefault(name, set())
                peers = self._fleet.plane_peers(name)
                if back := freed & peers:
                    raise BrokenInvariantError(f"I2: {name} serves anew who was revoked: {back}")
                if self._is_led(machine):
                    freed |= self._ledger.outcast - peers

    def _serving_revoked(self) -> dict[str, set[str]]:
        """Return which nodes that helm has contact with serve whom of the revoked."""
        led = {name for name, machine in self._fleet.nodes.items() if self._is_led(machine)}
        serving = {name: self._fleet.plane_peers(name) & self._ledger.outcast for name in led}
        return {name: devices for name, devices in sorted(serving.items()) if devices}

    def _is_led(self, machine: Machine) -> bool:
        if not machine.up or not self._fleet.helm.up or not self._fleet.net.is_connected(HELM, machine.host):
            return False
        buoy: LightBuoy = machine.value
        sighting = self._fleet.helm.value.board.of(buoy.node.keeping.standing.membership.identity.id)
        return sighting.state is LinkState.UP and not machine.world.disk.full and not machine.world.disk.broken

    # -- I3: versions

    def look_at_orders(self) -> None:
        """Look whether any version has gone down. Raises: BrokenInvariantError."""
        for name, machine in self._fleet.nodes.items():
            if machine.up:
                node = machine.value.node
                fence = node.desired.fence
                self._rise("the fence", name, (fence.epoch, fence.term, fence.revision))
                self._rise("the deny list", name, node.keeping.deny_order)
                self._rise("the manifest", name, (node.keeping.manifest_version,))
        for name in self._ledger.names.values():
            kept = self._fleet.store(name).bundle()
            self._rise("the bundle", name, (0, 0) if kept is None else kept[0])

    def _rise(self, what: str, who: str, order: Order) -> None:
        before = self._orders.setdefault(what, {}).get(who, order)
        if order < before:
            raise BrokenInvariantError(f"I3: {what} of {who} went from {before} down to {order}")
        self._orders[what][who] = order

    # -- I5: what nodes serve by themselves

    def goes_down(self, machine: Machine) -> None:
        """Remember what a node serves that is about to be ended."""
        desired = machine.value.node.desired
        fence = desired.fence
        self._kept[machine.name] = (fence.epoch, fence.term, fence.revision), set(desired.peers)

    def came_up(self, machine: Machine) -> None:
        """Look whether a node came up from its disk as it went. Raises: BrokenInvariantError."""
        order, peers = self._kept.pop(machine.name, ((), set()))
        desired, serving = machine.value.node.desired, self._fleet.plane_peers(machine.name)
        fence = (desired.fence.epoch, desired.fence.term, desired.fence.revision)
        denied = {one.member.id for one in _denied(machine) if one.member is not None}
        if fence < order or (fence == order and not serving >= peers - denied):
            text = f"{machine.name} went with {sorted(peers)} by {order}, and serves {sorted(serving)} by {fence}"
            raise BrokenInvariantError(f"I5: {text}")

    def _look_at_serving(self) -> None:
        for name, machine in self._fleet.nodes.items():
            if machine.up:
                node = machine.value.node
                # By its own clock somebody's time may be over.
                wanted, serving = node.desired.peers.keys() - node._cut.keys(), self._fleet.plane_peers(name)
                if serving != wanted and not node._turn.locked():
                    raise BrokenInvariantError(f"I5: {name} was told {sorted(wanted)}, and serves {sorted(serving)}")

    # -- I7: what is desired is so

    def unsettled(self) -> list[str]:
        """Return what is not yet as it is desired; nothing once the fleet is at rest."""
        wrong = []
        for number, (name, machine) in enumerate(self._fleet.nodes.items()):
            wanted, serving = self._ledger.peers_of(tag_of(number)), self._fleet.plane_peers(name)
            if serving != wanted:
                wrong.append(f"{name} serves {sorted(serving)}, and shall {sorted(wanted)}")
            if not self._is_led(machine):
                wrong.append(f"{name} is not led: {self._told(machine.value.node.keeping)}")
        for machine in self._fleet.beacons.values():
            if not self._fleet.net.is_connected(HELM, machine.host):
                wrong.append(f"{machine.name} has no tunnel")
        return wrong

    def _told(self, keeping: Any) -> str:
        sighting = self._fleet.helm.value.board.of(keeping.standing.membership.identity.id)
        return f"{sighting.state.value}, {sighting.detail or sighting.error}"

    # -- I4: secrets

    def look_for_secrets(self) -> None:
        """Look whether what only its owner may have is on another machine's disk. Raises: BrokenInvariantError."""
        fleet = self._fleet
        canaries = {name: _spellings(secrets_of_device(fleet, name)) for name in self._ledger.names.values()}
        for machine in fleet.machines:
            for path in files_below(machine.folder):
                content = path.read_bytes()
                for owner, spellings in canaries.items():
                    if any(spelling in content for spelling in spellings):
                        raise BrokenInvariantError(f"I4: a private key of {owner} is in {machine.name}'s {path.name}")


def secrets_of_device(fleet: SimFleet, name: str) -> list[bytes]:
    """Return the private keys of a device."""
    keys = fleet.store(name).enrolled().secrets
    return [key.private_bytes() for key in (keys.derive, keys.awg, keys.noise, keys.sealing)]


def _spellings(secrets: Iterable[bytes]) -> list[bytes]:
    return [spelling for secret in secrets for spelling in (secret, secret.hex().encode())]


def _denied(machine: Machine) -> Iterable[Any]:
    deny_list = machine.value.node.keeping.standing.deny_list
    return () if deny_list is None else deny_list.entries


def _record(db: Database) -> tuple[Mapping[str, str], Tags, Order]:
    states: dict[str, str] = {device.id: device.state.value for device in list_devices(db)}
    (crew,) = [group for group in list_groups(db) if group.name == CREW]
    fleet = get_fleet(db)
    return states, tuple(crew.node_tags), (fleet.epoch, fleet.revision)
