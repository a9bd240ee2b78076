"""How a node's engines and its machine are, in words."""

from __future__ import annotations

from typing import Any

from pharos.wire.findings import size_of


def said_engine(engine: dict[str, Any]) -> str:
    """Return what carries a protocol, and what troubles it."""
    carried = f"{engine['protocol']} by {engine['driver']}"
    return f"{carried} ({engine['trouble']})" if engine["trouble"] else carried


def said_machine(machine: dict[str, Any]) -> str:
    """Return load, and what is left of memory and disk where it is known."""
    shared = f" on {machine['processors']} processors" if machine["processors"] else ""
    said = [f"load {machine['load']:.2f}{shared}"]
    if machine["memory_bytes"]:
        said.append(f"{size_of(machine['memory_available_bytes'])} of {size_of(machine['memory_bytes'])} memory free")
    if machine["disk_bytes"]:
        said.append(f"{size_of(machine['disk_free_bytes'])} of {size_of(machine['disk_bytes'])} disk free")
    return ", ".join(said)
