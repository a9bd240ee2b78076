"""The split's table of nftables as this machine has it: changed, looked at, taken down."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Final

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.commands import run_command
from pharos.caravel.system.plan import VERSIONS
from pharos.caravel.system.restore import Json
from pharos.caravel.system.splitnft import FAMILY, TABLE, Named, removal_document

SPLIT: Final = "split"
"""As the journal has it."""


async def apply(document: dict[str, Any]) -> None:
    """Have nft do what a document of its own JSON says, at one go. Raises: CommandError."""
    await run_command("nft", "-j", "-f", "-", stdin=json.dumps(document))


async def read_split_table() -> str | None:
    """Return the table as nft lists it, but for what comes and goes in its sets; None: there is none.

    Raises: CommandError.
    """
    tables = json.loads(await run_command("nft", "-j", "list", "tables"))["nftables"]
    if not any(one.get("table", {}).get("name") == TABLE for one in tables):
        return None
    return await run_command("nft", "-j", "-t", "list", "table", FAMILY, TABLE)


async def read_named() -> list[Named]:
    """Return the addresses of names in the table, as far as it may hold any; none if there is no table.

    Raises: CommandError.
    """
    if await read_split_table() is None:
        return []
    found: list[Named] = []
    for version in VERSIONS:
        listed = json.loads(await run_command("nft", "-j", "list", "set", FAMILY, TABLE, f"names{version}"))
        elements = [each for one in listed["nftables"] for each in one.get("set", {}).get("elem", ())]
        for each in [one["elem"] for one in elements if isinstance(one, dict) and "elem" in one]:
            found.append(Named(address=ipaddress.ip_address(each["val"]), seconds=int(each.get("expires", 1))))
    return found


async def undo_split(body: Json) -> None:
    """Undo what is noted as `SPLIT`. Raises: SystemModeError."""
    if body.get("table") != TABLE:
        raise SystemModeError(f"{body.get('table')!r} is no table of ours")
    await apply(removal_document())
