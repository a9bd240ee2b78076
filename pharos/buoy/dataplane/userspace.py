"""AmneziaWG by any engine that speaks the UAPI: ours in its own process, amneziawg-go, wireguard-go.

Which of them it is, is found out by asking: an engine that was ours may be another one after an upgrade.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from pharos.buoy.dataplane.awgchange import NOTHING, change_for, state_after
from pharos.buoy.dataplane.base import AwgPlan, EngineError, OnEvent, Restart
from pharos.buoy.dataplane.glance import Glance
from pharos.buoy.dataplane.links import Link, SetLink
from pharos.buoy.dataplane.outside import OutsideAwg, interfaces_from
from pharos.buoy.dataplane.roster import Sighting
from pharos.buoy.dataplane.uapiclient import UapiClient
from pharos.buoy.roothelper.acts import Unit, UnitAct, UnitVerb
from pharos.buoy.roothelper.client import RootHelper
from pharos.wire.awg.events import Event
from pharos.wire.awg.params import Generation
from pharos.wire.awg.uapi import DeviceState

log = logging.getLogger(__name__)

NAME: Final = "userspace"
DIRECTORIES: Final = (Path("/run/amneziawg"), Path("/run/wireguard"))
"""Where engines listen: those of the second speak WireGuard only, unless they are ours."""


class UapiSlot:
    """An engine behind its UAPI socket."""

    def __init__(self, interface: str, *, set_link: SetLink, directories: Sequence[Path] = DIRECTORIES) -> None:
        self.interface: Final = interface
        self._set_link = set_link
        self._paths = [directory / f"{interface}.sock" for directory in directories]
        self._client: UapiClient | None = None
        self._ours = False
        self._state: DeviceState | None = None
        # What `_state` is.
        self._told: AwgPlan | None = None
        # Of the engine when it was looked at last, empty if it was told something since.
        self._fingerprint = b""
        self._link: Link | None = None

    @property
    def tells(self) -> bool:
        """It is an engine of ours."""
        return self._ours

    async def connect(self) -> None:
        """Find the engine, and find out whether it is ours.

        Raises: EngineError — nobody answers.
        """
        self._client = self._state = self._told = self._link = None
        self._fingerprint = b""
        failures: list[EngineError] = []
        for path in self._paths:
            client = UapiClient(path)
            try:
                self._ours = await client.probe_ours()
            except EngineError as error:
                failures.append(error)
                continue
            if not self._ours and "amneziawg" not in path.parent.name:
                client = UapiClient(path, generation=Generation.WIREGUARD)
            self._client = client
            log.info("%s: %s at %s", self.interface, "our engine" if self._ours else "another's engine", path)
            return
        raise EngineError("; ".join(map(str, failures)))

    async def look(self) -> Sequence[Sighting]:
        """Return the peers that the engine has.

        Raises: EngineError — it is away.
        """
        glance = await self._engine().glance()
        lost = self._told is not None and not _is_told(self._told, glance)
        if lost or self._fingerprint != glance.fingerprint:
            # It was told something since: by us, which is seen to have been done, or by somebody else.
            self._state = self._told = None
        if lost and not glance.has_key:
            # Another process has another interface, which nobody has given its addresses.
            self._link = None
        self._fingerprint = glance.fingerprint
        return glance.sightings

    async def tell(self, plan: AwgPlan, link: Link) -> None:
        """Make the engine be ``plan`` and its interface ``link``; what is so already is not said.

        Raises: EngineError — it is away, or refused.
        """
        state, told = self._state or await self._engine().read_state(), self._told if self._state else None
        change = change_for(plan, state, before=told, has_faces=self._ours, has_rates=self._ours)
        if change != NOTHING:
            # Until it has answered, it may be either.
            self._state, self._fingerprint = None, b""
            await self._engine().change(change, ours=self._ours)
            state = state_after(state, change)
        self._state, self._told = state, plan
        if link != self._link:
            self._link = None
            await self._set_link(link)
            self._link = link

    def open_watch(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Yield the events from now on.

        Raises: EngineError — the engine is away.
        """
        return self._engine().open_watch()

    def _engine(self) -> UapiClient:
        if self._client is None:
            raise EngineError(f"no engine of {self.interface} was found")
        return self._client


def make_userspace_awg(
    *,
    on_event: OnEvent,
    set_link: SetLink,
    restart: Restart,
    interfaces: Sequence[str] = interfaces_from(),
    directories: Sequence[Path] = DIRECTORIES,
) -> OutsideAwg:
    """Return a driver of the engine on the first interface, and for the endpoints before of those on the others."""
    slots = [UapiSlot(interface, set_link=set_link, directories=directories) for interface in interfaces]
    return OutsideAwg(NAME, slots, on_event=on_event, restart=restart)


def restart_by_helper(helper: RootHelper, unit: Unit) -> Restart:
    """Return what has the root helper restart an engine's unit."""
    act = UnitAct(unit, UnitVerb.RESTART)

    async def restart() -> None:
        await helper.perform(act)

    return restart


def _is_told(plan: AwgPlan, glance: Glance) -> bool:
    """Tell whether an engine still has a plan's peers, and a key if there are endpoints."""
    keys = {peer.public_key for peer in plan.peers.values()} if plan.endpoints else set()
    return glance.has_key == bool(plan.endpoints) and {sighting.public_key for sighting in glance.sightings} == keys
