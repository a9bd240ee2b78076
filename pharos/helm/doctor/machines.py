"""What nodes say of their engines and machines, as the running helm heard it last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pharos.helm.doctor.reach import Member
from pharos.wire.findings import Finding, note, problem, size_of
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from pharos.wire.units import MIB

# Logs of a busy day are some 100 MB; and an upgrade takes the package twice, unpacked and not.
LEAST_DISK: Final = 200_000_000
LEAST_DISK_SHARE: Final = 0.05
# An agent may have 80 MB, and its next start takes as much.
LEAST_MEMORY: Final = 80_000_000


def check_machines(members: Iterable[Member], seen: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Say which engines are in trouble, and where disk or memory ends; nothing of who is not up: that is long ago."""
    findings = []
    for member in members:
        node = seen.get(member.id, {})
        if node.get("link") != "up":
            continue
        findings += [_engine(member, engine) for engine in node.get("engines", ()) if engine["trouble"]]
        findings += _machine(member, node.get("machine") or {})
    return findings


def is_disk_low(size: int, free: int) -> bool:
    """Whether a node's disk ends soon, of its size and what is free of it in octets."""
    return free < LEAST_DISK or free < LEAST_DISK_SHARE * size


def _engine(member: Member, engine: Mapping[str, Any]) -> Finding:
    protocol = engine["protocol"]
    todo = "There: journalctl -u pharos-buoy"
    if protocol in (AMNEZIAWG, VLESS_REALITY):
        todo += f"; to begin it anew: helm nodes restart {member.name} --protocol {protocol}"
    says = f"Node {member.name} has trouble with {protocol} ({engine['driver']}): {engine['trouble']}"
    return problem(f"engine:{member.name}:{protocol}", says if says.endswith(".") else f"{says}.", todo)


def _machine(member: Member, machine: Mapping[str, Any]) -> Iterable[Finding]:
    size, free = machine.get("disk_bytes"), machine.get("disk_free_bytes")
    if size is not None and free is not None and is_disk_low(size, free):
        says = f"Node {member.name} has {size_of(free)} of its disk's {size_of(size)} left."
        todo = "There: journalctl --vacuum-size=100M and apt-get clean; once it is full, the node takes no change."
        yield problem(f"disk:{member.name}", says, todo)
    available = machine.get("memory_available_bytes")
    if available is not None and available < LEAST_MEMORY:
        says = f"Node {member.name} has {available / MIB:.0f} MiB of memory left."
        todo = "There: see what takes it (ps aux --sort=-rss); what else runs there may belong elsewhere."
        yield note(f"memory:{member.name}", says, todo)
