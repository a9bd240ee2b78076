"""Run all benches, keep what they measured, and make docs/performance.md of it.

    python -m bench [--quick] [--install] [--page] [NAME …]

Each bench is a process of its own with a limit on its time; one that fails does not lose the others. ``install``, which
builds packages and whole machines, runs with ``--install`` or by its name. Results are kept in ``.cache/bench``, and
the page shows the last one of each bench; ``--page`` makes it anew and measures nothing. The last line is one JSON
object: all figures of this run as ``NAME.figure``, and those that miss their limits. Exit code 1 means that something
could not be measured.
"""

from __future__ import annotations

import argparse
import json
import sys

from bench._all_page import tally, write_page
from bench._all_results import Result, kept
from bench._all_run import APART, USUAL, command, run_all, run_bench


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="these benches only")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about a minute for each")
    parser.add_argument("--install", action="store_true", help="the way from a clone to a fleet, too")
    parser.add_argument("--page", action="store_true", help="make the page of what was kept, and measure nothing")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in (*USUAL, APART)]:
        parser.error(f"there is no bench {unknown[0]}; there are {', '.join((*USUAL, APART))}")
    names = asked.names or [*USUAL, *([APART] if asked.install else [])]
    results = [] if asked.page else run_all(names, run=lambda name: run(name, quick=asked.quick))
    write_page(kept())
    ran = {result.bench: result for result in (kept().values() if asked.page else results)}
    for result in ran.values():
        if result.error:
            print(f"{result.bench} could not measure: {result.error}", file=sys.stderr)
    found = tally(ran)
    for each in found.missed:
        print(f"missed: {each.bench}.{each.figure.name} {each.value:,.3f}, and the limit is {each.figure.limit:,}")
    figures = {f"{name}.{figure}": value for name, each in ran.items() for figure, value in each.figures.items()}
    missed = [f"{each.bench}.{each.figure.name}" for each in found.missed]
    print(json.dumps({"bench": "all", "figures": figures, "missed": missed}))
    return 1 if any(result.error for result in ran.values()) else 0


def run(name: str, *, quick: bool) -> Result:
    """Run one bench as `python -m` does."""
    return run_bench(name, command(name, quick=quick), quick=quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
