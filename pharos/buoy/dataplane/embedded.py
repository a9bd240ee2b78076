"""The AmneziaWG engine inside this process, for the demo, for tests, and for machines without systemd.

Its inside is a TUN interface where this process may make one, and else an exit by sockets of this process; or, where
the operator wants neither, what answers pings at the node's own addresses. It ends with the agent; an engine in a
process of its own does not (`userspace`).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, NoReturn

import attrs
import trio

from pharos.buoy.dataplane.awgchange import NOTHING, change_for, state_after
from pharos.buoy.dataplane.base import NO_REASONS, AwgPlan, EngineError, OnEvent, PeerCounters
from pharos.buoy.dataplane.rootless import ExitRules, IpNetwork, RootlessExit
from pharos.buoy.dataplane.roster import Roster, Sighting
from pharos.buoy.netkernel import read_machine_resolvers
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.engine import Engine, open_engine
from pharos.wire.awg.events import Event
from pharos.wire.awg.hostnet import HostNetwork
from pharos.wire.awg.tun import Tun, open_tun
from pharos.wire.awg.uapi import DeviceChange, DeviceState
from pharos.wire.ids import DeviceId
from pharos.wire.world import wall_ns

SetLink = Callable[[AwgPlan], Awaitable[None]]
"""Gives a TUN interface the node's addresses, and routes the devices' networks into it."""


class EmbeddedAwg:
    """An `AwgDriver` over an engine in this process; ``open_embedded_awg`` makes it."""

    name: Final = "embedded"

    def __init__(
        self,
        engine: Engine,
        inner: EchoEnd | Tun | RootlessExit,
        network: HostNetwork | None,
        roster: Roster,
        set_link: SetLink | None,
        allowed: Sequence[IpNetwork],
    ) -> None:
        self._engine = engine
        self._inner = inner
        self._allowed = allowed
        self._network = network
        self._roster = roster
        self._set_link = set_link
        # Nobody else tells the engine anything; to ask it of a thousand peers takes longer than to tell it of one.
        self._state: DeviceState | None = None
        self._told: AwgPlan | None = None

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._known_state().listen_port

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Carry packets until cancelled.

        Raises: TunGoneError — somebody removed the interface.
        """
        async with trio.open_nursery() as nursery:
            if self._network is not None:
                await nursery.start(self._network.run)
            if isinstance(self._inner, RootlessExit):
                await nursery.start(self._inner.run)
            nursery.start_soon(self._engine.run)
            task_status.started()
        raise AssertionError("an engine ends by cancellation or an error only")

    async def apply(self, plan: AwgPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make the engine be ``plan``; peers that stay keep their sessions."""
        self._roster.adopt(plan, reasons, at_ns=wall_ns())
        state = self._known_state()
        self._tell(state, change_for(_on_port(plan, state.listen_port), state, before=self._told))
        self._told = plan
        if isinstance(self._inner, EchoEnd):
            self._inner.set_addresses([ipaddress.ip_address(address) for address in plan.addresses])
        elif isinstance(self._inner, RootlessExit):
            self._inner.set_rules(
                ExitRules.of(
                    plan.policy,
                    own=plan.addresses,
                    allowed=self._allowed,
                    devices=plan.networks,
                    machine_resolvers=read_machine_resolvers(),
                )
            )
        elif self._set_link is not None:
            await self._set_link(plan)

    async def read_counters(self) -> list[PeerCounters]:
        """Return what the engine knows of every peer."""
        sightings = [
            Sighting(
                public_key=status.public_key,
                endpoint=status.endpoint,
                last_handshake_ns=status.last_handshake_ns or 0,
                received=status.received_bytes,
                sent=status.sent_bytes,
            )
            for status in self._engine.statuses()
        ]
        self._roster.see(0, sightings, now=trio.current_time(), at_ns=wall_ns())
        return self._roster.counters()

    async def restart(self) -> None:
        """Raises: EngineError — always: it is this process that would have to begin anew."""
        raise EngineError("an embedded engine restarts with its agent")

    def _known_state(self) -> DeviceState:
        """Return what the engine was told to be; counters in it are old."""
        if self._state is None:
            self._state = self._engine.state()
        return self._state

    def _tell(self, state: DeviceState, change: DeviceChange) -> None:
        """Raises: EngineError — the engine refused; what it is now is asked next time."""
        if change == NOTHING:
            return
        self._state = self._told = None
        number = self._engine.apply(change)
        if number:
            raise EngineError(f"the engine refused its plan: {os.strerror(number)}")
        if change.listen_port is None and not change.faces:
            # Where ports were bound, the engine knows which.
            self._state = state_after(state, change)


def _on_port(plan: AwgPlan, port: int) -> AwgPlan:
    """Let a plan that leaves the port to us stay on the one that we have."""
    if not plan.endpoints or plan.endpoints[0].port:
        return plan
    first, *others = plan.endpoints
    return attrs.evolve(plan, endpoints=(attrs.evolve(first, port=port), *others))


@contextmanager
def open_embedded_awg(
    *,
    host: str | None,
    port: int,
    on_event: OnEvent,
    interface: str = "",
    set_link: SetLink | None = None,
    rootless_exit: bool = False,
    allowed: Sequence[IpNetwork] = (),
) -> Iterator[EmbeddedAwg]:
    """Have an engine on one UDP port while the block lasts; `EmbeddedAwg.run` makes it carry packets.

    It listens on ``host``, or on every address there is.

    With ``interface`` its inside is a TUN interface of that name, which ``set_link`` gives its addresses. Without one
    and with ``rootless_exit`` this process dials for devices, to the Internet and to the networks that are ``allowed``.

    Raises: OSError — the port or the interface cannot be had.
    """
    roster = Roster(1, on_event)

    def hear(event: Event) -> None:
        roster.hear(event, now=trio.current_time(), at_ns=wall_ns())

    network = HostNetwork(lambda _index, _mtu: None) if interface else None
    with ExitStack() as stack:
        inner: EchoEnd | Tun | RootlessExit = RootlessExit() if rootless_exit else EchoEnd([])
        if network is not None:
            inner = stack.enter_context(open_tun(interface, mtu=DEFAULT_MTU, is_local=network.is_local))
        end = inner.far if isinstance(inner, RootlessExit) else inner
        engine = stack.enter_context(open_engine(end, host=host, on_event=hear))
        number = engine.apply(DeviceChange(listen_port=port))
        if number:
            raise OSError(number, f"UDP port {port}: {os.strerror(number)}")
        yield EmbeddedAwg(engine, inner, network, roster, set_link, allowed)
