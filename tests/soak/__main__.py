"""`make soak MINUTES=…`: a fleet of real daemons in network namespaces, under load and faults; flat, and nothing lost.

Ends with a table and one line of JSON; with 1 if something grew, was lost, or was an error that no fault explains.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import trio

from tests.soak.course import soak
from tests.system.needs import missing_for_lab


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of load and faults (default: 1)")
    parser.add_argument("--seed", type=int, help="which faults befall whom, and in which order (default: any)")
    parser.add_argument("--keep", type=Path, help="folder for logs and state; a new one that is kept")
    options = parser.parse_args()
    if (missing := missing_for_lab()) is not None:
        print(f"soak: {missing}", file=sys.stderr)
        return 1
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    if options.keep is not None:
        options.keep.mkdir(mode=0o700, parents=True)
        return run(options.keep, options.minutes, seed)
    with tempfile.TemporaryDirectory(prefix="pharos-soak-") as folder:
        return run(Path(folder), options.minutes, seed)


def run(folder: Path, minutes: float, seed: int) -> int:
    """Soak, print what came of it, and return the exit code."""
    outcome = trio.run(soak, folder, minutes, seed, lambda line: print(line, flush=True))
    for line in outcome.table():
        print(line)
    print(outcome.as_json())
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())
