"""Debian machines with systemd as their first process, in a lab's namespaces: booted by systemd-nspawn in a second.

What a machine writes goes to memory and is gone with it. Works where the first process of the host is not systemd, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.system.lab.commands import CommandError, run_command
from tests.system.lab.network import Lab
from tests.system.trees import FULL, Recipe, ensure_tree

BOOT_TIMEOUT = 60.0
POWER_OFF_TIMEOUT = 20.0
POLL_INTERVAL = 0.05

ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
_POWER_OFF = signal.SIGRTMIN + 4  # systemd(1), SIGNALS


class Machine:
    """A machine that runs; ``open_machine`` makes it."""

    def __init__(self, host: str, leader: int) -> None:
        self.host = host
        """Where in the lab it stands."""
        self._leader = leader

    async def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run a command inside, as root, to its end and return what it printed.

        Raises: CommandError — it failed and ``check`` is set.
        """
        words = [*_inside(self._leader), "env", "-i", *ENVIRONMENT, *command]
        return await run_command(*words, stdin=stdin, check=check)

    async def put(self, path: str, content: str, *, mode: int = 0o644) -> None:
        """Write a file, and the folders it needs."""
        script = 'umask 077 && mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        await self.run("sh", "-c", script, "sh", path, f"{mode:o}", stdin=content)

    async def state(self) -> str:
        """Return systemd's own word: ``running`` when all is well, ``degraded`` when a unit has failed."""
        return (await self.run("systemctl", "is-system-running", check=False)).strip()

    async def wait_running(self) -> None:
        """Wait until all units are started; the caller owns the timeout.

        Raises: CommandError — a unit has failed; the message names it.
        """
        while (state := await self.state()) != "running":
            if state == "degraded":
                raise CommandError(f"{self.host}: " + await self.run("systemctl", "--failed", "--no-legend", "--plain"))
            await trio.sleep(POLL_INTERVAL)


@asynccontextmanager
async def open_machine(
    lab: Lab, host: str, release: str, *, binds: Sequence[str] = (), recipe: Recipe = FULL
) -> AsyncIterator[Machine]:
    """Boot a machine at a host of the lab, and power it off when the block ends; it is the lab's to kill.

    ``binds`` are folders or files to see inside, read-only, as ``HERE:THERE``.

    Raises: CommandError — it does not boot, or a unit fails.
    """
    tree = await ensure_tree(release, recipe)
    # Other labs may hold a machine of the same host.
    name = f"{lab.name}-{host}".replace(".", "-")
    nspawn = [
        *["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"],
        *[f"--machine={name}", f"--hostname={host}", f"--directory={tree}", "--volatile=overlay"],
        *[f"--network-namespace-path={lab.namespace(host).path}", "--capability=CAP_NET_ADMIN"],
        *[f"--bind-ro={bind}" for bind in binds],
    ]
    # systemd in the machine wants the one hierarchy of cgroups, whatever the host has.
    environment = {**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    log = lab.folder / f"{host}.machine.log"
    with log.open("wb") as file:
        process = await trio.lowlevel.open_process(
            nspawn,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C is for the test; nspawn would take it for its own.
            start_new_session=True,
        )
    try:
        with trio.fail_after(BOOT_TIMEOUT):
            machine = Machine(host, await _leader(process, log))
            await machine.wait_running()
        yield machine
    finally:
        with trio.CancelScope(shield=True):
            await _power_off(process)


def _inside(leader: int) -> list[str]:
    return ["nsenter", f"--target={leader}", "--all", "--"]


async def _leader(process: trio.Process, log: Path) -> int:
    """Return the pid of a machine's first process once systemd answers in there.

    Raises: CommandError — nspawn has ended.
    """
    while True:
        if process.poll() is not None:
            raise CommandError(f"the machine did not boot: {_tail(log)}")
        for pid in filter(_is_first, _children(process.pid)):
            # Nobody may be there yet to answer.
            with contextlib.suppress(CommandError):
                await run_command(*_inside(pid), "systemctl", "show", "--property=Version")
                return pid
        await trio.sleep(POLL_INTERVAL)


def _is_first(pid: int) -> bool:
    """Tell whether a process is the first of a process namespace of its own, and not a step on the way to it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return len(line.split()) > 2 and line.split()[-1] == "1"
    return False


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


async def _power_off(process: trio.Process) -> None:
    if process.poll() is None:
        for pid in _children(process.pid):
            # nspawn is its parent and has not waited for it, so that the pid is still this machine's.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, _POWER_OFF)
    with trio.move_on_after(POWER_OFF_TIMEOUT):
        await process.wait()
    if process.poll() is None:
        process.kill()
        await process.wait()


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = path.read_text()
            # proc(5): the parent is the second field after the command, which ends with the last parenthesis.
            if int(text[text.rindex(")") + 2 :].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found
