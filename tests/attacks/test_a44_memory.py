"""Row 44, measured: what a flood of sign-ins costs a helm that hashes as helms do, with 64 MiB a try.

`test_a44_argon_flood.py` shows who waits and who is turned away, with hashes that last as long as the test wants. Here
they are real, in a process of its own, whose memory is read when all is over; beside the flood a signed-in admin asks
for the fleet's status. The weakened build lets all of the flood hash at once.

Takes 15 s.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from pharos.helm.accounts.hashing import AT_ONCE
from pharos.wire.units import KIB, MIB

ROOT: Final = Path(__file__).parents[2]
A_TRY: Final = 64 * MIB
FLOOD: Final = 12
"""People who try at the same time, for as long as the admin is measured."""
ASKED: Final = 60
# As in tests/attacks/test_a35_to_a41_pressure.py: the flood, helm and the admin share two cores.
LATENCY: Final = 18
# Prints what the process took at most, in KiB, before and after, and how long the admin's calls took without and with.
HELM: Final = """
import contextlib, json, resource, sys, time, trio
from pathlib import Path
from pharos.helm.accounts import hashing, throttle
from pharos.helm.accounts.passphrases import PassphraseDoor
from pharos.helm.errors import BusyError, NotSignedInError
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import open_helm
from tests.support.http import asking
from tests.support.signin import sign_in

state, at_once, flood, asked = Path(sys.argv[1]), *map(int, sys.argv[2:])
state.mkdir(mode=0o700)
hashing.AT_ONCE = at_once
throttle.Throttle.check = lambda *_args, **_kwargs: None

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def measure(client, me):
    taken = []
    for _ in range(asked):
        begun = time.perf_counter()
        assert (await client.get("/api/v1/status", headers=me)).status_code == 200
        taken.append(time.perf_counter() - begun)
    return sorted(taken)

async def guess(door, fates):
    while True:
        try:
            await door.check("nobody@example.org", "a wrong one", at="gate")
        except BusyError:
            fates["busy"] += 1
            await trio.sleep(0.01)
        except NotSignedInError:
            fates["refused"] += 1

async def main():
    async with open_helm(state) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        door, me = PassphraseDoor(helm.context), await sign_in(helm.context)
        # The first hash makes what all others are compared with.
        with contextlib.suppress(NotSignedInError):
            await door.check("nobody@example.org", "a wrong one", at="gate")
        idle, before, fates = await measure(client, me), most(), {"busy": 0, "refused": 0}
        async with trio.open_nursery() as nursery:
            for _ in range(flood):
                nursery.start_soon(guess, door, fates)
            # What else the machine does then does not decide: the best of three.
            under = min([await measure(client, me) for _ in range(3)], key=lambda taken: taken[-1])
            while fates["refused"] < flood:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        print(json.dumps({"before": before, "after": most(), "idle": idle, "under": under, **fates}))

trio.run(main)
"""


async def flooded(state: Path, at_once: int) -> dict[str, Any]:
    words = [sys.executable, "-c", HELM, str(state), *map(str, (at_once, FLOOD, ASKED))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with trio.fail_after(120):
        done = await trio.run_process(words, env=environment, capture_stdout=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def growth(told: dict[str, Any]) -> int:
    """Return octets by which the most that the process took has grown."""
    return int(told["after"] - told["before"]) * KIB


def p99(taken: list[float]) -> float:
    return taken[min(len(taken) - 1, int(0.99 * len(taken)))]


@pytest.mark.system
@pytest.mark.red_inside
async def test_a44_flood_takes_the_memory_of_two_tries_and_is_hardly_noticed(tmp_path: Path) -> None:
    whole = await flooded(tmp_path / "whole", AT_ONCE)
    assert whole["busy"] > 0
    # One try was made before; what is left is what allocators keep.
    assert growth(whole) < AT_ONCE * A_TRY
    assert p99(whole["under"]) <= LATENCY * p99(whole["idle"])
    weakened = await flooded(tmp_path / "weakened", FLOOD)
    assert growth(weakened) > 2 * AT_ONCE * A_TRY
