"""All that carries users' packets: one driver for each protocol, told the same orders, asked as one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn, TypeVar

import attrs
import trio

from pharos.buoy.dataplane.base import (
    ENDED,
    NO_REASONS,
    AwgDriver,
    AwgPlan,
    EngineError,
    PeerCounters,
    RealityDriver,
    RealityPlan,
)
from pharos.buoy.dataplane.plans import Planner
from pharos.buoy.network import NAME as NFTABLES
from pharos.buoy.network import Network
from pharos.wire.desired import Desired
from pharos.wire.ids import DeviceId
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from pharos.wire.reports import EngineReport
from pharos.wire.rpc.status import leaves
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

NETWORK: Final = "network"
"""What carries no packets and decides where they go."""
MAX_TROUBLE: Final = 200
"""Characters; a report takes a few more (`pharos.wire.convert.MAX_TEXT`)."""

RETRY_EVERY: Final = 5 * SECONDS
"""An engine that could not be told its plan is told again so often, if its driver has not done it by itself."""
RESTART_AFTER: Final = 1 * MINUTES
"""Of being told in vain: as the last resort its process begins anew, which ends the sessions that it may have."""


Plan = TypeVar("Plan", AwgPlan, RealityPlan)


class Planes:
    """The node's data planes; what `Node` asks of them is `pharos.buoy.node.DataPlane`."""

    def __init__(
        self, planner: Planner, awg: AwgDriver, reality: RealityDriver, network: Network | None = None
    ) -> None:
        self._planner = planner
        self._network = network
        self._awg = awg
        self._reality = reality
        self._desired = Desired()
        self._failures: dict[str, str] = {}
        self._failed_since: dict[str, float] = {}
        self._turn = trio.Lock()

    @property
    def port(self) -> int:
        """The UDP port of AmneziaWG, 0 while none is served."""
        return self._awg.port

    @property
    def reality_port(self) -> int:
        """The TCP port of REALITY, 0 while none is served."""
        return self._reality.port

    @property
    def awg_driver(self) -> str:
        """Which engine carries AmneziaWG."""
        return self._awg.name

    @property
    def reality_driver(self) -> str:
        """Which server carries REALITY."""
        return self._reality.name

    def read_network(self) -> NetworkPlan | None:
        """Return what the firewall was told last; None: nothing, or it is not ours to keep."""
        return None if self._network is None else self._network.read_plan()

    def health(self) -> tuple[EngineReport, ...]:
        """Return how both engines are, and the network policy where it is ours to keep."""
        names = [(protocol, driver.name) for protocol, driver in self._drivers()]
        if self._network is not None:
            names.append((NETWORK, NFTABLES))
        return tuple(
            EngineReport(protocol=protocol, driver=name, trouble=self._trouble(protocol)[:MAX_TROUBLE])
            for protocol, name in names
        )

    def _trouble(self, protocol: str) -> str:
        findings = self._network.findings if self._network is not None and protocol == NETWORK else ()
        return "; ".join([*filter(None, [self._failures.get(protocol, "")]), *findings])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Run both drivers until cancelled; one whose engine is not there yet is begun anew until it is."""
        async with trio.open_nursery() as nursery:
            for protocol, driver in self._drivers():
                nursery.start_soon(self._run_driver, protocol, driver)
            task_status.started()
            while True:
                await trio.sleep(RETRY_EVERY)
                if self._failures:
                    await self._try_again()

    async def _run_driver(self, protocol: str, driver: AwgDriver | RealityDriver) -> NoReturn:
        while True:
            try:
                await driver.run()
            except* EngineError as group:
                self._note(protocol, next(leaves(group)))
            await trio.sleep(RETRY_EVERY)

    def check(self, desired: Desired) -> None:
        """Make sure that ``apply`` could not fail for what is ordered, before anything is kept.

        Raises: RemoteProtocolError — a key cannot be used; the message names the device.
        """
        self._planner.check(desired)

    async def apply(self, desired: Desired, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make the engines serve exactly ``desired``; peers that stay keep their sessions.

        An engine that is away is told when it is back: what helm ordered is kept either way, and the other protocol
        is served.
        """
        async with self._turn:
            self._desired = desired
            # What devices may reach is settled before they come.
            await self._tell(NETWORK, reasons)
            await self._tell(AMNEZIAWG, reasons)
            await self._tell(VLESS_REALITY, reasons)

    async def read_counters(self) -> list[PeerCounters]:
        """Return what both engines know of every peer, together."""
        found = {one.device_id: one for one in await self._awg.read_counters()}
        for one in await self._reality.read_counters():
            found[one.device_id] = _together(found.get(one.device_id), one)
        return list(found.values())

    def commitment(self, device_id: DeviceId) -> bytes:
        """Return HMAC(PSK, "commit")[:8] of a peer, so that helm can compare both ends; empty for one not served."""
        return self._planner.commitment(device_id)

    async def restart(self, protocol: str) -> None:
        """Have an engine begin anew; its sessions end.

        Raises: EngineError — it could not be done.
        """
        driver = dict(self._drivers())[protocol]
        log.warning("the engine of %s (%s) begins anew", protocol, driver.name)
        await driver.restart()

    async def end_session(self, device_id: DeviceId) -> None:
        """End what a device has going on, by whichever protocol; it may come again at once.

        Raises: EngineError — an engine could not be told; it is, as soon as it can be.
        """
        failure: EngineError | None = None
        async with self._turn:
            log.info("the session of device %s is ended", device_id)
            for end in (self._end_awg, self._end_reality):
                try:
                    await end(device_id)
                except EngineError as error:
                    failure = error
        if failure is not None:
            raise failure

    async def _end_awg(self, device_id: DeviceId) -> None:
        plan = self._planner.awg(self._desired)
        others = {peer_id: peer for peer_id, peer in plan.peers.items() if peer_id != device_id}
        if len(others) < len(plan.peers):
            await self._without(AMNEZIAWG, self._awg.apply, attrs.evolve(plan, peers=others), device_id)

    async def _end_reality(self, device_id: DeviceId) -> None:
        plan = self._planner.reality(self._desired)
        others = {user_id: user for user_id, user in plan.users.items() if user_id != device_id}
        if len(others) < len(plan.users):
            await self._without(VLESS_REALITY, self._reality.apply, attrs.evolve(plan, users=others), device_id)

    async def _without(
        self, protocol: str, apply: Callable[..., Awaitable[None]], plan: Plan, device_id: DeviceId
    ) -> None:
        """Have an engine be a plan that lacks a device, and then what was ordered again. Raises: EngineError."""
        try:
            await _apply(apply, plan, {device_id: ENDED})
        except EngineError as error:
            # Whatever it is now, it is told all of it again.
            self._note(protocol, error)
            raise
        finally:
            await self._tell(protocol, NO_REASONS)

    def _drivers(self) -> tuple[tuple[str, AwgDriver | RealityDriver], ...]:
        return ((AMNEZIAWG, self._awg), (VLESS_REALITY, self._reality))

    async def _tell(self, protocol: str, reasons: Mapping[DeviceId, str]) -> None:
        try:
            if protocol == NETWORK:
                if self._network is not None:
                    await self._network.apply(self._planner.awg(self._desired), self._planner.reality(self._desired))
            elif protocol == AMNEZIAWG:
                await _apply(self._awg.apply, self._planner.awg(self._desired), reasons)
            else:
                await _apply(self._reality.apply, self._planner.reality(self._desired), reasons)
        except EngineError as error:
            self._note(protocol, error)
        else:
            if self._failures.pop(protocol, None) is not None:
                log.warning("%s is served as ordered again", protocol)
            self._failed_since.pop(protocol, None)

    def _note(self, protocol: str, error: BaseException) -> None:
        if self._failures.get(protocol) != str(error):
            log.error("%s is not served as ordered: %s", protocol, error)
        self._failures[protocol] = str(error)
        self._failed_since.setdefault(protocol, trio.current_time())

    async def _try_again(self) -> None:
        async with self._turn:
            for protocol in list(self._failures):
                await self._tell(protocol, NO_REASONS)
                since = self._failed_since.get(protocol)
                if since is None or trio.current_time() - since < RESTART_AFTER:
                    continue
                self._failed_since[protocol] = trio.current_time()
                if protocol == NETWORK:
                    continue
                try:
                    await self.restart(protocol)
                except EngineError as error:
                    log.warning("it could not: %s", error)


async def _apply(apply: Callable[..., Awaitable[None]], plan: Plan, reasons: Mapping[DeviceId, str]) -> None:
    """Raises: EngineError — not all of it is served; what is in use is, if it can be."""
    try:
        await apply(plan, reasons=reasons)
    except EngineError:
        if len(plan.endpoints) > 1:
            # Somebody else may have the port of the endpoint before; those who know the one in use shall not miss it.
            with contextlib.suppress(EngineError):
                await apply(attrs.evolve(plan, endpoints=plan.endpoints[:1]), reasons=reasons)
        raise


def _together(awg: PeerCounters | None, reality: PeerCounters) -> PeerCounters:
    return PeerCounters(
        device_id=reality.device_id,
        last_handshake=max(0 if awg is None else awg.last_handshake, reality.last_handshake),
        received=reality.received + (0 if awg is None else awg.received),
        sent=reality.sent + (0 if awg is None else awg.sent),
        reality_received=reality.received,
        reality_sent=reality.sent,
        reality_handshake=reality.last_handshake,
    )
