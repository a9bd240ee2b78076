"""A machine that is killed at every step of its way into the tunnel and out again, one after the other.

A step is whatever changes something: a note in the journal, a message to the kernel, a switch, a command. The process
prints one line of JSON for each: whether the kill switch held then, and what was not as before once it was put back.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from pharos.caravel.system import kernel, killswitch, open_system, restore, restore_system, routing
from pharos.caravel.system.plan import SystemPlan
from tests.system.caravelhost import places_in
from tests.system.nodes import DEVICE

LOOKS = ("ip rule", "ip -6 rule", "ip route show table all", "ip -6 route show table all", "ip -brief link")
SWITCHES = ("src_valid_mark", "rp_filter")
MAX_STEPS = 200


def die_at(step: int) -> None:
    """Have this process be killed before the step of that number, from 1 on."""
    left = itertools.count(step - 1, -1)

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    kernel._ask = dying(kernel._ask)
    killswitch.run_command = dying(killswitch.run_command)
    restore.write_atomic = dying(restore.write_atomic)
    routing.write_switch = dying(routing.write_switch)
    Path.unlink = dying(Path.unlink)  # type: ignore[method-assign]


def in_child(act: Callable[[], None]) -> bool:
    """Do it in a process of its own; tell whether that came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return not os.WIFSIGNALED(status)


def state() -> dict[str, str]:
    found = {words: subprocess.run(words.split(), capture_output=True, text=True, check=True).stdout for words in LOOKS}
    found |= {name: Path(f"/proc/sys/net/ipv4/conf/all/{name}").read_text() for name in SWITCHES}
    return found | {"nft": ruleset()}


def ruleset() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def forget() -> None:
    """Have nothing be noted, so that whoever comes after cannot know: the proof that this finds what is left."""
    restore.Journal.note = lambda self, kind, body, *, lasting=False: -1  # type: ignore[method-assign]


def main(folder: Path, *, forgetful: bool) -> None:
    places = places_in(folder)
    if forgetful:
        forget()

    async def in_and_out() -> None:
        async with open_system(SystemPlan(addresses=DEVICE, lan=True, outside=("192.0.2.0/24",)), places=places):
            pass

    def dying(step: int, act: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            die_at(step)
            trio.run(act)

        return run

    def put_back() -> None:
        trio.run(restore_system, places)

    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
    before = state()
    for step in range(1, MAX_STEPS):
        ended = in_child(dying(step, in_and_out))
        held = "policy drop" in ruleset()
        # To put back may be cut short as well; whoever comes then does the rest.
        in_child(dying(step % 7 + 1, lambda: restore_system(places)))
        in_child(put_back)
        after = state()
        wrong = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
        print(json.dumps({"step": step, "ended": ended, "held": held, "wrong": wrong}), flush=True)
        if ended or wrong:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), forgetful=sys.argv[2:] == ["forgetful"])
