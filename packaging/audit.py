"""Look at what others have written of Pharos: ``make audit``. Locks, licences, and what is known against each version.

Ends with 1 when a lock is not whole, a licence is not allowed or an advisory is known. An advisory service that
cannot be reached is said in one line; with ``--must`` it is a failure, too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deb.errors import PackagingError
from deb.locked import wheels_for
from deb.wheels import MACHINES
from supply.advisories import Answer, ask_node, ask_python, find_npm
from supply.licences import refusals
from supply.locks import LOCKS, faults_of_node, faults_of_python
from supply.parts import locked_packages, python_parts

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"


def audit_locks() -> list[str]:
    """Return what is wrong with the locks."""
    faults = [fault for path in sorted((ROOT / "requirements").glob("*.txt")) for fault in faults_of_python(path)]
    return faults + faults_of_node(FRONTEND / "package-lock.json")


def audit_licences(cache: Path) -> tuple[int, list[str]]:
    """Return how many packages were looked at, and what is wrong with their licences."""
    wheels = [
        path
        for arch in MACHINES
        for one in wheels_for(ROOT, "runtime", arch, cache=cache, offline=False).values()
        for path in one.values()
    ]
    node = locked_packages(FRONTEND)
    try:
        return len(python_parts(wheels)) + len(node), refusals(node)
    except PackagingError as error:
        return len(node), [*str(error).splitlines(), *refusals(node)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--must", action="store_true", help="fail when an advisory service cannot be reached")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/deb", help="folder that keeps the wheels")
    args = parser.parse_args()
    faults = audit_locks()
    print(f"audit: locks: {len(LOCKS) + 1}, {len(faults)} faults")
    try:
        looked, refused = audit_licences(args.cache)
        print(f"audit: licences: {looked} packages, {len(refused)} refused")
        faults += refused
    except PackagingError as error:
        print(f"audit: licences: nothing was looked at: {str(error).splitlines()[-1]}")
    for name in LOCKS:
        faults += _told(ask_python(ROOT / f"requirements/{name}.txt"), must=args.must)
    faults += _told(ask_node(FRONTEND, find_npm()), must=args.must)
    for fault in faults:
        print(f"audit: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _told(answer: Answer, *, must: bool) -> list[str]:
    print(answer.line(), flush=True)
    return [*answer.findings, *([answer.line()] if must and answer.unreached else [])]


if __name__ == "__main__":
    sys.exit(main())
