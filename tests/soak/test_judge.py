"""The judge of a soak finds what leaks, and what was lost; and lets pass what only lives.

Cost: ten seconds: two real processes, one of which leaks, are sampled from /proc.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

from tests.soak import judge as judging
from tests.soak.judge import MB, Life, Sample, grow, judge
from tests.soak.logs import Fault, errors_in
from tests.soak.operator import Ledger
from tests.soak.sampling import Sampler
from tests.system.lab.processes import Process

# What a program of ours does all the time, and with the switch what a bad one does beside.
WORKER = """
import itertools, os, sys
leak, kept = sys.argv[1], []
for turn in itertools.count():
    work = [bytes(1000) for _ in range(500)]
    if leak == "memory":
        kept.append(os.urandom(100_000))
    if leak == "descriptors" and turn % 4 == 0:
        kept.append(open("/dev/null"))
    print(turn, flush=True)
    sys.stdin.readline()
"""
TURNS = 60
ROOT = Path(__file__).resolve().parents[2]


def life(
    memory: Callable[[float], float], *, seconds: float = 600.0, descriptors: Callable[[float], int] = lambda t: 30
) -> Life:
    samples = [
        Sample(at=1000 + t, memory=int(memory(t)), descriptors=descriptors(t), threads=4)
        for t in (2.0 * n for n in range(int(seconds / 2) + 1))
    ]
    return Life(name="helm", pid=1, samples=samples)


def saw(t: float) -> float:
    """A process that is well: it warms up, breathes, and has a burst now and then."""
    noise = random.Random(int(t)).uniform(-0.4, 0.4)
    return (100 - 40 / (1 + t / 5) + noise + (6 if 300 < t < 315 else 0)) * MB


def test_a_process_that_breathes_is_flat() -> None:
    grown, faults = judge([life(saw)])
    assert faults == []
    assert abs(grown[0].rise) < 2 * MB


@pytest.mark.parametrize(("mb_in_ten_minutes", "minutes"), [(4, 30), (10, 10), (100, 5)])
def test_a_slow_leak_is_found_behind_the_breathing(mb_in_ten_minutes: int, minutes: int) -> None:
    _, faults = judge([life(lambda t: saw(t) + mb_in_ten_minutes * MB * t / 600, seconds=minutes * 60.0)])
    assert any("memory rises" in fault for fault in faults)


def test_a_leak_of_descriptors_is_found_behind_links_that_come_and_go() -> None:
    def redials(t: float) -> int:
        return 30 + random.Random(int(t)).choice((0, 0, 1, 2))

    assert judge([life(saw, descriptors=redials)])[1] == []
    _, faults = judge([life(saw, descriptors=lambda t: redials(t) + int(t // 60))])
    assert faults == ["helm: its fewest descriptors are 3 more than before"]


def test_what_lived_too_short_is_not_judged_and_is_told_apart() -> None:
    short = life(lambda t: (50 + t / 20) * MB, seconds=judging.WARM_UP_LEAST + judging.SHORTEST - 4)
    assert not short.is_judged()
    assert judge([short]) == ([], [])
    assert not Life(name="helm", pid=2).is_judged()
    assert life(saw, seconds=judging.WARM_UP_LEAST + judging.SHORTEST + 4).is_judged()


def test_each_incarnation_is_judged_for_itself() -> None:
    # The second begins higher than the first ended, as after an upgrade: that is no growth.
    grown, faults = judge([life(saw), life(lambda t: saw(t) + 50 * MB)])
    assert (len(grown), faults) == (2, [])


def test_what_a_storm_leaves_is_not_taken_for_growth_unless_it_is_much() -> None:
    def storm(left: float) -> Life:
        return life(lambda t: saw(t) + left * MB * min(t, 500) / 500, seconds=900)

    # In the calm from 500 s on nothing rises any more.
    assert judge([storm(15)], 1500.0)[1] == []
    [fault] = judge([storm(60)], 1500.0)[1]
    assert fault.startswith("helm: had 160 MB")


async def sample(tmp_path: Path, leak: str) -> Life:
    """Sample a process of ours for some turns; each turn counts as ten seconds."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    process = await trio.lowlevel.open_process([sys.executable, str(script), leak], stdin=-1, stdout=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    sampler = Sampler(lambda: {"worker": process.pid})
    try:
        with trio.fail_after(60):
            said = b""
            for turn in range(TURNS):
                while said.count(b"\n") <= turn:
                    said += bytes(await process.stdout.receive_some())
                sampler.look()
                await process.stdin.send_all(b"\n")
    finally:
        process.kill()
        await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()
    [found] = sampler.lives
    assert len(found.samples) == TURNS
    found.samples = [attrs.evolve(one, at=10.0 * turn) for turn, one in enumerate(found.samples)]
    return found


async def test_a_real_process_that_leaks_is_found_and_its_honest_twin_is_not(tmp_path: Path) -> None:
    assert judge([await sample(tmp_path, "nothing")])[1] == []
    leaking = await sample(tmp_path, "memory")
    assert grow(leaking).rise == pytest.approx(100_000 * 60, rel=0.3)
    assert [fault.split(" ")[1] for fault in judge([leaking])[1]] == ["memory", "had"]
    [fault] = judge([await sample(tmp_path, "descriptors")])[1]
    assert "fewest descriptors" in fault


async def test_a_process_that_was_started_again_is_another_incarnation(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    sampler = Sampler(lambda: {"one": process.pid})
    for _ in range(2):
        await process.start()
        with trio.fail_after(20):
            while not sampler.lives or sampler.lives[-1].pid != process.pid:
                sampler.look()
                await trio.lowlevel.checkpoint()
        await process.kill()
    assert len({life.pid for life in sampler.lives}) == 2


# -- the command


def test_a_machine_that_can_have_no_lab_is_told_in_a_line_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak"]
    changed = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=changed, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"soak: (network namespaces need root|the lab's tools are missing).*\n", done.stderr)


# -- what was lost


def user(name: str, note: str) -> dict[str, str]:
    return {"name": name, "note": note}


def test_a_change_that_helm_said_yes_to_and_lost_is_found() -> None:
    ledger = Ledger(names={"1": "ada", "2": "ben", "3": "cy"}, notes={"1": "a", "2": "b", "3": "c"}, removed={"3"})
    whole = {"1": user("ada", "a"), "2": user("ben", "b")}
    assert ledger.missing(whole) == []
    assert ledger.missing({"1": whole["1"]}) == ["user ben is gone"]
    assert ledger.missing(whole | {"2": user("ben", "old")}) == ["user ben has the note 'old', not 'b'"]
    assert ledger.missing(whole | {"3": user("cy", "c")}) == ["user cy was removed and is there"]
    assert ledger.missing(whole | {"4": user("ben", "b")}) == ["user ben was added more than once"]
    # What was asked for and not answered may have been done.
    ledger.doubtful["2"] = {"old"}
    assert ledger.missing(whole | {"2": user("ben", "old")}) == []


# -- what was logged


def log_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "helm.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def dated(at: float, level: str, text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))},000 {level:<7} pharos.helm: {text}"


def test_an_error_is_excused_by_the_fault_that_explains_it_and_by_no_other(tmp_path: Path) -> None:
    full = Fault(kind="full", target="helm", began=1000.0, ended=1010.0)
    cut = Fault(kind="cut", target="helm", began=1000.0, ended=1010.0)
    crash = "Traceback (most recent call last):"
    path = log_of(tmp_path, dated(1005, "INFO", "well"), dated(1006, "ERROR", "database or disk is full"), crash)
    assert errors_in(path, [full]) == []
    assert len(errors_in(path, [cut])) == 1
    assert len(errors_in(path, [])) == 1
    assert len(errors_in(log_of(tmp_path, dated(1900, "ERROR", "database or disk is full")), [full])) == 1
    assert len(errors_in(log_of(tmp_path, dated(1005, "ERROR", "a bug")), [full])) == 1
    assert errors_in(log_of(tmp_path, dated(1005, "WARNING", "no answer")), []) == []
    assert len(errors_in(log_of(tmp_path, dated(1005, "INFO", "well"), crash), [full])) == 1
