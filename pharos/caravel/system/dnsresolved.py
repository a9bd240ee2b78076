"""systemd-resolved told whom to ask while a tunnel is up (resolvectl(1)). It forgets that with the TUN itself."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.caravel.system.commands import run_command
from pharos.caravel.system.plan import IpAddress

MAX_DOMAINS: Final = 200
"""Of one interface; resolved takes 256, or 1024."""
EVERYTHING: Final = "~."


@attrs.frozen(kw_only=True)
class Resolved:
    """Where it is."""

    folder: Path = Path("/run/systemd/resolve")

    async def is_running(self) -> bool:
        """Ask its own socket: the bus would start it, and its files stay behind when it ends."""
        with trio.socket.socket(socket.AF_UNIX) as sock:
            try:
                await sock.connect(str(self.folder / "io.systemd.Resolve"))
            except OSError:
                return False
        return True

    @property
    def machine_file(self) -> Path:
        """In which it keeps whom it has been told of by all interfaces, in the form of resolv.conf(5)."""
        return self.folder / "resolv.conf"


async def set_link(device: str, servers: Sequence[IpAddress], domains: Iterable[str] = ()) -> None:
    """Have all names be asked of these servers, by this interface. ``domains``: names that other interfaces may claim.

    Raises: CommandError.
    """
    named = list(dict.fromkeys(f"~{one.removeprefix('*.')}" for one in domains))
    await run_command("resolvectl", "dns", device, *map(str, servers))
    for verb, value in (("default-route", "yes"), ("llmnr", "no"), ("mdns", "no"), ("dnsovertls", "no")):
        await run_command("resolvectl", verb, device, value)
    await run_command("resolvectl", "domain", device, EVERYTHING, *(named if len(named) <= MAX_DOMAINS else ()))
    # What it knows was asked outside.
    await run_command("resolvectl", "flush-caches")


async def revert_link(device: str) -> None:
    """Raises: CommandError."""
    await run_command("resolvectl", "revert", device)
    await run_command("resolvectl", "flush-caches")
