"""What a lock has to be: exact versions, a hash for each, no address of a registry, wheels alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from deb.errors import PackagingError
from deb.wheels import Lock
from packaging.requirements import InvalidRequirement

LOCKS: Final = ("runtime", "agent", "caravel", "dev", "fuzz", "audit")
"""The files of ``requirements``."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA512: Final = re.compile(r"sha512-[A-Za-z0-9+/]{86}==")
_ADDRESS: Final = re.compile(r"\w+://|^\s*-(-index-url|-extra-index-url|-find-links|i|f)\b")


def faults_of_python(path: Path) -> list[str]:
    """Return a line for each thing that is wrong with a requirements file; none: pip takes exactly what was locked."""
    try:
        lock = Lock.read(path)
    except (PackagingError, InvalidRequirement) as error:
        return [f"{path.name}: {error}"]
    faults = [
        f"{path.name}: {requirement.name} has a hash that is no SHA-256: {one}"
        for requirement, hashes in lock.pins
        for one in sorted(hashes)
        if not _SHA256.fullmatch(one)
    ]
    lines = path.read_text(encoding="utf-8").splitlines()
    faults += [f"{path.name}: names an address: {line.strip()}" for line in lines if _ADDRESS.search(line)]
    return faults


def faults_of_node(path: Path) -> list[str]:
    """Return a line for each thing that is wrong with a package-lock.json; none: npm takes exactly what was locked."""
    faults = []
    for place, entry in json.loads(path.read_text(encoding="utf-8"))["packages"].items():
        if not place:
            continue
        if not _SHA512.fullmatch(entry.get("integrity", "")):
            faults.append(f"{path.name}: {place} has no SHA-512")
        if "resolved" in entry:
            faults.append(f"{path.name}: {place} names an address: {entry['resolved']}")
    return faults
