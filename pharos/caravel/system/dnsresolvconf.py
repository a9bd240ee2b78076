"""resolvconf(8) told whom to ask while a tunnel is up: openresolv's, or Debian's own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.commands import find_command, run_command
from pharos.caravel.system.dnsfile import read_text
from pharos.caravel.system.restore import Json

RESOLVCONF: Final = "resolvconf"
"""As the journal has it; and the program's name."""
_RECORD: Final = "caravel"
_RECORDS: Final = (Path("/run/resolvconf/interfaces"), Path("/run/resolvconf/keys"), Path("/run/resolvconf/interface"))
"""Of openresolv before its version 3.13 and since, and of Debian's."""
_ORDER: Final = Path("/etc/resolvconf/interface-order")
"""Of Debian's, which asks in the order of names, and takes those that begin with tun before those of cables."""


def is_in_charge(text: str, target: str | None) -> bool:
    """Whether it is what writes the machine's resolv.conf, which says this, and is a link to ``target`` if any."""
    program = find_command(RESOLVCONF)
    # systemd's own is resolvectl by another name.
    if program is None or Path(program).resolve().name == "resolvectl":
        return False
    head = [line for line in text.splitlines()[:10] if line.startswith("#")]
    return "resolvconf/" in (target or "") or any("resolvconf" in line for line in head)


def record_of(device: str) -> str:
    """Return the name that it knows our servers by."""
    return f"tun.{device}.{_RECORD}" if _ORDER.exists() else f"{device}.{_RECORD}"


def others_text(record: str) -> str:
    """Return what it was told of by all others, in the form of resolv.conf(5)."""
    found = sorted(path for folder in _RECORDS if folder.is_dir() for path in folder.iterdir() if path.is_file())
    return "\n".join(read_text(path) for path in found if path.name != record)


async def add_record(record: str, text: str) -> None:
    """Have the servers of this text, in the form of resolv.conf(5), be asked alone. Raises: CommandError."""
    await run_command(RESOLVCONF, "-a", record, "-m", "0", "-x", stdin=text)


async def undo_resolvconf(body: Json) -> None:
    """Undo what is noted as `RESOLVCONF`. Raises: SystemModeError."""
    record = str(body.get("record"))
    if not record.endswith(f".{_RECORD}") or record.startswith("-"):
        raise SystemModeError(f"{record!r} is no record of ours")
    if find_command(RESOLVCONF) is not None:
        # In this order both take it, and neither minds if there is none.
        await run_command(RESOLVCONF, "-d", record, "-f")
