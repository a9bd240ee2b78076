"""The beacon aboard: clients reach it over TCP, and it reaches helm without a socket, by streams within the process.

It is one more relay to the supervisor. Its listener is part of its link: a port that is taken is a link that is lost,
dialled again with the back-off of all links, and what is wrong stands where it does for other relays.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.beacon.config import BeaconConfig
from pharos.beacon.core import BeaconCore
from pharos.helm.ca.vault import Vault
from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.model.aboard import AboardPlan
from pharos.helm.model.relays import Relay
from pharos.helm.relay.identity import open_keys, settle_aboard
from pharos.helm.store.database import Store
from pharos.wire.errors import AgentError, ConfigError, LinkLostError, StateFileError
from pharos.wire.files import open_state_directory
from pharos.wire.rpc.inprocess import open_stream_pair
from pharos.wire.rpc.peer import Peer
from pharos.wire.world import in_thread, utc_now

log = logging.getLogger(__name__)

FOLDER: Final = "beacon"
"""Below helm's state directory: what this beacon keeps of the fleet's trust, as every beacon does."""


class Aboard:
    """Runs the beacon aboard while its link stands."""

    def __init__(self, plan: AboardPlan, *, state: Path, store: Store, vault: Vault) -> None:
        self._plan = plan
        self._state = state / FOLDER
        self._store = store
        self._vault = vault

    @asynccontextmanager
    async def open(self, relay: Relay) -> AsyncIterator[OpenBeacon]:
        """Listen for clients while the block runs.

        Raises: LinkLostError — the address cannot be had, or what the beacon keeps cannot be read.
        """
        core = await self._load()
        plan = self._plan

        async def listen(*, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            try:
                await core.serve_ingress(plan.port, task_status=task_status)
            except OSError as error:
                raise LinkLostError(str(error)) from error

        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            log.info("relay %s is aboard: clients on %s", relay.name, plan.place)
            yield OpenBeacon(core, nursery)
            nursery.cancel_scope.cancel()

    async def _load(self) -> BeaconCore:
        """Raises: LinkLostError."""
        config = BeaconConfig(state=self._state, host=self._plan.host, ingress_port=self._plan.port, tunnel_port=0)
        try:
            open_state_directory(self._state)
            keys = await in_thread(open_keys, self._store, self._vault)
            membership = keys.membership(now=utc_now())
            return BeaconCore(config, keys, membership)
        except (AgentError, BusyError, ConfigError, StateFileError) as error:
            raise LinkLostError(str(error)) from error


async def come_aboard(plan: AboardPlan | None, *, state: Path, context: HelmContext) -> Aboard | None:
    """Bring what is wanted into the record, and return what runs it; None where there is to be no beacon aboard.

    Raises: StateFileError — its key does not open.
    """
    store, vault = context.store, context.vault
    await store.run(settle_aboard, context.authority, vault, plan, at=now_us())
    if plan is None:
        return None
    if plan.warning:
        log.warning("%s", plan.warning)
    return Aboard(plan, state=state, store=store, vault=vault)


class OpenBeacon:
    """A beacon that listens, to be reached by helm."""

    def __init__(self, core: BeaconCore, nursery: trio.Nursery) -> None:
        self._core = core
        self._nursery = nursery

    async def open_stream(self) -> tuple[trio.abc.Stream, Peer]:
        """Return helm's end of one more tunnel."""
        ours, theirs = open_stream_pair()
        self._nursery.start_soon(self._core.run_tunnel, theirs)
        await trio.lowlevel.checkpoint()
        return ours, Peer()
