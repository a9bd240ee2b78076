"""AmneziaWG by the kernel's module, which the root helper makes the interfaces of and tells what to be.

The kernel limits nobody's rate and tells of nothing by itself. Its engine is the interface: to begin anew is to remove
it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_network
from typing import Final

from pharos.buoy.dataplane.base import AwgPlan, EngineError, OnEvent
from pharos.buoy.dataplane.links import Link, link_by_helper
from pharos.buoy.dataplane.outside import OutsideAwg, interfaces_from
from pharos.buoy.dataplane.roster import Sighting
from pharos.buoy.roothelper.acts import (
    AwgDump,
    DumpAwg,
    Interface,
    LinkKind,
    PeerDump,
    RemoveLink,
    SyncAwg,
    SyncPeer,
)
from pharos.buoy.roothelper.client import RootHelper
from pharos.wire.awg.events import Event

NAME: Final = "kernel"
_BILLION: Final = 1_000_000_000


class KernelSlot:
    """One interface, told by `awg syncconf` and seen by `awg show dump`.

    ``create`` says what the kernel makes it of; None leaves that to somebody else.
    """

    def __init__(self, interface: str, helper: RootHelper, *, create: LinkKind | None = LinkKind.AMNEZIAWG) -> None:
        self._interface = Interface(interface)
        self._helper = helper
        self._set_link = link_by_helper(helper, create=create)
        self._told: AwgPlan | None = None
        self._link: Link | None = None

    @property
    def interface(self) -> str:
        """Its name."""
        return self._interface.value

    @property
    def tells(self) -> bool:
        """It does not."""
        return False

    async def connect(self) -> None:
        """Take nothing for granted: the interface may have been removed."""
        self._told = self._link = None

    async def look(self) -> Sequence[Sighting]:
        """Return the peers that the interface has; where it was not told any yet, there may be none.

        Raises: EngineError — it is gone, or the root helper is away.
        """
        try:
            dump = await self._helper.perform(DumpAwg(self._interface))
        except EngineError:
            if self._told is None or not self._told.endpoints:
                return ()
            raise
        assert isinstance(dump, AwgDump)
        if self._told is not None and not _is_told(self._told, dump):
            # Somebody told it something else, or removed it and made it anew.
            self._told = self._link = None
        return [_sighting(peer) for peer in dump.peers]

    async def tell(self, plan: AwgPlan, link: Link) -> None:
        """Make the interface be there and be ``plan``; without an endpoint there is none.

        Raises: EngineError — the root helper is away, or the kernel will not.
        """
        told, self._told = self._told, None
        if not plan.endpoints:
            if told is None or told.endpoints:
                self._link = None
                await self._helper.perform(RemoveLink(self._interface))
        else:
            if link != self._link:
                self._link = None
                await self._set_link(link)
                self._link = link
            if plan != told:
                await self._helper.perform(_sync(self._interface, plan))
        self._told = plan

    def open_watch(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Raises: EngineError — always."""
        raise EngineError("the kernel tells of nothing by itself")


def make_kernel_awg(
    *,
    on_event: OnEvent,
    helper: RootHelper,
    interfaces: Sequence[str] = interfaces_from(),
    create: LinkKind | None = LinkKind.AMNEZIAWG,
) -> OutsideAwg:
    """Return a driver of the kernel's engine on the first interface, and for the endpoints before on the others."""

    async def restart() -> None:
        await helper.perform(RemoveLink(Interface(interfaces[0])))

    slots = [KernelSlot(interface, helper, create=create) for interface in interfaces]
    return OutsideAwg(NAME, slots, on_event=on_event, restart=restart)


def _sync(interface: Interface, plan: AwgPlan) -> SyncAwg:
    (endpoint,) = plan.endpoints
    return SyncAwg(
        interface=interface,
        private_key=plan.private_key,
        port=endpoint.port,
        parameters=endpoint.parameters,
        peers=tuple(
            SyncPeer(
                public_key=peer.public_key,
                preshared_key=peer.preshared_key,
                networks=tuple(map(ip_network, peer.addresses)),
            )
            for peer in plan.peers.values()
        ),
    )


def _is_told(plan: AwgPlan, dump: AwgDump) -> bool:
    """Tell whether an interface is still a plan, by what a dump shows; secrets are not in it."""
    keys = {peer.public_key for peer in plan.peers.values()} if plan.endpoints else set()
    port = plan.endpoints[0].port if plan.endpoints else dump.port
    return dump.port == port and {peer.public_key for peer in dump.peers} == keys


def _sighting(peer: PeerDump) -> Sighting:
    endpoint = peer.endpoint
    return Sighting(
        public_key=peer.public_key,
        endpoint=None if endpoint is None else (str(endpoint.address), endpoint.port),
        last_handshake_ns=peer.last_handshake * _BILLION,
        received=peer.received,
        sent=peer.sent,
    )
