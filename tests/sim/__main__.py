"""`make sim`: tell the stories of so many seeds in two processes, then a table, and a line of JSON at the end.

    python -m tests.sim --seeds 200
    python -m tests.sim --seed 12 --verbose

The second tells one story again, with all that happens in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from typing import Any

import trio

from tests.sim.running import stories

WORKERS = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="tell those of 1 to this number")
    parser.add_argument("--seed", type=int, help="tell this one alone, and what happens in it")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--verbose", action="store_true", help="daemons may say what they have to say")
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1) if options.seed is None else [options.seed]
    more = ["--trace"] * (options.seed is not None) + ["--verbose"] * options.verbose
    began = time.monotonic()
    endings: list[dict[str, Any]] = []

    def told(ending: dict[str, Any]) -> None:
        endings.append(ending)
        for line in ending["told"]:
            print(line)
        if ending["failed"]:
            print(
                f"seed {ending['seed']} failed: {ending['failed']}\n  again: make sim SEED={ending['seed']}", flush=True
            )

    trio.run(stories, list(seeds), told, options.workers, more)
    show(endings)
    failed = sorted(ending["seed"] for ending in endings if ending["failed"])
    steps = sum(ending["steps"] for ending in endings)
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"sim": {"seeds": len(endings), "failed": failed, "seconds": seconds, "steps": steps}}))
    return 1 if failed or len(endings) != len(seeds) else 0


def show(endings: list[dict[str, Any]]) -> None:
    """Print a row for each size of fleet."""
    sizes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for ending in endings:
        sizes[ending["nodes"]].append(ending)
    print(f"{'nodes':>6} {'stories':>8} {'failed':>7} {'virtual h':>10} {'CPU s each':>11}")
    for nodes, some in sorted(sizes.items()):
        failed = sum(bool(ending["failed"]) for ending in some)
        hours = sum(ending["virtual"] for ending in some) / 3600
        each = sum(ending["seconds"] for ending in some) / len(some)
        print(f"{nodes:>6} {len(some):>8} {failed:>7} {hours:>10.1f} {each:>11.2f}")


if __name__ == "__main__":
    sys.exit(main())
