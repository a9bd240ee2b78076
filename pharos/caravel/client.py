"""The public face of caravel: open a device's store, sync it, connect.

async with open_client(path) as client:
    await client.sync()
    async with client.connect() as tunnel:
        await tunnel.wait_up(10)
        stream = await tunnel.open_tcp_stream("example.org", 443)

Engines and what talks to helm are imported when they are first used: they are most of the library, and a program that
starts should not wait for what it may need later.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from pharos.caravel.errors import HelmRefusedError, NodeRefusedError
from pharos.caravel.managed import Managed
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.layout import split
from pharos.caravel.profiles.nodes import choose_node, find_node
from pharos.caravel.profiles.pins import WAIT, Standing
from pharos.caravel.profiles.store import ProfileStore, microseconds
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.caravel.profiles.ways import Examined, examine
from pharos.wire.chance import fraction
from pharos.wire.ids import NodeId
from pharos.wire.profile import VLESS_REALITY, Profile, ProfileNode
from pharos.wire.tasks import open_background
from pharos.wire.world import utc_now

if TYPE_CHECKING:
    from pharos.caravel.reach import Reach
    from pharos.caravel.sync import SyncOutcome
    from pharos.caravel.tunnel.candidates import FleetSource
    from pharos.caravel.tunnel.connection import ConnectionPlan
    from pharos.caravel.tunnel.inner import InnerKind
    from pharos.caravel.tunnel.options import ConnectOptions
    from pharos.caravel.tunnel.parts import Inner, Protect
    from pharos.caravel.tunnel.reality import RealityTunnel
    from pharos.caravel.tunnel.session import Tunnel
    from pharos.wire.reality.sharelink import ShareLink

log = logging.getLogger(__name__)

FAST = "fast"
"""`pharos.caravel.tunnel.inner.InnerKind.FAST`."""

__all__ = ["Client", "choose_node", "find_node", "open_client"]


@attrs.frozen(kw_only=True)
class KnownNode:
    """A node that this device may use, or may not."""

    node: ProfileNode
    """With the ways in that are believed."""
    standing: Standing
    refused: tuple[str, ...]
    """Ways in that are not, and why, a sentence each."""


class Client:
    """One enrolled device; ``open_client`` makes it."""

    def __init__(self, store: ProfileStore, *, managed: Managed | None = None) -> None:
        self._store = store
        self._managed = managed
        self._tunnels: list[Tunnel] = []
        """Those that are open, which hear of newer profiles."""

    @property
    def managed(self) -> Managed | None:
        """What an organisation decides for this device; None: it is a person's."""
        return self._managed

    @property
    def store(self) -> ProfileStore:
        """What this device keeps on disk."""
        return self._store

    def profile(self) -> Profile:
        """Return the newest profile this device holds; needs nobody.

        Raises: NotEnrolledError, BundleError — there is none, or it does not open.
        """
        return self._store.profile(utc_now())

    def profiles(self) -> tuple[KnownNode, ...]:
        """Return the nodes of the newest profile, in its order, each with what this device makes of it; needs nobody.

        Raises: NotEnrolledError, BundleError.
        """
        standings, examined = self.standings(), self.examined()
        return tuple(
            KnownNode(node=one.node, standing=standings[id_], refused=one.refused) for id_, one in examined.items()
        )

    async def sync(self, reach: Reach | None = None) -> SyncOutcome:
        """Ask helm, through a beacon, for the newest profile, and keep it. Tunnels that are up go by it at once.

        Where no beacon can be reached directly it goes through a tunnel of this client that is up.

        Raises: NoAnswerError — no beacon or helm answered; the kept profile stays in use. BundleError — what came is
        not for this device, not the fleet's, or older than what it holds.
        """
        from pharos.caravel.reach import Reach
        from pharos.caravel.sync import sync

        through = next((tunnel for tunnel in self._tunnels if tunnel.is_up and tunnel.has_streams), None)
        outcome = await sync(self._store, reach=reach or Reach(through=through))
        self._refresh()
        return outcome

    async def follow(self, told: Callable[[SyncOutcome], None], *, reach: Reach | None = None) -> NoReturn:
        """Stay in touch with helm until cancelled, syncing whenever it says so; ``told`` hears of every sync.

        Tunnels of this client that are up go by what comes at once, and what lives in them is not ended by it.

        Raises: HelmRefusedError — this device was revoked.
        """

        from pharos.caravel.follow import follow

        def note(outcome: SyncOutcome) -> None:
            self._refresh()
            told(outcome)

        await follow(self._store, random=fraction, told=note, reach=reach)

    def connect(
        self,
        node: str | None = None,
        *,
        protocol: str | None = None,
        inner: InnerKind | str | Inner = FAST,
        tun_fd: int | None = None,
        protect: Protect | None = None,
        options: ConnectOptions | None = None,
    ) -> AbstractAsyncContextManager[Tunnel]:
        """Return a context manager that keeps a connection up: to the node of that id or name, or to whichever is best.

        ``protocol``: `AMNEZIAWG` or `VLESS_REALITY` alone. ``inner`` says who makes packets of what is sent, or is an
        inner side that exists already; with ``tun_fd`` it is a device of the host's, whose packets go through.
        ``protect`` is called with each socket that has to stay outside the tunnel.

        Raises: NoSuchNodeError — the profile has no such node, or none that is known and may be used. NodeRefusedError
        — it is not the one that was known, or the fleet lock has not signed it. Opened, also what `open_inner` raises.
        """
        from pharos.caravel.tunnel.connection import ConnectionPlan
        from pharos.caravel.tunnel.options import ConnectOptions

        options = options or ConnectOptions()
        if self._managed is not None and self._managed.floor is not None:
            options = attrs.evolve(options, floor=self._managed.floor)
        source = self.source(protect=protect, options=options)
        plan = ConnectionPlan(
            source=source, wanted=node, protocol=protocol, inner=inner, tun_fd=tun_fd, protect=protect, options=options
        )
        plan.check()
        return self._connected(plan)

    def source(self, *, protect: Protect | None = None, options: ConnectOptions | None = None) -> FleetSource:
        """Return the nodes of this device's profile as ways to choose from, for `open_session`."""
        from pharos.caravel.tunnel.candidates import FleetSource, Outside
        from pharos.caravel.tunnel.options import ConnectOptions
        from pharos.caravel.tunnel.resolving import Resolver

        resolve = Resolver((options or ConnectOptions()).resolve)
        return FleetSource(self._store, self.standings, Outside(protect=protect, resolve=resolve))

    @asynccontextmanager
    async def _connected(self, plan: ConnectionPlan) -> AsyncIterator[Tunnel]:
        from pharos.caravel.reach import Reach
        from pharos.caravel.tunnel.connection import offer_while_up, open_connection
        from pharos.caravel.tunnel.memory import FILE_NAME, NetworkMemory

        memory = NetworkMemory(self._store.path / FILE_NAME) if plan.options.remember else None
        async with open_connection(plan, memory=memory) as tunnel, AsyncExitStack() as stack:
            stack.callback(self._tunnels.remove, tunnel)
            self._tunnels.append(tunnel)
            if self._store.is_stale(utc_now()):
                tunnel.tell_stale()
            if plan.options.follow:
                reach = Reach(protect=plan.protect)
                await stack.enter_async_context(open_background(functools.partial(self._stay_in_touch, reach)))
                await stack.enter_async_context(open_background(functools.partial(offer_while_up, tunnel, reach)))
            yield tunnel

    async def _stay_in_touch(
        self, reach: Reach, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        try:
            await self.follow(lambda _outcome: None, reach=reach)
        except HelmRefusedError as error:
            # The nodes say so themselves, and nobody else's connection ends for it.
            log.warning("helm is not asked any more: %s", error)

    def _refresh(self) -> None:
        for tunnel in self._tunnels:
            tunnel.refresh()

    def connect_reality(self, node: str | None = None) -> AbstractAsyncContextManager[RealityTunnel]:
        """Return a context manager that holds a REALITY tunnel to a node, for streams and datagrams; as `connect`.

        Keys of REALITY without the node's own word for them are not used.

        Raises: NoSuchNodeError — the profile has no such node, or it offers no REALITY. NodeRefusedError.
        """
        from pharos.caravel.tunnel.realityways import open_node_reality

        profile, believed = self._reality_node(node)
        return open_node_reality(profile, believed, self._store.enrolled().secrets)

    def share_link(self, node: str) -> ShareLink:
        """Return a link by which another program is this device to a node, with the secret in it.

        Raises: as `connect_reality`. ManagedError — an organisation has locked the profiles.
        """
        from pharos.caravel.tunnel.realityways import link_of_node

        if self._managed is not None:
            self._managed.check_unlocked("export anything")
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
        now = utc_now()
        profile, pins, denied = self._store.profile(now), self._store.pins(now), self._store.denied()
        wait = WAIT if self._managed is None else self._managed.new_node_wait
        return {
            node.id: Standing.DENIED
            if denied.denies_node(node.id, node.awg_key)
            else pins.standing(profile.fleet, node, now=microseconds(now), wait=wait)
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

        Raises: NoSuchNodeError. ManagedError — an organisation has locked the profiles.
        """
        if self._managed is not None:
            self._managed.check_unlocked("confirm a node")
        self._store.confirm(find_node(self.profile(), node), utc_now())


@asynccontextmanager
async def open_client(
    path: Path,
    fleet: str | None = None,
    *,
    unlocking: Unlocking | None = None,
    managed: Managed | None = None,
) -> AsyncIterator[Client]:
    """Open the store of an enrolled device: of its default fleet, or of the one with that name or beginning of its id.

    ``unlocking`` says how a store with a passphrase is opened; without it, files that the environment names are used.
    ``managed`` is what an organisation decides (`pharos.caravel.managedfile.read_managed`); None: nobody does.

    Raises: NotEnrolledError — it is in no fleet. NoSuchFleetError. LockedStoreError. StateFileError — a file is
    damaged; it was left as it is.
    """
    if fleet is None and managed is not None and not split(path)[1]:
        # A path of one fleet's own has named it already.
        fleet = managed.default_fleet or None
    store = ProfileStore(path, unlocking=unlocking) if fleet is None else Fleets(path, unlocking).open(fleet)
    store.enrolled()
    yield Client(store, managed=managed)
