"""Freeze what today's version says on the wire, at its release: ``python -m tests.freeze_wire 0.2``."""

from __future__ import annotations

import re
import sys

from tests.support.wireversions import FOLDER, broken_promises, freeze, frozen, frozen_versions, todays


def main(arguments: list[str]) -> int:
    """Write the descriptors of a version whose promises to the versions before it hold; return the exit code."""
    if len(arguments) != 1 or not re.fullmatch(r"[0-9]+\.[0-9]+", arguments[0]):
        print(__doc__, file=sys.stderr)
        return 2
    version = f"v{arguments[0].replace('.', '_')}"
    if (FOLDER / version).exists():
        print(f"{arguments[0]} is frozen, and what is frozen stays", file=sys.stderr)
        return 1
    broken = [f"{old}: {promise}" for old in frozen_versions() for promise in broken_promises(frozen(old), todays())]
    if broken:
        print("\n".join(broken), file=sys.stderr)
        return 1
    for path in freeze(version):
        print(f"written: {path.relative_to(FOLDER.parents[2])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
