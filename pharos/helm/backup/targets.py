"""Where a backup goes: a folder, a server by SFTP, or a command's standard input. Programs get argument lists only."""

from __future__ import annotations

import filecmp
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Protocol

import attrs

from pharos.helm.backup.archive import Made
from pharos.helm.errors import BackupError, InvalidRequestError

SFTP_PROGRAM: Final = ("sftp",)

_NAME: Final = "{name}"
# What begins with a hyphen would be an option of sftp.
_SERVER: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9\[][A-Za-z0-9.:%\]-]*")
# The end of what a program said when it failed.
_SAID: Final = 300


class Target(Protocol):
    """A place that takes a backup which was made and verified beside it."""

    def deliver(self, made: Made) -> str:
        """Bring the file there and return where it is, for people.

        Raises: BackupError — it did not get there whole.
        """
        ...


@attrs.frozen
class SftpTarget:
    """A folder on a server, by the system's own ``sftp``: keys, host keys and ports are those of ``~/.ssh``."""

    server: str
    folder: str
    program: tuple[str, ...] = SFTP_PROGRAM

    def deliver(self, made: Made) -> str:
        """Write it under another name, fetch it back, compare, and only then give it its name."""
        name = made.path.name
        folder = self.folder.rstrip("/")
        partial, final = f"{folder}/.{name}.part", f"{folder}/{name}"
        with tempfile.TemporaryDirectory(prefix=".fetched-", dir=made.path.parent) as scratch:
            back = Path(scratch) / name
            self._run(
                f"put {_quoted(str(made.path))} {_quoted(partial)}", f"get {_quoted(partial)} {_quoted(str(back))}"
            )
            if not filecmp.cmp(made.path, back, shallow=False):
                raise BackupError(
                    f"{self.server} gave back another file than it was sent; its disk is not to be trusted"
                )
        self._run(f"rename {_quoted(partial)} {_quoted(final)}")
        return f"sftp:{self.server}:{final}"

    def _run(self, *commands: str) -> None:
        # A batch asks nothing, neither a password nor whether a host key is right: the first failure ends it. With -q
        # ssh would not say why.
        words = [*self.program, "-b", "-", "--", self.server]
        _run_program(words, "".join(f"{command}\n" for command in commands).encode())


@attrs.frozen
class CommandTarget:
    """A command that reads the file; ``{name}`` in one of its words becomes the file's name."""

    words: tuple[str, ...]

    def deliver(self, made: Made) -> str:
        """Run the command on the file."""
        words = [word.replace(_NAME, made.path.name) for word in self.words]
        _run_program(words, made.path)
        return f"cmd:{shlex.join(words)}"


def parse_target(text: str) -> Path | Target:
    """Read what stands after ``--to``.

    Raises: InvalidRequestError — it is neither a folder, nor sftp:USER@HOST:/PATH, nor cmd:COMMAND.
    """
    kind, _, rest = text.partition(":")
    if kind == "sftp":
        server, _, folder = rest.rpartition(":")
        if not _SERVER.fullmatch(server) or not folder.startswith("/") or not folder.isprintable():
            raise InvalidRequestError(f"{text!r} is not sftp:USER@HOST:/PATH, with the whole path of a folder there")
        return SftpTarget(server, folder)
    if kind == "cmd":
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise InvalidRequestError(f"{text!r} is not a command: {error}") from error
        if not words:
            raise InvalidRequestError("cmd: wants a command, such as cmd:'rclone rcat remote:pharos/{name}'")
        return CommandTarget(tuple(words))
    if not text or "\0" in text:
        raise InvalidRequestError("--to wants a folder, sftp:USER@HOST:/PATH or cmd:COMMAND")
    return Path(text)


def _run_program(words: list[str], given: bytes | Path) -> None:
    """Raises: BackupError — it is not there, or it failed."""
    try:
        if isinstance(given, Path):
            with given.open("rb") as file:
                done = subprocess.run(words, stdin=file, capture_output=True, check=False)  # noqa: S603 -- the operator's own
        else:
            done = subprocess.run(words, input=given, capture_output=True, check=False)  # noqa: S603 -- sftp
    except OSError as error:
        raise BackupError(f"{words[0]} could not be started ({error.strerror})") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-_SAID:]
        raise BackupError(f"{words[0]} failed with {done.returncode}: {said or 'it said nothing'}")


def _quoted(path: str) -> str:
    """Return a path as one word of an sftp batch. Between quotes sftp takes the signs of a glob as they are."""
    return '"' + re.sub(r'([\\"])', r"\\\1", path) + '"'
