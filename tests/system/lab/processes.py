"""A process that runs beside the test: its log is a file, and it says when it is ready as it does to systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import trio

STOP_TIMEOUT = 8.0
"""Seconds; a daemon of ours ends its connections within five (pharos.wire.daemon)."""


class ProcessEndedError(Exception):
    """A process ended unasked; the message shows the end of its log."""


class Process:
    """One process under its own pid; the lab ends those that are left."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self.words = words
        self.log = log
        self._process: trio.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was started"
        return self._process.pid

    async def start(self, *, ready: bool = False) -> None:
        """Start it; with ``ready``, return when it has sent READY=1 (sd_notify(3)).

        Raises: ProcessEndedError — it ended instead.
        """
        assert self._process is None, "it was stopped before"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop("NOTIFY_SOCKET", None)
        if not ready:
            await self._open(environment)
            return
        # A socket with a path is in all network namespaces; one without is in none but its own.
        path = self.log.with_suffix(".notify")
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            await notify.bind(str(path))
            try:
                process = await self._open(environment | {"NOTIFY_SOCKET": str(path)})
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._fail_when_ended, process)
                    while b"READY=1" not in (await notify.recv(4096)).split(b"\n"):
                        pass
                    nursery.cancel_scope.cancel()
            finally:
                path.unlink()

    async def stop(self) -> None:
        """Ask it to end, as systemd does; kill it if it does not."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until it has ended by itself; return its exit code, negative for a signal."""
        assert self._process is not None, "it was started, and not stopped"
        process = self._process
        code = await process.wait()
        self._process = None
        return code

    def check(self) -> None:
        """Raises: ProcessEndedError — it has ended unasked."""
        if self._process is not None and self._process.poll() is not None:
            tail = self.log.read_text(errors="replace").splitlines()[-8:]
            raise ProcessEndedError(f"{self.log.stem} ended with {self._process.returncode}: " + " | ".join(tail))

    async def _open(self, environment: dict[str, str]) -> trio.Process:
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                self.words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        return self._process

    async def _fail_when_ended(self, process: trio.Process) -> None:
        await process.wait()
        self.check()

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        with trio.move_on_after(STOP_TIMEOUT) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            process.kill()
            await process.wait()


def pids_with(*ends: str) -> list[int]:
    """Return the processes of this machine whose command line has for each of these a word that ends so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            # It has ended meanwhile.
            continue
        if all(any(word.endswith(end.encode()) for word in words) for end in ends):
            found.append(int(path.parent.name))
    return found
