"""The daemons of bench.agents, each a process started as its unit starts it, and looked at from outside."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from bench.support import cpu_seconds

_START_TIMEOUT: Final = 60.0
"""Seconds; ten thousand peers take five on a machine that has nothing else to do."""
_STOP_TIMEOUT: Final = 8.0
_LOOK_EVERY: Final = 0.1


@attrs.define(eq=False)
class Daemon:
    """One that runs."""

    process: subprocess.Popen[bytes]
    begun: float
    """On the monotonic clock, just before it was executed."""
    log: Path
    _notices: socket.socket

    def wait_ready(self) -> None:
        """Wait until it tells systemd that it is ready. Raises: RuntimeError — it ended, or does not come up."""
        self._notices.settimeout(_LOOK_EVERY)
        while time.monotonic() < self.begun + _START_TIMEOUT:
            self.check()
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in self._notices.recv(4096):
                    return
        raise RuntimeError(f"{self.log.stem} did not come up: {self.tail()}")

    def check(self) -> None:
        """Raises: RuntimeError — it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.log.stem} ended with code {self.process.returncode}: {self.tail()}")

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        return cpu_seconds(self.process.pid)

    def megabytes(self, name: str = "Pss") -> float:
        """Return its memory of one kind (proc_pid_smaps(5)); of a page that n processes have, a PSS counts 1/n."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * 1024 / 1e6
        raise RuntimeError(f"this kernel does not tell the {name} of a process")

    def said(self, text: str) -> bool:
        """Tell whether it is in its log."""
        return text in self.log.read_text(errors="replace")

    def tail(self) -> str:
        """Return the end of its log."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])


@contextmanager
def running(folder: Path, name: str, *words: str, within: Sequence[str] = ()) -> Iterator[Daemon]:
    """Run the command of that name, behind the words of ``within``, while the block lasts."""
    log = folder / f"{name}.log"
    with contextlib.ExitStack() as stack:
        notices = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        place = folder / f"{name}.notify"
        place.unlink(missing_ok=True)
        notices.bind(str(place))
        command = [*within, str(Path(sys.executable).with_name(name)), *words]
        begun = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"NOTIFY_SOCKET": str(place)},
            )
        stack.callback(stop, process)
        yield Daemon(process, begun, log, notices)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process as systemd does."""
    process.terminate()
    try:
        process.wait(timeout=_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
