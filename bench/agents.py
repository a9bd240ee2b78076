"""What do the agents take of a small server? A buoy and a beacon, started as their units start them, in numbers.

    python -m bench.agents [--quick]

Everything is on loopback, and who speaks to them does it over mTLS as helm and devices do. The buoy's engines are
inside it (embedded), but for `all_mb`, where they are processes beside it in namespaces of their own: that takes root.
Memory is a PSS: of pages that other processes of the bench have, too, a part is counted. The last line is one JSON
object. Exit code 1 means that something could not be measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench._agents_daemon import running
from bench._agents_lab import INTERFACE, Lab, Node, missing, own_machine
from bench._agents_state import RELAY
from bench.support import Worker, interleave, paired_ratio, percentile, raise_file_limit, report, show, workers

CROWD: Final = 10_000
PEERS: Final = 1_000
STATUS_EVERY: Final = 30.0
"""Seconds between two of helm's readings."""
PASSAGES: Final = 2_000
_PATIENCE: Final = 60.0
_OWN: Final = 2
_FIRST: Final = 20
"""Passages of those that measure round trips, and those that are opened before any is measured."""

Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, below a minute")
    quick = parser.parse_args().quick
    raise_file_limit()
    figures: Figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder, workers() as start:
            lab = Lab(Path(folder), start)
            figures |= measure_crowd(lab, pushes=10 if quick else 60)
            figures |= measure_node(
                lab, pushes=40 if quick else 120, events=15 if quick else 100, seconds=10 if quick else 60
            )
            if lacks := missing():
                print(f"engines in processes of their own are not measured: {', '.join(lacks)}", file=sys.stderr)
            else:
                figures |= measure_processes(lab)
            figures |= measure_relay(lab, passages=250 if quick else PASSAGES, rounds=5 if quick else 25)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("agents", figures)
    return 0


def measure_crowd(lab: Lab, *, pushes: int) -> Figures:
    """How soon does a node with ten thousand peers serve a device after a start, and take one peer more?"""
    with lab.node("crowd", CROWD) as node:
        done = node.ends.ask(task="first_handshake", device=0, patience=_PATIENCE)
        cold = done["at"] - node.daemon.begun
        node.wait_served()
        used = node.daemon.cpu()
        show("cold start with 10,000 peers, ms", {"to a handshake": [1000 * cold], "CPU": [1000 * used]})
        taken = measure_pushes(node, CROWD, pushes)
    return {"cold_10k_peers_s": cold, "cold_10k_cpu_s": used, "one_peer_10k_ms": statistics.median(taken)}


def measure_pushes(node: Node, peers: int, count: int) -> list[float]:
    """Return how many milliseconds each took of so many pushes of one peer more."""
    node.ends.ask(task="link")
    node.ends.ask(task="push", first=peers, count=5)  # warm up
    before = node.daemon.cpu()
    taken = [1000 * each for each in node.ends.ask(task="push", first=peers + 5, count=count)["seconds"]]
    used = (node.daemon.cpu() - before) / count * 1000
    show(f"one more peer beside {peers:,}, ms", {"acknowledged": taken, "CPU": [used]})
    return taken


def measure_node(lab: Lab, *, pushes: int, events: int, seconds: float) -> Figures:
    """What does a node with a thousand peers take, and how soon does it say what happens?"""
    with lab.node("thousand", PEERS) as node:
        node.wait_served()
        taken = measure_pushes(node, PEERS, pushes)
        heard = [1000 * each for each in node.ends.ask(task="events", first=0, count=events)["seconds"]]
        show("handshake to helm, ms", {"p50": [percentile(heard, 50)], "p95": [percentile(heard, 95)]})
        idle = measure_idle(node, seconds)
        memory = node.daemon.megabytes()
        show("memory with 1,000 peers, MB", {"PSS": [memory], "RSS": [node.daemon.megabytes("Rss")]})
    return {
        "one_peer_ms": statistics.median(taken),
        "event_p95_ms": percentile(heard, 95),
        "idle_cpu_pct": idle,
        "agent_mb": memory,
    }


def measure_idle(node: Node, seconds: float) -> float:
    """Return the percentage of a core of a node that nobody uses, with a helm that watches and asks twice a minute.

    A reading is measured by itself, so that its share is the same however long the rest is.
    """
    asked = 10
    node.ends.ask(task="status", count=2)  # warm up
    before = node.daemon.cpu()
    node.ends.ask(task="status", count=asked)
    status = (node.daemon.cpu() - before) / asked
    time.sleep(1)
    before, begun = node.daemon.cpu(), time.monotonic()
    time.sleep(seconds)
    idle = (node.daemon.cpu() - before) / (time.monotonic() - begun)
    show("CPU of an idle node, µs", {"a second": [1e6 * idle], "a reading": [1e6 * status]})
    return 100 * (idle + status / STATUS_EVERY)


def measure_processes(lab: Lab) -> Figures:
    """How much memory do an agent and both engines take, each in a process of its own, with a thousand peers?"""
    with ExitStack() as stack:
        within = stack.enter_context(own_machine())
        daemons = {
            "pharos-awg": stack.enter_context(running(lab.folder, "pharos-awg", "-f", INTERFACE, within=within)),
            "pharos-reality": stack.enter_context(running(lab.folder, "pharos-reality", within=within)),
        }
        for daemon in daemons.values():
            daemon.wait_ready()
        node = stack.enter_context(
            lab.node("processes", PEERS, within=within, awg_driver="userspace", reality_driver="userspace")
        )
        node.wait_served()
        daemons["buoy"] = node.daemon
        time.sleep(1)
        memory = {name: daemon.megabytes() for name, daemon in daemons.items()}
    show("memory with 1,000 peers, MB of PSS", {name: [value] for name, value in memory.items()})
    return {"all_mb": sum(memory.values())}


def measure_relay(lab: Lab, *, passages: int, rounds: int) -> Figures:
    """What does a passage through a relay take of it, and of the time?"""
    with lab.relay() as relay:

        def trip(client: Worker, **how: str | int) -> Callable[[], float]:
            return lambda: float(client.ask(calls=100, **how)["p50"]) * 1e6

        own_port = relay.helm.ready["port"]
        measures = {
            "bare call": trip(relay.device, task="direct", port=own_port),
            "passage": trip(relay.crowd, task="round_trip", port=own_port, to="direct"),
            "through the beacon": trip(relay.crowd, task="round_trip", port=relay.ingress, to=RELAY),
        }
        interleave(1, measures)  # warm up
        trips = interleave(rounds, measures)
        show("round trip p50, µs", trips)
        # What the first ones cost is not a passage's.
        relay.crowd.ask(task="passages", port=relay.ingress, count=_FIRST)
        relay.helm.ask(task="memory", passages=_OWN + _FIRST)
        memory, used = relay.daemon.megabytes(), relay.daemon.cpu()
        relay.crowd.ask(task="passages", port=relay.ingress, count=passages)
        # It waits until they are all confirmed.
        relay.helm.ask(task="memory", passages=_OWN + _FIRST + passages)
        used, memory = relay.daemon.cpu() - used, relay.daemon.megabytes() - memory
    figures = {
        "idle_passage_kb": 1000 * memory / passages,
        "passage_cpu_ms": 1000 * used / passages,
        # The same passage with and without a beacon; a call without a passage knows no Noise either.
        "forward_p50_ratio": paired_ratio(trips["through the beacon"], trips["passage"]),
        "passage_p50_ratio": paired_ratio(trips["through the beacon"], trips["bare call"]),
    }
    show(
        f"a beacon's passage, of {passages:,}",
        {"kB": [figures["idle_passage_kb"]], "CPU, ms": [figures["passage_cpu_ms"]]},
    )
    return figures


if __name__ == "__main__":
    sys.exit(main())
