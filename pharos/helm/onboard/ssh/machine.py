"""A machine behind a master connection: commands, and a file."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.helm.onboard.errors import (
    CommandTimeoutError,
    ConnectionLostError,
    RemoteAnswerError,
    RemoteCommandError,
    RemoteFullError,
)
from pharos.helm.onboard.remote import COMMAND_TIMEOUT, Destination, Facts, Progress
from pharos.helm.onboard.ssh.plain import plain
from pharos.helm.onboard.ssh.process import Ended, finish, run_program, running
from pharos.helm.onboard.ssh.rootway import RootWay
from pharos.helm.onboard.ssh.words import BEHIND, Runtime, remote_command, through_words
from pharos.wire.chance import token_hex
from pharos.wire.units import KIB
from pharos.wire.world import in_thread

LOST: Final = 255
"""What ssh itself ends with; a command may, too."""
ANSWER_TIMEOUT: Final = 5.0
"""Seconds for the master, which is on this machine, to say whether it is there."""
CHUNK: Final = 64 * KIB
"""What a pipe holds: progress is told as often as ssh takes it."""
STALL: Final = 60.0
"""Seconds in which a chunk must have gone: a slower line is none."""
DAMAGED: Final = 65
"""EX_DATAERR of sysexits.h: what arrived is not what was sent."""
_VERB: Final = re.compile(r"[A-Za-z0-9.-]{1,40}")

# It arrives under a name that nobody can have put there before (noclobber opens with O_EXCL), and which goes when
# anything is wrong. With the connection its input ends, and the digest does not fit.
_RECEIVE: Final = f"""
set -Ceu
umask 077
trap 'rm -f -- "$2"' EXIT
trap 'exit 1' HUP INT TERM
: > "$2"
cat >> "$2"
sync "$2"
test "$(sha256sum < "$2")" = "$3  -" || exit {DAMAGED}
mv -fT -- "$2" "$1"
"""


@attrs.frozen(kw_only=True)
class SshMachine:
    """One that answers; ``open_remote`` makes it."""

    destination: Destination
    host_key: str
    facts: Facts
    line: Line
    root: RootWay

    async def run(self, *argv: str, stdin: bytes = b"", root: bool = False, timeout: float = COMMAND_TIMEOUT) -> bytes:
        """Run a command there. Cancelled, it is not killed there: half of dpkg's work is worse than the whole."""
        words, given = (self.root.words(argv), self.root.stdin(stdin)) if root else (argv, stdin)
        ended = await self.line.call(words, given, timeout)
        if ended.returncode != 0:
            raise _failure(argv, ended)
        return ended.stdout

    async def upload(self, source: Path, target: str, progress: Progress) -> None:
        """Send a file as the user who logged in, mode 0600.

        Raises: RemoteFullError, RemoteCommandError, ConnectionLostError. RemoteAnswerError — it arrived damaged.
        """
        size, digest = await in_thread(_measure, source)
        words = ("sh", "-c", _RECEIVE, "sh", target, f"{target}.{token_hex(4)}.part", digest)
        async with running(self.line.words(words)) as process:
            assert process.stdin is not None
            await self._send(source, size, process.stdin, progress)
            ended = await self.line.ended(await finish(process))
        if ended.returncode == DAMAGED:
            raise RemoteAnswerError(f"{target} arrived damaged, and was removed there; try again")
        if ended.returncode != 0:
            raise _failure(("upload", source.name), ended)

    async def _send(self, source: Path, size: int, stream: trio.abc.SendStream, progress: Progress) -> None:
        sent = 0
        progress(sent, size)
        # Who receives may end before it has read all, its disk being full or the line cut: its own end tells which.
        with contextlib.suppress(trio.BrokenResourceError):
            async with await trio.open_file(source, "rb") as file:
                while chunk := await file.read(CHUNK):
                    with trio.move_on_after(STALL) as stall:
                        await stream.send_all(chunk)
                    if stall.cancelled_caught:
                        raise ConnectionLostError(f"{self.destination} took nothing of {source.name} for {STALL:.0f} s")
                    sent += len(chunk)
                    progress(sent, size)


@attrs.frozen(kw_only=True)
class Line:
    """The way through the master."""

    program: Sequence[str]
    runtime: Runtime
    destination: Destination
    master: trio.Process

    def words(self, argv: Sequence[str]) -> list[str]:
        """Return what is run here so that ``argv`` runs there."""
        return through_words(self.program, self.runtime, "--", BEHIND, remote_command(argv))

    async def call(self, argv: Sequence[str], stdin: bytes, timeout: float = COMMAND_TIMEOUT) -> Ended:
        """Run words as who logged in. Raises: ConnectionLostError, CommandTimeoutError, RemoteAnswerError."""
        ended = None
        with trio.move_on_after(timeout):
            ended = await run_program(self.words(argv), stdin=stdin)
        if ended is None:
            raise CommandTimeoutError(f"{_spelt(argv)} did not end within {timeout:.0f} s on {self.destination}")
        return await self.ended(ended)

    async def ended(self, ended: Ended) -> Ended:
        """Return how a command ended. Raises: ConnectionLostError — it was not the command that did."""
        if ended.returncode == LOST and not await self._is_up():
            said = plain(ended.stderr)
            raise ConnectionLostError(f"the connection to {self.destination} broke{f': {said}' if said else ''}")
        return ended

    async def _is_up(self) -> bool:
        if self.master.poll() is None:
            with trio.move_on_after(ANSWER_TIMEOUT):
                words = through_words(self.program, self.runtime, "-O", "check", "--", BEHIND)
                return (await run_program(words)).returncode == 0
        return False


def _failure(argv: Sequence[str], ended: Ended) -> RemoteCommandError:
    said = plain(ended.stderr)
    # strerror(3) in the locale C, which every command is given.
    full = "No space left on device" in said or "Disk quota exceeded" in said
    return (RemoteFullError if full else RemoteCommandError)(_spelt(argv), ended.returncode, said)


def _spelt(argv: Sequence[str]) -> str:
    """Return what a person calls a command: its program, and what that is to do (``dpkg``, ``apt-get install``)."""
    words = iter(argv)
    program = next((word for word in words if "=" not in word and word != "env"), "a command")
    verb = next((word for word in words if not word.startswith("-") and "=" not in word), "")
    # A script or a path is no verb.
    return f"{program} {verb}" if _VERB.fullmatch(verb) else program


def _measure(source: Path) -> tuple[int, str]:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
