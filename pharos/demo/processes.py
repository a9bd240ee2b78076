"""The demo's processes: daemons that run beside us, and commands that run to their end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from pharos.demo.errors import DemoError
from pharos.wire.units import SECONDS

# A daemon ends its connections within five seconds of SIGTERM (pharos.wire.daemon).
STOP_TIMEOUT: Final = 8 * SECONDS
COMMAND_TIMEOUT: Final = 20 * SECONDS
# Below the ports that Linux (32768) and macOS (49152) give to outgoing connections, above the well-known services.
_PORTS: Final = range(20_000, 32_768)
_PORT_TRIES: Final = 1000


class Daemon:
    """One daemon under its own pid; its log is a file."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._process: trio.Process | None = None

    async def start(self) -> None:
        """Start it, again if it has ended."""
        with self._log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "pharos", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )

    async def stop(self) -> None:
        """Ask it to end, as systemd does; kill it if it does not."""
        await self._end(signal.SIGTERM)
        self._process = None

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)
        self._process = None

    def check(self) -> None:
        """Raises: DemoError — it has ended unasked; the message shows the end of its log."""
        if self._process is None or self._process.returncode is None:
            return
        tail = self._log.read_text(errors="replace").splitlines()[-5:]
        raise DemoError(f"{self.name} ended with code {self._process.returncode}: " + " | ".join(tail))

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        with trio.move_on_after(STOP_TIMEOUT) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            process.kill()
            await process.wait()


class Crew:
    """Every daemon of one demo; all are stopped when the block ends, whatever ended it."""

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._daemons: list[Daemon] = []

    async def start(self, name: str, *arguments: str) -> Daemon:
        """Start a daemon."""
        daemon = Daemon(name, list(arguments), self._logs / f"{name}.log")
        self._daemons.append(daemon)
        await daemon.start()
        return daemon

    def check(self) -> None:
        """Raises: DemoError — one has ended unasked."""
        for daemon in self._daemons:
            daemon.check()

    async def stop(self) -> None:
        """Stop all of them together."""
        async with trio.open_nursery() as nursery:
            for daemon in self._daemons:
                nursery.start_soon(daemon.stop)


@asynccontextmanager
async def open_crew(folder: Path) -> AsyncIterator[Crew]:
    """Yield a crew; its processes do not outlive the block."""
    crew = Crew(folder)
    try:
        yield crew
    finally:
        with trio.CancelScope(shield=True):
            await crew.stop()


async def run_command(*arguments: str, stdin: str = "") -> str:
    """Run one command to its end and return what it printed.

    Raises: DemoError — it failed; the message is what it said.
    """
    with trio.move_on_after(COMMAND_TIMEOUT) as waiting:
        done = await trio.run_process(
            [sys.executable, "-m", "pharos", *arguments],
            stdin=stdin.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=_environment(),
        )
    if waiting.cancelled_caught:
        raise DemoError(f"pharos {' '.join(arguments[:3])} took longer than {COMMAND_TIMEOUT:.0f} s")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or f"code {done.returncode}"
        raise DemoError(f"pharos {' '.join(arguments[:3])}: {said}")
    return done.stdout.decode()


async def run_json(*arguments: str, stdin: str = "") -> Any:
    """Run one command that prints JSON."""
    return json.loads(await run_command(*arguments, "--json", stdin=stdin))


def free_port(kind: socket.SocketKind) -> int:
    """Return a loopback port that was free a moment ago, and that no outgoing connection takes meanwhile.

    Raises: DemoError — there is none, which a machine of some ten thousand listeners can manage.
    """
    for _ in range(_PORT_TRIES):
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        with socket.socket(socket.AF_INET, kind) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise DemoError("no loopback port is free")


def _environment() -> dict[str, str]:
    # Lines reach the log as they are written, so that a failure can be shown at once. A packaged command has libraries
    # of its own, which another Python does not look for by itself. The demo's devices are gone with it, and leave
    # nothing in the keyring of whoever runs it.
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
