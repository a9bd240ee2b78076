"""The public face of caravel: open a device's store, sync it, connect.

async with open_client(path) as client:
    await client.sync()
    async with client.connect("amsterdam") as tunnel:
        await tunnel.wait_up(5)
    async with client.connect_reality("amsterdam") as tunnel:
        stream = await tunnel.open_tcp_stream("example.org", 443)
"""

from __future__ import annotations

import datetime
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NoReturn

from pharos.caravel.errors import NodeRefusedError, NoSuchNodeError
from pharos.caravel.follow import follow
from pharos.caravel.profiles.pins import Standing
from pharos.caravel.profiles.store import ProfileStore, microseconds
from pharos.caravel.profiles.ways import Examined, examine
from pharos.caravel.sync import SyncOutcome, sync
from pharos.caravel.tunnel.amnezia import Tunnel, open_node_tunnel
from pharos.caravel.tunnel.reality import RealityTunnel
from pharos.caravel.tunnel.realityways import link_of_node, open_node_reality
from pharos.wire.ids import NodeId
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, Profile, ProfileNode
from pharos.wire.reality.sharelink import ShareLink


class Client:
    """One enrolled device; ``open_client`` makes it."""

    def __init__(self, store: ProfileStore) -> None:
        self._store = store

    @property
    def store(self) -> ProfileStore:
        """What this device keeps on disk."""
        return self._store

    def profile(self) -> Profile:
        """Return the newest profile this device holds; needs nobody.

        Raises: NotEnrolledError, BundleError — there is none, or it does not open.
        """
        return self._store.profile(datetime.datetime.now(datetime.UTC))

    async def sync(self) -> SyncOutcome:
        """Ask helm, through a beacon, for the newest profile, and keep it.

        Raises: NoAnswerError — no beacon or helm answered; the kept profile stays in use. BundleError — what came is
        not for this device, not the fleet's, or older than what it holds.
        """
        return await sync(self._store)

    async def follow(self, told: Callable[[SyncOutcome], None]) -> NoReturn:
        """Stay in touch with helm until cancelled, syncing whenever it says so; ``told`` hears of every sync.

        Raises: HelmRefusedError — this device was revoked.
        """
        await follow(self._store, random=random.random, told=told)

    def connect(self, node: str | None = None) -> AbstractAsyncContextManager[Tunnel]:
        """Return a context manager that runs a tunnel to a node, by id or name; None takes the first that is known.

        Raises: NoSuchNodeError — the profile has no such node. NodeRefusedError — it is not the one that was known, or
        the fleet lock has not signed it.
        """
        profile = self.profile()
        found = examine(profile.fleet, choose_node(profile, self.standings(), node)).node
        return open_node_tunnel(profile, found, self._store.enrolled().secrets)

    def connect_reality(self, node: str | None = None) -> AbstractAsyncContextManager[RealityTunnel]:
        """Return a context manager that holds a REALITY tunnel to a node, for streams and datagrams; as `connect`.

        Keys of REALITY without the node's own word for them are not used.

        Raises: NoSuchNodeError — the profile has no such node, or it offers no REALITY. NodeRefusedError.
        """
        profile, believed = self._reality_node(node)
        return open_node_reality(profile, believed, self._store.enrolled().secrets)

    def share_link(self, node: str) -> ShareLink:
        """Return a link by which another program is this device to a node, with the secret in it.

        Raises: as `connect_reality`.
        """
        profile, believed = self._reality_node(node)
        return link_of_node(profile, believed, self._store.enrolled().secrets)

    def _reality_node(self, node: str | None) -> tuple[Profile, ProfileNode]:
        """Return the profile, and a node of it without the ways in that are not believed."""
        profile = self.profile()
        chosen = choose_node(profile, self.standings(), node, protocol=VLESS_REALITY)
        examined = examine(profile.fleet, chosen)
        if examined.refused and not examined.node.reality:
            raise NodeRefusedError(f"node {chosen.name}: " + "; ".join(examined.refused))
        return profile, examined.node

    def standings(self) -> dict[NodeId, Standing]:
        """Return what this device makes of each node of its profile.

        Raises: NotEnrolledError, BundleError.
        """
        now = datetime.datetime.now(datetime.UTC)
        profile, pins, denied = self._store.profile(now), self._store.pins(now), self._store.denied()
        return {
            node.id: Standing.DENIED
            if denied.denies_node(node.id, node.awg_key)
            else pins.standing(profile.fleet, node, now=microseconds(now))
            for node in profile.nodes
        }

    def examined(self) -> dict[NodeId, Examined]:
        """Return the nodes of the profile with the ways in that this device believes, and which it does not.

        Raises: NotEnrolledError, BundleError.
        """
        profile = self.profile()
        return {node.id: examine(profile.fleet, node) for node in profile.nodes}

    def confirm(self, node: str) -> None:
        """Take a node, by id or name, for known with the keys that it has: the user has asked its owner.

        Raises: NoSuchNodeError.
        """
        self._store.confirm(find_node(self.profile(), node), datetime.datetime.now(datetime.UTC))


@asynccontextmanager
async def open_client(path: Path) -> AsyncIterator[Client]:
    """Open the store of an enrolled device.

    Raises: NotEnrolledError — it is in no fleet. StateFileError — a file is damaged; it was left as it is.
    """
    store = ProfileStore(path)
    store.enrolled()
    yield Client(store)


def choose_node(
    profile: Profile, standings: Mapping[NodeId, Standing], wanted: str | None, *, protocol: str = AMNEZIAWG
) -> ProfileNode:
    """Return the node with that id or name; None takes the first that is known, one with ``protocol`` if there is one.

    Raises: NoSuchNodeError — there is none. NodeRefusedError — it is there, and not to be trusted.
    """
    if wanted is None:
        # One that no tunnel leads to is better than none to say so.
        nodes = sorted(profile.nodes, key=lambda node: not (node.amneziawg if protocol == AMNEZIAWG else node.reality))
        known = [node for node in nodes if standings[node.id] is Standing.KNOWN]
        if known or not profile.nodes:
            return known[0] if known else find_node(profile, None)
        others = ", ".join(f"{node.name} ({standings[node.id].value})" for node in profile.nodes)
        raise NoSuchNodeError(f"no node of the profile is known for a day; name one of them yourself: {others}")
    node = find_node(profile, wanted)
    if standings[node.id] is Standing.CHANGED:
        raise NodeRefusedError(
            f"node {node.name} has other keys than this device knows; ask its owner, then:"
            f" caravel profiles --confirm {node.name}"
        )
    if standings[node.id] is Standing.UNSIGNED:
        raise NodeRefusedError(f"node {node.name} is not signed by the fleet lock; its owner has to: helm lock sign")
    if standings[node.id] is Standing.DENIED:
        raise NodeRefusedError(f"node {node.name} was put out of the fleet; sync for a profile without it")
    return node


def find_node(profile: Profile, wanted: str | None) -> ProfileNode:
    """Return the node with that id or name; None takes the first.

    Raises: NoSuchNodeError.
    """
    found = [node for node in profile.nodes if wanted is None or wanted in (node.id, node.name)]
    if not found:
        known = ", ".join(node.name for node in profile.nodes) or "none"
        raise NoSuchNodeError(f"the profile has no node {wanted!r}; it has: {known}")
    return found[0]
