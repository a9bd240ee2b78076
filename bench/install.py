"""How long is the way from a clone to a fleet? Packages, one bare server, and the README's story, in seconds.

    python -m bench.install [--quick]

`deb_s` is `make deb`, its wheels downloaded before. The rest happens on a Debian machine of the lab (tests/system) that
has nothing but sshd, with a mirror beside it: `onboard_s` is the README's `helm nodes add`, for a node with a relay;
`agent_ready_s` is systemd's own time from start to READY of the slower agent; `journey_s` is what all commands of the
README take. With --quick the agents alone are packed, and the story ends where the server is in. A lab takes root and
the tools of `.ci/deps`; without it packages alone are measured. Exit code 1 means that something could not be measured.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from bench.support import report, show
from tests.journeys.story import ROOT, Block, read_story
from tests.journeys.telling import README, SERVERS, Telling, open_telling
from tests.system.lab.commands import CommandError
from tests.system.lab.processes import ProcessEndedError
from tests.system.needs import missing_for_bare_machines
from tests.system.trees import BARE, ensure_tree

RELEASE: Final = "trixie"
AGENTS: Final = ("buoy", "beacon")
STARTS: Final = 5
PATIENCE: Final = 900.0
"""Seconds for a story; it shall take less than 600."""
PACKING, ONBOARDING = "make deb", "helm nodes add"
"""By which two of the README's blocks are known."""
_FAILURES: Final = (
    *(OSError, RuntimeError, subprocess.CalledProcessError),
    *(CommandError, ProcessEndedError, trio.TooSlowError),
)

Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the agents and one server, a minute")
    quick = parser.parse_args().quick
    try:
        with tempfile.TemporaryDirectory() as folder:
            debs = Path(folder) / "debs"
            figures = measure_packages(debs, quick=quick)
            if lacks := missing_for_bare_machines():
                print(f"no server is brought in: {lacks}", file=sys.stderr)
            else:
                figures |= trio.run(measure_story, Path(folder), debs, quick)
    except _FAILURES as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("install", figures)
    return 0


def measure_packages(out: Path, *, quick: bool) -> Figures:
    """Build packages into a folder; how long does it take, and how large is the larger agent's?"""
    build = [sys.executable, str(ROOT / "packaging/build_deb.py"), "--out", str(out), *(AGENTS if quick else ())]
    if not quick:
        # Whatever is not in the cache yet is downloaded, which is the network's time; this is as short as it gets.
        subprocess.run([*build, "--level", "0"], check=True, stdout=sys.stderr)
    begun = time.monotonic()
    subprocess.run(build, check=True, stdout=sys.stderr)
    seconds = time.monotonic() - begun
    sizes = {agent: next(out.glob(f"pharos-{agent}_*.deb")).stat().st_size / 1e6 for agent in AGENTS}
    show("packages, MB", {agent: [size] for agent, size in sizes.items()})
    return ({} if quick else {"deb_s": seconds}) | {"deb_mb": max(sizes.values())}


async def measure_story(folder: Path, debs: Path, quick: bool) -> Figures:
    """Do what the README says; how long does it take, and how soon are agents ready?"""
    await ensure_tree(RELEASE, BARE)
    with trio.fail_after(PATIENCE):
        async with open_telling(folder, RELEASE, SERVERS[README], debs=debs if quick else None) as telling:
            await telling.tell(_without_packing(read_story(README)) if quick else read_story(README))
            ready = await measure_starts(telling)
            steps = {each.block.text.splitlines()[0]: [1000 * each.seconds] for each in telling.told}
            show("the README's commands, ms", steps)
            figures = {"onboard_s": telling.seconds(ONBOARDING), "agent_ready_s": ready}
            return figures if quick else figures | {"journey_s": telling.seconds()}


def _without_packing(story: list[Block]) -> list[Block]:
    """Return the blocks that bring a server in, from packages that are there."""
    [last] = [number for number, block in enumerate(story) if ONBOARDING in block.text]
    return [block for block in story[: last + 1] if PACKING not in block.text]


async def measure_starts(telling: Telling) -> float:
    """Return the seconds from start to READY of the slower agent, the median of some starts."""
    [machine] = telling.servers.values()
    taken: dict[str, list[float]] = {f"pharos-{agent}": [] for agent in AGENTS}
    for _ in range(STARTS):
        for unit, seconds in taken.items():
            await machine.run("systemctl", "restart", unit)
            stamps = ("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
            said = await machine.run("systemctl", "show", unit, *(f"--property={stamp}" for stamp in stamps))
            at = {name: int(value) for name, _, value in (line.partition("=") for line in said.splitlines())}
            seconds.append((at[stamps[1]] - at[stamps[0]]) / 1e6)
    show("from start to READY, ms", {unit: [1000 * each for each in seconds] for unit, seconds in taken.items()})
    return max(statistics.median(seconds) for seconds in taken.values())


if __name__ == "__main__":
    sys.exit(main())
