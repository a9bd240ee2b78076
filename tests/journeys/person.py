"""Somebody at a computer of the lab: a home of their own, a clone of the sources, and a terminal."""

from __future__ import annotations

import collections
import errno
import os
import struct
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Final

import attrs
import trio

from tests.journeys.story import ROOT
from tests.system.bare import hosts, trusted
from tests.system.lab.commands import CommandError, run_command
from tests.system.lab.network import Lab
from tests.system.lab.processes import Process

HOME: Final = "/mnt/home"
ROWS, COLUMNS = 50, 200
"""Of a terminal. Nothing that is looked for in what it shows is longer than a line."""
POLL_INTERVAL = 0.02
PATIENCE = 300.0
"""Seconds without anything shown, after which a command is stuck, or asks what nobody answers."""

# The home and all that changes in the clone are in memory, and nobody else sees them. OpenSSH looks for its files where
# passwd(5) says, whatever HOME is.
_MOVE_IN = """
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir -p /mnt/changed /mnt/work "$HOME" -m 0700
mount -t tmpfs tmpfs /media
mkdir /media/stick
mount -t overlay -o lowerdir="$1",upperdir=/mnt/changed,workdir=/mnt/work overlay "$1"
touch "$1/.venv/.stamp"
printf 'root:x:0:0:root:%s:/bin/bash\\n' "$HOME" > /mnt/passwd
printf '%s' "$2" > /mnt/hosts
printf '%s' "$3" > /mnt/trusted
for file in passwd hosts; do mount --bind /mnt/$file /etc/$file; done
mount --bind /mnt/trusted /etc/ssl/certs/ca-certificates.crt
exec sleep infinity
"""


@attrs.frozen
class Person:
    """Somebody who has set Pharos up in a clone; ``open_person`` makes them."""

    lab: Lab
    host: str
    _holder: Process

    def path(self, path: str) -> Path:
        """Return where this process finds a file of theirs, which may be in their home or in the clone."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    async def run(self, *command: str, stdin: str = "") -> str:
        """Run a command without a terminal, and return what it printed.

        Raises: CommandError — it failed.
        """
        return await run_command(*self._words(*command), stdin=stdin)

    async def type(self, text: str, answers: Mapping[str, str]) -> str:
        """Type lines into a terminal, and return what it showed; each question is answered, known by a part of it.

        Raises: CommandError — a line failed, or nothing was shown for long; the message is all that was.
        """
        terminal, theirs = os.openpty()
        try:
            ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            words = self._words("setsid", "--ctty", *_shell(text))
            process = await trio.lowlevel.open_process(words, stdin=theirs, stdout=theirs, stderr=theirs)
        finally:
            os.close(theirs)
        shown, answered = "", collections.Counter[str]()
        async with trio.lowlevel.FdStream(terminal) as stream:
            while chunk := await _receive(stream):
                shown += chunk.decode(errors="replace")
                for question, answer in answers.items():
                    while answered[question] < shown.count(question):
                        answered[question] += 1
                        await stream.send_all(answer.encode() + b"\n")
            if chunk is None:
                process.kill()
        if await process.wait() != 0:
            raise CommandError(f"{self.host} typed:\n{text}\nand saw:\n{shown}")
        return shown

    async def leave_running(self, text: str, name: str, *, until: str) -> Process:
        """Type lines into another terminal whose last goes on, and return when it has shown something.

        Raises: ProcessEndedError — it has ended.
        """
        process = await self.lab.start(self.host, *self._words(*_shell(text)), name=name)
        while until not in process.log.read_text():
            process.check()
            await trio.sleep(POLL_INTERVAL)
        return process

    def _words(self, *command: str) -> list[str]:
        return [
            *["nsenter", f"--target={self._holder.pid}", "--net", "--mount", f"--wdns={ROOT}"],
            *["env", "-i", f"HOME={HOME}", f"PATH={os.environ['PATH']}", "LANG=C.UTF-8", "TERM=xterm"],
            *command,
        ]


def _shell(text: str) -> list[str]:
    # In a terminal of one's own the commands were made known before.
    return ["bash", "-euo", "pipefail", "-c", f". .venv/bin/activate\n{text}"]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip()


async def _receive(stream: trio.lowlevel.FdStream) -> bytes | None:
    """Return what is shown next, nothing at the end; None when somebody would wonder by now."""
    try:
        with trio.move_on_after(PATIENCE):
            return bytes(await stream.receive_some(1 << 16))
        return None
    except trio.BrokenResourceError as error:
        # What a terminal says when nobody has it open any more (pty(7)).
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
            return b""
        raise


@asynccontextmanager
async def open_person(lab: Lab, host: str) -> AsyncIterator[Person]:
    """Have somebody at a host while the block lasts; what they did is forgotten with it."""
    move_in = ["unshare", "--mount", "env", f"HOME={HOME}", "sh", "-euc", _MOVE_IN]
    files = [hosts(lab, host), trusted()]
    holder = await lab.start(host, *move_in, "sh", str(ROOT), *files, name=f"{host}-home")
    # It has moved in once it is nothing but the last command.
    while _command(holder.pid) != "sleep":
        holder.check()
        await trio.sleep(POLL_INTERVAL)
    yield Person(lab, host, holder)
