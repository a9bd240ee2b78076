"""What is promised for each fault, and what shall be reached: the table of the design (security.md §3), row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from tests.support.figures import Fault


@attrs.frozen(kw_only=True)
class Promise:
    """One row."""

    fault: Fault
    promise: str
    target: str
    """What shall be reached, in figures; empty where the promise says it all."""
    harness: str
    """How it is shown."""
    tests: tuple[str, ...] = ()
    """Files that show it without a figure; those that record one are found by that."""
    most: Mapping[str, float] = attrs.field(factory=dict)
    """What of the target can be held against a figure, by its name: no more than so much, in its unit."""


PROMISES: Final = (
    Promise(
        fault=Fault.KILLED_HELM,
        promise="What was acknowledged is durable; nothing is half done; work goes on where it was.",
        target="0 lost of 10,000 acknowledged changes, integrity_check ok",
        harness="a kill at each commit, fsync and rename in turn, and kills at random moments",
        tests=(
            "tests/fleet/test_killed.py",
            "tests/helm/store/test_faults.py",
            "tests/sim/test_storm.py",
        ),
    ),
    Promise(
        fault=Fault.POWER_CUT,
        promise="As above; helm's record is written with synchronous=FULL.",
        target="0 lost",
        harness="what was written and not synced is lost, at each prefix of the writes",
        tests=("tests/helm/store/test_faults.py",),
    ),
    Promise(
        fault=Fault.KILLED_BUOY,
        promise="Tunnels in the kernel stay; the agent serves its last good configuration again.",
        target="back within 3 s, 0 peers lost",
        harness="kill -9 in loops, on files and in the lab",
        tests=(
            "tests/fleet/test_killed.py",
            "tests/buoy/test_state.py",
        ),
        most={"until it serves again": 3, "from the start of the process until it listens again": 3},
    ),
    Promise(
        fault=Fault.DISK_FULL,
        promise="helm turns read-only and says so; sessions go on; no file is left in part; it recovers by itself.",
        target="recovered within 5 s after there is space",
        harness="max_page_count, a small tmpfs, a file system that fails the n-th call for each n",
        most={"from room on the disk until changes are taken": 5, "from room on the disk to the next change": 5},
        tests=(
            "tests/helm/store/test_condition.py",
            "tests/buoy/test_bounds.py",
        ),
    ),
    Promise(
        fault=Fault.LOCKED,
        promise="5 s of patience, then 503 with a retry, never a silent drop; a second helm refuses to start.",
        target="",
        harness="another process that holds the lock",
        tests=("tests/helm/store/test_condition.py",),
    ),
    Promise(
        fault=Fault.CORRUPT,
        promise="It is noticed at the start, the last backup is offered, and nodes are not touched by it.",
        target="at most an hour is lost, back within a minute",
        harness="flipped bits at 1,000 positions",
        tests=(
            "tests/helm/store/test_condition.py",
            "tests/helm/store/test_copies.py",
        ),
    ),
    Promise(
        fault=Fault.OLD_BACKUP,
        promise="No rollback is taken, no revocation and no later user is lost.",
        target="0 rollbacks accepted, 0 revocations or later users lost",
        harness="simulation, and the lab",
        tests=(
            "tests/attacks/test_a74_restore.py",
            "tests/fleet/test_restore.py",
            "tests/helm/backup/test_restore.py",
        ),
    ),
    Promise(
        fault=Fault.PARTITION,
        promise="Tunnels go on; what is desired is in force after the line has healed.",
        target="converged within 10 s at p99",
        harness="simulation, and the lab",
        tests=("tests/sim/test_storm.py",),
        most={"from the start of helm until all agree": 10},
    ),
    Promise(
        fault=Fault.BAD_NETWORK,
        promise="A dead line is noticed; with 30 % loss work goes on.",
        target="noticed within 45 s",
        harness="simulation, and a relay that loses, delays, reorders and starves",
        tests=("tests/system/test_loss.py",),
        most={
            "until a peer that is silent counts as lost, virtual time": 45,
            "until the last of three half-open links counts as lost": 45,
        },
    ),
    Promise(
        fault=Fault.EXHAUSTION,
        promise="The listener pauses and never dies; a helm that ran out of memory starts again clean.",
        target="",
        harness="64 descriptors, and limits on memory",
        tests=("tests/attacks/test_a44_memory.py",),
    ),
    Promise(
        fault=Fault.CLOCK_JUMP,
        promise="Timers go by the monotonic clock, certificates by a floor of the time.",
        target="",
        harness="simulation",
        tests=("tests/attacks/test_a69_clock.py",),
    ),
    Promise(
        fault=Fault.SLOW_CONSUMER,
        promise="A queue of its own for each subscriber, a mark where something is missing; audit is never dropped.",
        target="no more than 64 MB above, with 1,000 subscribers",
        harness="subscribers that do not read",
        tests=(
            "tests/helm/live/test_subscriber.py",
            "tests/attacks/test_a42_websocket.py",
        ),
        most={"memory that 1,000 pages cost that do not read": 64},
    ),
    Promise(
        fault=Fault.EVENT_BURST,
        promise="Events are coalesced, and control stays quick.",
        target="control within 100 ms at p99",
        harness="100,000 events a second",
        tests=(
            "tests/buoy/test_events.py",
            "tests/helm/telemetry/test_backlog.py",
        ),
        most={"p99 of a durable change meanwhile": 100},
    ),
    Promise(
        fault=Fault.RESTART_STORM,
        promise="helm paces what it dials, 64 at once; devices come back with jitter, 30 s at the most.",
        target="1,000 nodes within 60 s; 10,000 devices within 90 s, at most 400 a second",
        harness="simulation",
        tests=("tests/sim/test_storm.py",),
    ),
    Promise(
        fault=Fault.COLD_START,
        promise="With helm dead a buoy serves and caravel connects from what it keeps.",
        target="a tunnel within 3 s",
        harness="the lab",
        most={"from the command to the first echo, helm dead": 3},
    ),
    Promise(
        fault=Fault.MIXED_VERSIONS,
        promise="The version before speaks with this one; what is not known is kept.",
        target="",
        harness="each version at each end",
    ),
    Promise(
        fault=Fault.CONTENTION,
        promise="Changes of one record are linearizable.",
        target="",
        harness="a recorded history, and a checker",
        tests=("tests/helm/store/test_records.py",),
        most={"changes made of those that saw one version": 1},
    ),
)
"""In the order of the design's table."""
