"""Xray behind the drivers' interface: the file first, then its API, and a new beginning where nothing else helps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import trio

from pharos.buoy.dataplane.base import (
    NO_REASONS,
    REMOVED,
    EngineError,
    OnEvent,
    PeerCounters,
    RealityPlan,
    RealityUser,
)
from pharos.buoy.dataplane.realityplan import Place
from pharos.buoy.xray.api import TagUnknownError, XrayApi, open_api
from pharos.buoy.xray.changes import Change, changes_between, changes_to
from pharos.buoy.xray.counters import Counters, Octets
from pharos.buoy.xray.files import discard_config, keep_config, write_candidate
from pharos.buoy.xray.joiner import IPAddress
from pharos.buoy.xray.model import ACCESS_LOG_NAME, XrayConfig
from pharos.buoy.xray.observe import open_access_log
from pharos.buoy.xray.own import own_addresses
from pharos.buoy.xray.places import Ports, listen_address
from pharos.buoy.xray.runner import Kill, Runner, dry_run
from pharos.buoy.xray.version import Abilities, probe, spell
from pharos.buoy.xray.witness import Witness, whereabouts
from pharos.wire.ids import DeviceId
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import in_thread, wall_ns

log = logging.getLogger(__name__)

START_TIMEOUT: Final = 20 * SECONDS
"""10,000 users take a quarter of a second, and systemd may wait for the one before to end."""
RETRY_FIRST: Final = 50 * MILLISECONDS
RETRY_MOST: Final = 1 * SECONDS
"""One that fell is started again after a second."""
MICROSECONDS: Final = 1_000_000
"""Of a second."""
LACKS: Final = ("rate limits",)
"""What a plan may ask for and Xray has not."""


class XrayDriver:
    """A `RealityDriver` over an Xray that runs by itself and shares the directory ``runtime`` with us.

    ``baseline``: where the counters begin. ``own``: networks of the node's public addresses.
    """

    name = "xray"
    lacks = LACKS

    def __init__(
        self,
        *,
        program: Path,
        runtime: Path,
        place: Place,
        runner: Runner,
        kill: Kill,
        on_event: OnEvent,
        own: Callable[[], Sequence[str]] = own_addresses,
        baseline: Mapping[DeviceId, Octets] | None = None,
        clock: Callable[[], int] = wall_ns,
    ) -> None:
        self.version = ""
        """Of the program, once it was asked."""
        self._program = program
        self._runtime = runtime
        self._place = place
        self._runner = runner
        self._read_own = own
        self._clock = clock
        self._witness = Witness(kill=kill, on_event=on_event, clock=clock)
        self._counters = Counters(baseline)
        self._abilities = Abilities((0, 0, 0))
        self._ports = Ports()
        self._own: tuple[str, ...] | None = None
        self._turn = trio.Lock()
        self._plan: RealityPlan | None = None
        self._config: XrayConfig | None = None
        self._served: tuple[str, ...] = ()
        self._stopped = False
        self._doubtful = trio.Event()
        self._warned = False

    @property
    def port(self) -> int:
        """The TCP port in use, 0 while none is served."""
        return 0 if self._config is None else self._config.endpoints[0].port

    # -- the interface

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Watch Xray until cancelled, and tell it its users again when it comes back.

        Raises: EngineError — the program is none that can be used, or its directory is none.
        """
        version = await probe(self._program)
        self.version, self._abilities = spell(version), Abilities(version)
        async with open_access_log(self._runtime / ACCESS_LOG_NAME) as connections, trio.open_nursery() as nursery:
            nursery.start_soon(self._runner.run)
            nursery.start_soon(self._witness.run, connections)
            nursery.start_soon(self._follow)
            task_status.started()
        raise AssertionError("it ends by cancellation only")

    async def apply(self, plan: RealityPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make Xray be ``plan``: users change while it runs, anything else makes it begin anew.

        Who is no user any more has his connections ended. Raises: EngineError — as `RealityDriver`.
        """
        async with self._turn:
            before = {} if self._plan is None else self._plan.users
            gone = before.keys() - plan.users.keys()
            self._plan = plan
            self._witness.users = plan.users
            self._warn(plan)
            try:
                await self._become(plan, changes_between(before, plan.users), gone)
            except EngineError:
                self._doubtful.set()
                raise
            finally:
                for device_id in gone:
                    self._witness.forget(device_id, reason=reasons.get(device_id, REMOVED))

    async def read_counters(self) -> list[PeerCounters]:
        """Return what was carried for each user, over all the Xrays there were."""
        await self._count()
        users: Collection[DeviceId] = () if self._plan is None else self._plan.users
        found = []
        for device_id in users:
            received, sent = self._counters.sum(device_id)
            seen = self._witness.last_seen(device_id)
            found.append(PeerCounters(device_id=device_id, last_handshake=seen, received=received, sent=sent))
        return found

    async def restart(self) -> None:
        """Have Xray begin anew; every connection ends. Raises: EngineError."""
        async with self._turn:
            if self._config is not None:
                await self._begin_anew(self._config)

    # -- what Xray is told

    async def _become(self, plan: RealityPlan, change: Change, gone: Collection[DeviceId]) -> None:
        config = self._config_of(plan)
        if config is None:
            if not self._stopped:
                await self._runner.stop()
                discard_config(self._runtime)
                self._stopped = True
            self._config, self._served = None, ()
            return
        self._stopped = False
        known = self._served == config.tags()
        candidate = await in_thread(write_candidate, config)
        if not known:
            await dry_run(self._program, candidate)
        keep_config(config)
        self._config = config
        self._witness.ports = tuple(endpoint.port for endpoint in config.endpoints)
        if not known:
            await self._serve(config)
        elif change:
            await self._tell(config, change, gone)

    async def _serve(self, config: XrayConfig) -> None:
        """Have an Xray run that was started with this configuration, and has the plan's users."""
        self._served = ()
        if not await self._runs(config):
            await self._begin_anew(config)
        async with open_api(config.api, self._abilities) as api:
            await self._reconcile(api, config)
        self._served = config.tags()

    async def _begin_anew(self, config: XrayConfig) -> None:
        await self._count()
        await self._runner.restart()
        self._counters.begin_anew()
        until = trio.current_time() + START_TIMEOUT
        while trio.current_time() < until:
            if await self._runs(config):
                return
            await trio.sleep(RETRY_FIRST)
        raise EngineError(f"Xray was started and does not answer within {START_TIMEOUT:.0f} s")

    async def _runs(self, config: XrayConfig) -> bool:
        try:
            async with open_api(config.api, self._abilities) as api:
                await api.list_users(config.tags()[-1])
        except EngineError as error:
            log.debug("Xray does not run as it was told: %s", error)
            return False
        return True

    async def _tell(self, config: XrayConfig, change: Change, gone: Collection[DeviceId]) -> None:
        elsewhere: set[IPAddress] = set()
        try:
            async with open_api(config.api, self._abilities) as api:
                elsewhere = await whereabouts(api, gone)
                for tag in config.tags():
                    await api.change_users(tag, remove=change.remove, add=change.add)
        finally:
            # If Xray is away they have ended anyway.
            await self._witness.cut(gone, elsewhere)

    async def _reconcile(self, api: XrayApi, config: XrayConfig) -> None:
        """Make the users of the Xray that answers the plan's. Raises: TagUnknownError, EngineError."""
        users: Mapping[DeviceId, RealityUser] = {} if self._plan is None else self._plan.users
        strangers: set[DeviceId] = set()
        elsewhere: set[IPAddress] = set()
        for tag in config.tags():
            change = changes_to(await api.list_users(tag), users)
            if change:
                removed = {device_id for device_id in change.remove if device_id not in users}
                elsewhere |= await whereabouts(api, removed)
                strangers |= removed
                await api.change_users(tag, remove=change.remove, add=change.add)
        await self._witness.cut(strangers, elsewhere)

    async def _follow(self) -> NoReturn:
        """Keep a connection, so that it is seen when Xray goes; tell it its users whenever there is doubt."""
        wait = RETRY_FIRST
        while True:
            config = self._config
            if config is not None:
                try:
                    async with open_api(config.api, self._abilities) as api:
                        wait = RETRY_FIRST
                        while self._config is not None and not api.closed:
                            self._doubtful = trio.Event()
                            async with self._turn:
                                await self._settle(api)
                            await _wait_either(self._doubtful.wait, api.wait_closed)
                except EngineError as error:
                    log.log(logging.INFO if wait == RETRY_FIRST else logging.DEBUG, "Xray: %s", error)
            await trio.sleep(wait)
            wait = min(2 * wait, RETRY_MOST)

    async def _settle(self, api: XrayApi) -> None:
        if self._config is None or api.closed:
            return
        try:
            await self._reconcile(api, self._config)
        except TagUnknownError:
            await self._serve(self._config)
        self._served = self._config.tags()

    async def _count(self) -> None:
        if self._config is None:
            return
        try:
            async with open_api(self._config.api, self._abilities) as api:
                # It may have fallen and come back without our knowing yet.
                self._counters.note_start(self._now() - await api.read_uptime() * MICROSECONDS)
                for device_id, traffic in (await api.read_traffic()).items():
                    self._counters.note(device_id, traffic.received, traffic.sent)
        except EngineError as error:
            log.debug("Xray is not counted: %s", error)

    # -- small things

    def _config_of(self, plan: RealityPlan) -> XrayConfig | None:
        if not plan.endpoints:
            return None
        if self._own is None:
            # Once: addresses that change by themselves shall not make Xray begin anew.
            self._own = tuple(self._read_own())
        return XrayConfig(
            runtime=self._runtime,
            listen=listen_address(self._place.hosts),
            endpoints=self._ports.settle(plan.endpoints),
            users=plan.users,
            policy=plan.policy,
            allowed=tuple(map(str, self._place.allowed)),
            own=self._own,
        )

    def _warn(self, plan: RealityPlan) -> None:
        if not self._warned and any(user.rate_limit for user in plan.users.values()):
            self._warned = True
            log.warning("Xray has no rate limits: those of devices hold for AmneziaWG only")

    def _now(self) -> int:
        return self._clock() // 1000


async def _wait_either(*waits: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(one: Callable[[], Awaitable[None]]) -> None:
            await one()
            nursery.cancel_scope.cancel()

        for one in waits:
            nursery.start_soon(wait, one)
