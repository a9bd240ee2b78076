"""A process that tells stories: ``python -m tests.sim.worker SEED…``, and a line of JSON for each.

It has a hash seed of its own, given by whoever starts it, and its fleets' files in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import socket
import tempfile
from pathlib import Path

import attrs

from pharos.demo.processes import free_port
from tests.sim.story import STEPS, Teller
from tests.sim.weakened import WEAKENED

MEMORY = Path("/dev/shm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--weakened", choices=sorted(WEAKENED), help="tell it of a build that lacks something")
    parser.add_argument("--until-failed", action="store_true", help="tell no more once one has failed")
    parser.add_argument("--verbose", action="store_true", help="daemons may say what they have to say")
    parser.add_argument("--trace", action="store_true", help="say what happened, too")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.CRITICAL)
    where = MEMORY if MEMORY.is_dir() else None
    weakness = WEAKENED[options.weakened] if options.weakened else contextlib.nullcontext
    with tempfile.TemporaryDirectory(dir=where, prefix="pharos-sim-") as folder:
        teller = Teller(Path(folder), web_port=free_port(socket.SOCK_STREAM))
        for seed in options.seeds:
            ending = teller.tell(seed, steps=options.steps, weakness=weakness)
            told = ending.told if options.trace else ()
            print(json.dumps(attrs.asdict(attrs.evolve(ending, told=told))), flush=True)
            if ending.failed and options.until_failed:
                break


if __name__ == "__main__":
    main()
