"""Routes, rules and switches of the kernel as this machine has them: set, kept and put back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, NoReturn

import attrs
import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.kernel import SWITCHES, add_routing, read_switch, remove_routing, write_switch
from pharos.caravel.system.killswitch import keep
from pharos.caravel.system.restore import Journal, Json
from pharos.caravel.system.routes import Route, Rule
from pharos.caravel.system.rtnetlink import NEWS_GROUPS

log = logging.getLogger(__name__)

ROUTING: Final = "routing"
SWITCH: Final = "switch"
VALID_MARK: Final = "ipv4/conf/all/src_valid_mark"
"""Below /proc/sys/net. A reverse-path filter then judges an answer by the mark of what it answers."""
REVERSE_PATH: Final = "ipv4/conf/all/rp_filter"
STRICT, LOOSE = "1", "2"
"""RFC 3704. A strict filter drops the ARP requests of neighbours whom this machine reaches by the tunnel, and they find
it no more. The table of nftables keeps out whatever it kept out."""
_NETLINK_ROUTE: Final = 0


@attrs.frozen(kw_only=True)
class Routing:
    """What is set, in the kernel's words."""

    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    changed: Callable[[], object]
    """Called when links or routes have changed, anybody's. Raises: SystemModeError — it is called again."""

    def set(self, journal: Journal) -> None:
        """Note it all and set it.

        Raises: SystemModeError.
        """
        # A route into our TUN ends with that, whoever ends it.
        staying = [route.as_json() for route in self.routes if route.device is None]
        journal.note(ROUTING, {"routes": staying, "rules": [rule.as_json() for rule in self.rules]})
        add_routing(self.routes, self.rules)
        set_switch(journal, VALID_MARK, "1")
        if any(read_switch(path) == STRICT for path in SWITCHES.glob("ipv4/conf/*/rp_filter")):
            # The larger of this and an interface's own is what counts.
            set_switch(journal, REVERSE_PATH, LOOSE)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keep it so until cancelled: systemd-networkd removes what it does not know when it starts."""
        await keep(_NETLINK_ROUTE, NEWS_GROUPS, self._look, task_status=task_status)

    async def _look(self) -> None:
        await trio.lowlevel.checkpoint()
        # What is there stays, and makes no news.
        add_routing(self.routes, self.rules)
        self.changed()


def set_switch(journal: Journal, name: str, value: str) -> None:
    """Set a switch of the kernel, by its path below /proc/sys/net, if it is there and not so already.

    Raises: SystemModeError.
    """
    before = read_switch(SWITCHES / name)
    if before not in (None, value):
        journal.note(SWITCH, {"name": name, "before": before, "value": value})
        write_switch(SWITCHES / name, value)


async def undo_routing(body: Json) -> None:
    """Undo what is noted as `ROUTING`. Raises: SystemModeError."""
    try:
        routes = [Route.from_json(one) for one in body["routes"]]
        rules = [Rule.from_json(one) for one in body["rules"]]
    except (KeyError, TypeError, ValueError) as error:
        raise SystemModeError(f"the note of routes is not ours: {error}") from error
    await trio.lowlevel.checkpoint()
    remove_routing(routes, rules)


async def undo_switch(body: Json) -> None:
    """Undo what is noted as `SWITCH`, unless somebody has set it otherwise since. Raises: SystemModeError."""
    name, before, value = (str(body.get(key)) for key in ("name", "before", "value"))
    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
        raise SystemModeError(f"{name} is no switch of the network")
    await trio.lowlevel.checkpoint()
    if read_switch(SWITCHES / name) == value:
        write_switch(SWITCHES / name, before)
