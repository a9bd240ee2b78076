"""The DNS of this machine while a tunnel is up: names are asked of the tunnel's resolvers, or told apart by a split.

Whatever manages it is told: systemd-resolved, resolvconf, or nobody, and then /etc/resolv.conf is ours meanwhile. That
no question goes elsewhere is none of its business: the kill switch's table does that (`SystemPlan.guard_dns`).
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.dnsfile import ResolvConf, read_original, read_text
from pharos.caravel.system.dnsresolvconf import (
    RESOLVCONF,
    add_record,
    is_in_charge,
    others_text,
    record_of,
    undo_resolvconf,
)
from pharos.caravel.system.dnsresolved import Resolved, revert_link, set_link
from pharos.caravel.system.dnstext import Server, askable, is_stub, read_servers, render
from pharos.caravel.system.linux import System
from pharos.caravel.system.plan import IpAddress
from pharos.caravel.system.splitting import Split
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

CLOSING: Final = 20 * SECONDS
"""For which a block that was cancelled puts things back; what is left then the journal does."""
ReadText = Callable[[], str]


@attrs.frozen(kw_only=True)
class DnsPlaces:
    """Where a machine keeps whom it asks; tests have their own."""

    resolv_conf: Path = Path("/etc/resolv.conf")
    resolved: Resolved = attrs.Factory(Resolved)


@attrs.frozen(kw_only=True)
class Dns:
    """How names are asked now."""

    manager: str
    """``systemd-resolved``, ``resolvconf``, ``file``; empty: it is as it was."""
    servers: tuple[IpAddress, ...] = ()
    """Whom this machine's programs ask."""
    outside: Callable[[], tuple[Server, ...]]
    """Returns whom the machine itself would ask, for what has to be asked past the tunnel: the names of nodes."""


@asynccontextmanager
async def open_dns(split: Split, system: System, *, places: DnsPlaces | None = None) -> AsyncIterator[Dns]:
    """Have names be asked through the tunnel, or each on its own side, while the block lasts; then it is as it was.

    Raises: SystemModeError — what manages this machine's DNS cannot be told, or no resolver is known.
    """
    where = places or DnsPlaces()
    resolvers = tuple(one for one in system.plan.resolvers if one.version in system.plan.carried)
    own = (*resolvers, *(one.ip for one in system.plan.addresses))
    if not resolvers:
        if split.plan.domains:
            raise SystemModeError("split: domains: the profile names no resolvers; add resolvers to connect.toml")
        if system.plan.guard_dns:
            log.warning("the profile names no resolvers, and no name can be asked; add resolvers to connect.toml")
        yield Dns(manager="", outside=lambda: askable(read_servers(_own_text(where)), own=own))
        return
    if split.plan.asks_outside and not split.plan.domains:
        # Only networks go in, and names are none of them.
        yield Dns(manager="", outside=lambda: askable(read_servers(_own_text(where)), own=own))
        return
    async with AsyncExitStack() as stack:
        machine = _Machine()
        servers = resolvers
        if split.plan.domains:
            servers = (await stack.enter_async_context(_proxy(split, system, resolvers, machine)),)
        manager = await stack.enter_async_context(_told(split, system, servers, where, machine))
        yield Dns(manager=manager, servers=servers, outside=lambda: machine.servers(own))


def _own_text(places: DnsPlaces) -> str:
    text = read_text(places.resolv_conf)
    return read_text(places.resolved.machine_file) if is_stub(text) else text


class _Machine:
    """Whom the machine itself would ask, looked up each time: networks come and go."""

    def __init__(self) -> None:
        self.read: ReadText = str

    def servers(self, own: Sequence[IpAddress]) -> tuple[Server, ...]:
        return askable(read_servers(self.read()), own=own)


@asynccontextmanager
async def _proxy(
    split: Split, system: System, resolvers: Sequence[IpAddress], machine: _Machine
) -> AsyncIterator[IpAddress]:
    # dnspython takes 40 ms to import, and most machines tell no names apart.
    from pharos.caravel.system.dnsask import Asker
    from pharos.caravel.system.dnsproxy import ADDRESS, DnsProxy, open_proxy
    from pharos.caravel.system.splitnames import Names

    address, plan = ipaddress.ip_address(ADDRESS), split.plan
    through = tuple(Server(str(one)) for one in resolvers)
    own = (address, *resolvers, *(one.ip for one in system.plan.addresses))
    inside = Asker(lambda: through)
    outside = Asker(lambda: machine.servers(own) or through, system.protect)
    proxy = DnsProxy(
        Names(plan.domains),
        split,
        named=outside if plan.excludes and plan.own_resolvers else inside,
        others=outside if plan.asks_outside else inside,
        strict=plan.includes,
    )
    async with open_proxy(proxy):
        yield address


@asynccontextmanager
async def _told(
    split: Split, system: System, servers: Sequence[IpAddress], where: DnsPlaces, machine: _Machine
) -> AsyncIterator[str]:
    text, target = read_text(where.resolv_conf), read_original(where.resolv_conf).target
    search = split.plan.asks_outside
    async with AsyncExitStack() as stack:
        managers: list[str] = []
        if await where.resolved.is_running():
            machine.read = lambda: read_text(where.resolved.machine_file)
            with _or_else("systemd-resolved", managers):
                await stack.enter_async_context(_link(system.device, servers, split.plan.domains))
            if managers and is_stub(text):
                yield managers[0]
                return
        elif is_in_charge(text, target):
            machine.read = lambda: others_text(record_of(system.device))
            with _or_else("resolvconf", managers):
                await stack.enter_async_context(_record(system, render(servers, text, search=search)))
            if managers and _names_alone(read_text(where.resolv_conf), servers):
                yield managers[0]
                return
        file = ResolvConf(where.resolv_conf, system.journal)
        await stack.enter_async_context(_taken(file, render(servers, text, search=search)))
        if not managers:
            machine.read = file.machine_text
        yield " and ".join([*managers, "file"])


@contextmanager
def _or_else(manager: str, managers: list[str]) -> Iterator[None]:
    """Count a manager that could be told; of one that could not, the file is taken."""
    try:
        yield
    except SystemModeError as error:
        log.warning("%s is not told whom to ask, and /etc/resolv.conf is: %s", manager, error)
    else:
        managers.append(manager)


@asynccontextmanager
async def _link(device: str, servers: Sequence[IpAddress], domains: Sequence[str]) -> AsyncIterator[None]:
    try:
        await set_link(device, servers, domains)
        yield
    finally:
        with trio.move_on_after(CLOSING, shield=True):
            try:
                await revert_link(device)
            except SystemModeError as error:
                # It goes with the interface, at the latest.
                log.info("%s", error)


@asynccontextmanager
async def _record(system: System, text: str) -> AsyncIterator[None]:
    record = record_of(system.device)
    number = system.journal.note(RESOLVCONF, {"record": record})
    try:
        await add_record(record, text)
        yield
    finally:
        with trio.move_on_after(CLOSING, shield=True):
            await undo_resolvconf({"record": record})
            system.journal.forget(number)


@asynccontextmanager
async def _taken(file: ResolvConf, text: str) -> AsyncIterator[None]:
    file.take(text)
    try:
        async with open_background(file.run):
            yield
    finally:
        with trio.move_on_after(CLOSING, shield=True):
            await file.give_back()


def _names_alone(text: str, servers: Sequence[IpAddress]) -> bool:
    """Whether nobody else is asked: Debian's own resolvconf has the others asked, too, where ours are slow."""
    found = {one.host for one in read_servers(text)}
    return bool(found) and found <= set(map(str, servers))
