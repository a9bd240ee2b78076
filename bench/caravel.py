"""How quick is caravel, how light, and does it hold? A fleet on loopback, two stacks beside each other, a lab.

    python -m bench.caravel [--quick]

Every part is a process of its own. The lossy line is a relay of ours: 10 ms and 1 % of the datagrams each way; Linux's
TCP goes over the same one, by the same engine, in a user namespace. Packets outside the tunnel are counted on the outer
interface of a machine in namespaces, which needs root; the rest needs none. The last line is one JSON object. Exit code
1 means that something could not be measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from bench._caravel_import import import_rounds
from bench.support import Worker, interleave, paired_ratio, report, show, workers
from pharos.wire.awg.keys import generate_private_key, public_key

KIND: Final = "netstack"
LINUX: Final = "userns:cubic"
"""Linux's own with the congestion control that ours has; `bbr`, which does not take loss for a sign, is beside it."""
BBR: Final = "userns:bbr"
DELAY, LOSS = 0.01, 0.01
SETTLE: Final = 10.0
"""Seconds after a node was killed: twice what is promised."""
WAYS: Final = ("down", "up")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, under a minute")
    quick = parser.parse_args().quick
    try:
        figures = measure_import(rounds=3 if quick else 21)
        figures |= measure_fleet(devices=3 if quick else 10, failures=1 if quick else 5)
        figures |= measure_stacks(rounds=1 if quick else 5, seconds=1.0 if quick else 4.0)
        figures |= measure_loss(rounds=1 if quick else 5, seconds=4.0 if quick else 10.0, quick=quick)
        figures |= measure_leaks(50 if quick else 500)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("caravel", figures)
    return 0


def measure_import(*, rounds: int) -> dict[str, float]:
    found = import_rounds(rounds)
    names = {"caravel": "caravel", "whole": "with all that a connection needs", "below": "what it stands on"}
    show("import in ms", {names[name]: [1000 * each for each in taken] for name, taken in found.items()})
    return {
        "import_ratio": paired_ratio(found["caravel"], found["below"]),
        "import_whole_ratio": paired_ratio(found["whole"], found["below"]),
        "import_ms": 1000 * statistics.median(found["caravel"]),
    }


def measure_fleet(*, devices: int, failures: int) -> dict[str, float]:
    """Join, connect from what is kept, and go over to another node when one dies."""
    with tempfile.TemporaryDirectory() as folder, workers() as start:
        fleet = start("bench._caravel_fleet", folder)
        device = start("bench._caravel_device", f"{folder}/devices")
        assert fleet.ready
        joins = []
        for number in range(devices):
            link = fleet.ask(task="invite", name=f"d{number}")["link"]
            joins.append(device.ask(task="join", name=f"d{number}", link=link)["seconds"])
        fleet.ask(task="settle", peers=devices)
        connects = [device.ask(task="connect", name="d0")["ms"] for _ in range(4 * devices)]
        gaps, memory = [], []
        for _ in range(failures):
            held = device.ask(task="hold", name="d0")
            memory.append(held["rss_mb"])
            time.sleep(1)
            fleet.ask(task="stop", node=held["node"])
            time.sleep(SETTLE)
            gaps.append(device.ask(task="gap")["seconds"])
            device.ask(task="let_go", name="d0")
            fleet.ask(task="start", node=held["node"])
            fleet.ask(task="settle", peers=devices)
    show("a cached connection in ms", {"caravel": connects})
    show("until another node carries, in ms", {"caravel": [1000 * gap for gap in gaps]})
    return {
        "enrol_first_packet_s": statistics.median(joins),
        "cached_connect_ms": statistics.median(connects),
        "failover_s": max(gaps),
        "rss_mb": max(memory),
    }


def measure_stacks(*, rounds: int, seconds: float) -> dict[str, float]:
    """Streams over loopback: from our stack to Linux's, and between two of Linux's."""
    with workers() as start:
        ours, linux = open_pair(start, KIND), open_pair(start, LINUX)
        rates = interleave(
            rounds,
            {
                f"{name} {way}": _stream(device, way, seconds)
                for name, device in (("netstack", ours), ("Linux", linux))
                for way in WAYS
            },
        )
    show("Mbit/s through a tunnel", rates)
    best = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "netstack_mbit": min(best["netstack down"], best["netstack up"]),
        "netstack_down_mbit": best["netstack down"],
        "netstack_up_mbit": best["netstack up"],
        "userns_mbit": min(best["Linux down"], best["Linux up"]),
    }


def measure_loss(*, rounds: int, seconds: float, quick: bool) -> dict[str, float]:
    """Streams over the lossy line, each stack over a relay of its own with the same luck."""
    kinds = {"netstack": KIND, "Linux": LINUX} | ({} if quick else {"Linux bbr": BBR})
    with workers() as start:
        devices = {name: open_pair(start, kind, relay=_relay(start)) for name, kind in kinds.items()}
        rates = interleave(
            rounds, {f"{name} {way}": _stream(device, way, seconds) for name, device in devices.items() for way in WAYS}
        )
    show("kbit/s over a line that loses", {name: [1000 * rate for rate in found] for name, found in rates.items()})
    ratios = {way: paired_ratio(rates[f"netstack {way}"], rates[f"Linux {way}"]) for way in WAYS}
    figures = {
        "netstack_lossy_ratio": min(ratios.values()),
        "netstack_lossy_down_ratio": ratios["down"],
        "netstack_lossy_up_ratio": ratios["up"],
    }
    if not quick:
        figures["netstack_lossy_bbr_ratio"] = paired_ratio(rates["netstack up"], rates["Linux bbr up"])
    return figures


def measure_leaks(switches: int) -> dict[str, float]:
    """Count packets outside the tunnel while a machine changes nodes."""
    if os.geteuid() != 0:
        print("no leaks were looked for: namespaces need root", file=sys.stderr)
        return {}
    # The lab's tools are of Linux and root.
    from tests.system.caravelhost import leaks_while_switching

    with tempfile.TemporaryDirectory() as folder:
        leaks = trio.run(leaks_while_switching, Path(folder), switches)
    print(f"{switches} switches: {leaks.carried:,} datagrams to nodes, {leaks.count} packets elsewhere", flush=True)
    return {"leaks": float(leaks.count), "switches": float(switches)}


def open_pair(start: Callable[..., Worker], near: str, *, relay: Worker | None = None) -> Worker:
    """Start both ends of a tunnel, the far one with Linux's TCP or what the near one has; return the near one."""
    far = near if near != KIND else LINUX
    keys = [generate_private_key(os.urandom) for _ in range(2)]
    ends = [
        start("bench._caravel_stack", kind, str(number), own.hex(), public_key(other).hex())
        for kind, number, own, other in ((far, 1, *keys), (near, 2, *keys[::-1]))
    ]
    ports = [end.ready["port"] for end in ends]
    # Whom each end speaks to: the other, or the side of the relay that faces it.
    faces = ports[::-1]
    if relay is not None:
        relay.ask(task="face", first=ports[0], second=ports[1])
        faces = [relay.ready["first"], relay.ready["second"]]
    for end, port in zip(ends, faces, strict=True):
        end.ask(task="meet", port=port)
    return ends[1]


def _relay(start: Callable[..., Worker]) -> Worker:
    return start("bench._caravel_relay", str(DELAY), str(LOSS))


def _stream(device: Worker, way: str, seconds: float) -> Callable[[], float]:
    return lambda: float(device.ask(task="stream", kind=way, seconds=seconds)["rate"])


if __name__ == "__main__":
    sys.exit(main())
