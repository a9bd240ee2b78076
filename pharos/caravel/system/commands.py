"""Programs of the machine that system-wide mode asks: nft(8), and what manages its DNS. No shell is between."""

from __future__ import annotations

import shutil
from typing import Final

import trio

from pharos.caravel.errors import SystemModeError
from pharos.wire.units import SECONDS
from pharos.wire.world import this_world

PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"
"""Where programs are looked for; a PATH from outside plays no part in what root runs."""
PATIENCE: Final = 20 * SECONDS
"""A table of 10,000 addresses takes nft two seconds on a slow machine."""
PACKAGES: Final = {"nft": "nftables", "resolvectl": "systemd-resolved", "resolvconf": "resolvconf"}


class CommandError(SystemModeError):
    """A program of this machine failed; the message is what it said."""


def find_command(name: str) -> str | None:
    """Return where a program is; None: it is not installed."""
    return shutil.which(name, path=PATH)


async def run_command(name: str, *words: str, stdin: str = "") -> str:
    """Run a program to its end and return what it printed; one that is cancelled meanwhile is killed.

    Raises: CommandError — it is not there, said no, or took too long.
    """
    program = find_command(name)
    if program is None:
        raise CommandError(f"{name} is missing; install it: apt install {PACKAGES.get(name, name)}")
    with trio.move_on_after(PATIENCE):
        try:
            done = await this_world().run_process(
                [program, *words],
                stdin=stdin.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={"PATH": PATH, "LC_ALL": "C"},
            )
        except OSError as error:
            raise CommandError(f"{program} does not start: {error.strerror}") from error
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise CommandError(f"{name} {' '.join(words)}: {said[:500] or f'it ended with {done.returncode}'}")
        return done.stdout.decode(errors="replace")
    raise CommandError(f"{name} {' '.join(words)}: it took more than {PATIENCE:g} s")
