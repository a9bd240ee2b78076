"""The public face of caravel: open a device's store, sync it, connect.

async with open_client(path) as client:
    await client.sync()
    async with client.connect("amsterdam") as tunnel:
        await tunnel.wait_up(5)
"""

from __future__ import annotations

import datetime
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NoReturn

from pharos.caravel.errors import NoSuchNodeError
from pharos.caravel.follow import follow
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import SyncOutcome, sync
from pharos.caravel.tunnel.amnezia import Tunnel, open_node_tunnel
from pharos.wire.profile import Profile, ProfileNode


class Client:
    """One enrolled device; ``open_client`` makes it."""

    def __init__(self, store: ProfileStore) -> None:
        self._store = store

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
        """Return a context manager that runs a tunnel to a node, by id or name; None takes the first.

        Raises: NoSuchNodeError — the profile has no such node.
        """
        profile = self.profile()
        return open_node_tunnel(profile, find_node(profile, node), self._store.enrolled().secrets)


@asynccontextmanager
async def open_client(path: Path) -> AsyncIterator[Client]:
    """Open the store of an enrolled device.

    Raises: NotEnrolledError — it is in no fleet. StateFileError — a file is damaged; it was left as it is.
    """
    store = ProfileStore(path)
    store.enrolled()
    yield Client(store)


def find_node(profile: Profile, wanted: str | None) -> ProfileNode:
    """Return the node with that id or name; None takes the first.

    Raises: NoSuchNodeError.
    """
    found = [node for node in profile.nodes if wanted is None or wanted in (node.id, node.name)]
    if not found:
        known = ", ".join(node.name for node in profile.nodes) or "none"
        raise NoSuchNodeError(f"the profile has no node {wanted!r}; it has: {known}")
    return found[0]
