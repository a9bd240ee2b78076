"""The acts, done: the one module of the root helper that touches the machine.

Tools are started by their words, with the helper's own environment, and told what is secret by pipes; no shell is
between, and no word is the asker's.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import pwd
import shutil
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import trio

from pharos.buoy.netkernel import NetworkPolicyError
from pharos.buoy.netpolicy import NetworkKeeper
from pharos.buoy.roothelper.acts import (
    MAX_FINDING,
    MAX_FINDINGS,
    Act,
    Answer,
    Applied,
    ApplyNetwork,
    AwgDump,
    Done,
    DumpAwg,
    Interface,
    Killed,
    KillSockets,
    RemoveLink,
    RemoveNetwork,
    SetLink,
    SocketPair,
    SyncAwg,
    UnitAct,
)
from pharos.buoy.roothelper.errors import ActFailedError, ActRefusedError
from pharos.buoy.roothelper.links import LinkSeen, RouteSeen, link_lines, parse_link, parse_routes
from pharos.buoy.roothelper.sockdiag import (
    NETLINK_SOCK_DIAG,
    SocketSeen,
    destroy_socket,
    find_socket,
    parse_answer,
)
from pharos.buoy.roothelper.wgtool import AWG, TOOL_OF, WG, parse_dump, render_sync
from pharos.wire.units import KIB, SECONDS

log = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")

ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
REALITY_USERS: Final = ("pharos-reality", "pharos-xray")
"""Whose connections may be ended."""
# systemd gives a unit 90 s to stop unless the unit says less, as ours do (10 s).
UNIT_TIMEOUT: Final = 95 * SECONDS
# 10,000 peers take `wg syncconf` well under a second.
TOOL_TIMEOUT: Final = 20 * SECONDS
_ANSWER_BYTES: Final = 4 * KIB


def reality_uids() -> frozenset[int]:
    """The uids of the REALITY servers that this machine has users for."""
    found = set()
    for name in REALITY_USERS:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    # Root has every other connection of this machine.
    return frozenset(found - {0})


class Performer:
    """Does acts; ``keeper`` keeps the network policy, ``owners`` says whose connections may be ended."""

    def __init__(self, keeper: NetworkKeeper, *, owners: Callable[[], Collection[int]] = reality_uids) -> None:
        self._keeper = keeper
        self._owners = owners
        # What is read of an interface has to be true still when it is changed.
        self._network = trio.Lock()

    async def perform(self, act: Act) -> Answer:
        """Do an act.

        Raises: ActRefusedError — it is none of those that are done. ActFailedError — the machine would not.
        """
        match act:
            case UnitAct():
                await _run(
                    "systemctl", "--no-ask-password", act.verb.value, act.unit.value, timeout_seconds=UNIT_TIMEOUT
                )
                return Done()
            case KillSockets():
                return Killed(self._kill(act))
            case ApplyNetwork() | RemoveNetwork():
                return await self._keep(act)
            case _:
                async with self._network:
                    return await self._change(act)

    async def _keep(self, act: ApplyNetwork | RemoveNetwork) -> Answer:
        try:
            if isinstance(act, RemoveNetwork):
                await self._keeper.remove()
                return Done()
            if strangers := set(act.plan.confined) - set(self._owners()):
                raise ActRefusedError(f"uid {min(strangers)} serves no REALITY, and is not confined")
            findings = await self._keeper.apply(act.plan)
        except NetworkPolicyError as error:
            raise ActFailedError(str(error)) from error
        return Applied(tuple(_line(finding) for finding in findings[:MAX_FINDINGS]))

    async def _change(self, act: SetLink | RemoveLink | SyncAwg | DumpAwg) -> Answer:
        match act:
            case SetLink():
                await _set_link(act)
            case RemoveLink():
                if await _see_link(act.interface) is not None:
                    await _run("ip", "link", "delete", "dev", act.interface.value)
            case SyncAwg():
                await _sync_awg(act)
            case DumpAwg():
                return await _dump_awg(act)
        return Done()

    def _kill(self, act: KillSockets) -> int:
        owners = self._owners()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as monitor:
            # The kernel answers within the call that asks.
            ask = functools.partial(_ask, monitor)
            found = [(pair, seen) for pair in act.sockets if (seen := _find(ask, pair)) is not None]
            for pair, seen in found:
                if seen.uid not in owners:
                    raise ActRefusedError(
                        f"the connection on port {pair.local.port} belongs to uid {seen.uid}, which serves no REALITY"
                    )
            return sum(_destroy(ask, pair, seen.cookie) for pair, seen in found)


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_FINDING]


Ask: TypeAlias = Callable[[bytes], SocketSeen | int]


def _ask(monitor: socket.socket, request: bytes) -> SocketSeen | int:
    monitor.send(request)
    return parse_answer(monitor.recv(_ANSWER_BYTES))


def _find(ask: Ask, pair: SocketPair) -> SocketSeen | None:
    seen = ask(find_socket(pair))
    if isinstance(seen, int):
        if seen == errno.ENOENT:
            return None
        raise ActFailedError(f"the kernel does not tell of its sockets: {os.strerror(seen)}")
    return seen if seen.is_connection(pair) else None


def _destroy(ask: Ask, pair: SocketPair, cookie: bytes) -> bool:
    answer = ask(destroy_socket(pair, cookie))
    # It may have ended by itself since it was found.
    if answer in (errno.ENOENT, errno.ESTALE):
        return False
    if answer != 0:
        assert isinstance(answer, int)
        raise ActFailedError(f"the kernel does not end its connections: {os.strerror(answer)}")
    return True


async def _set_link(act: SetLink) -> None:
    name = act.interface.value
    seen = await _see_link(act.interface)
    if seen is None:
        if act.create is None:
            raise ActFailedError(f"there is no interface {name}: its engine does not run")
        await _run("ip", "link", "add", "dev", name, "type", act.create.value)
        seen = await _need_link(act.interface)
    elif act.create is not None and seen.kind != act.create.value:
        raise ActFailedError(f"{name} is there and is no {act.create.value} interface: stop who made it")
    routes: list[RouteSeen] = []
    for version in (4, 6):
        text = await _run("ip", "-json", f"-{version}", "route", "show", "dev", name)
        routes += _read(parse_routes, text, version)
    ipv6 = _has_ipv6(act.interface)
    if not ipv6 and any(one.version == 6 for one in (*act.addresses, *act.networks)):
        log.info("%s gets no IPv6, which this machine has switched off", name)
    lines = link_lines(act, seen, routes, ipv6=ipv6)
    await _run("ip", "-batch", "-", stdin="\n".join(lines).encode() + b"\n")


def _has_ipv6(interface: Interface) -> bool:
    try:
        return Path(f"/proc/sys/net/ipv6/conf/{interface.value}/disable_ipv6").read_text().strip() == "0"
    except OSError:
        return False


async def _see_link(interface: Interface) -> LinkSeen | None:
    return _read(parse_link, await _run("ip", "-json", "-details", "address", "show"), interface)


async def _need_link(interface: Interface) -> LinkSeen:
    seen = await _see_link(interface)
    if seen is None:
        raise ActFailedError(f"there is no interface {interface.value}")
    return seen


def _read(read: Callable[[str, A], T], text: str, about: A) -> T:
    try:
        return read(text, about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ActFailedError(f"what ip(8) said does not read: {error!r}") from None


async def _tool(interface: Interface) -> str:
    kind = (await _need_link(interface)).kind
    installed = [tool for tool in (AWG, WG) if shutil.which(tool, path=ENVIRONMENT["PATH"]) is not None]
    wanted = [TOOL_OF[kind]] if kind in TOOL_OF else [AWG, WG]
    for tool in wanted:
        if tool in installed:
            return tool
    raise ActFailedError(f"{wanted[0]} is not installed")


async def _sync_awg(act: SyncAwg) -> None:
    tool = await _tool(act.interface)
    try:
        configuration = render_sync(act, tool)
    except ValueError as error:
        raise ActFailedError(str(error)) from None
    await _run(tool, "syncconf", act.interface.value, "/dev/stdin", stdin=configuration, secret=True)


async def _dump_awg(act: DumpAwg) -> AwgDump:
    tool = await _tool(act.interface)
    try:
        return parse_dump(await _run(tool, "show", act.interface.value, "dump", secret=True))
    except ValueError as error:
        raise ActFailedError(f"what {tool} dumped does not read: {error}") from None


async def _run(*words: str, stdin: bytes = b"", secret: bool = False, timeout_seconds: float = TOOL_TIMEOUT) -> str:
    """Run a tool to its end and return what it printed; ``secret``: it may quote what it was told.

    Raises: ActFailedError — it is not there, failed, or takes too long.
    """
    try:
        with trio.fail_after(timeout_seconds):
            done = await trio.run_process(
                words, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, env=ENVIRONMENT
            )
    except FileNotFoundError:
        raise ActFailedError(f"{words[0]} is not installed") from None
    except trio.TooSlowError:
        raise ActFailedError(f"{words[0]} took longer than {timeout_seconds:.0f} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").splitlines()
        if secret:
            # What it says of the interface, and nothing of a line that it could not read.
            said = [line for line in said if line.startswith("Unable to ")]
        raise ActFailedError(f"{words[0]} ended with code {done.returncode}: {' / '.join(said)}")
    return done.stdout.decode(errors="replace")
