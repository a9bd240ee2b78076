"""What do the checks of the wire cost, and what can those do who mean ill? All over mTLS on loopback.

    python -m bench.wire [--quick]

Every member of the fleet is a process of its own; rounds are interleaved, and a ratio is the median of the rounds'
ratios. The last line is one JSON object. Exit code 1 means that something could not be measured.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench._wire_fleet import make
from bench.support import Worker, interleave, paired_ratio, raise_file_limit, report, show, workers

LINKS: Final = 1_000
PASSAGES: Final = 1_000
# One for each 500 passages is what the relay needs; with twice as many none is full.
TUNNELS: Final = 4

CONNECTS: Final = 40
CONNECTS_IN_FLIGHT: Final = 4
RESETS: Final = 20_000
# A connection bears a hundred at once; one more ends it.
RESETS_PER_CONNECTION: Final = 101
# New connections a second that the attacker makes, one after each GOAWAY: as many as a limit on its address allows.
RECONNECTS: Final = 10.0
TRIES: Final = 5

STALLED: Final = 40
CALLS_AFTER_DIAL: Final = 20

Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, below a minute")
    quick = parser.parse_args().quick
    raise_file_limit()
    rounds = 5 if quick else 15
    figures: Figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            server_name = make(Path(folder))
            with workers() as start:
                node = start("bench._wire_node", "server", folder)
                figures |= measure_handshakes(folder, node, server_name, rounds=rounds)
                figures |= measure_flood(folder, node, rounds=rounds, seconds=0.6 if quick else 2.0)
                figures |= measure_links(folder, node)
            figures |= measure_relayed(folder, rounds=rounds)
            figures |= measure_passages(folder)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("wire", figures)
    return 0


def measure_handshakes(folder: str, node: Worker, server_name: str, *, rounds: int) -> Figures:
    """How many connections a second, each with a first call, with the check of the peer at both ends?"""
    with workers() as start:
        aio_server = start("bench._rpc_aio", "server", folder)
        ours = start("bench._wire_node", "client", folder)
        aio = start("bench._wire_aio", "client", folder, server_name)

        def connect(client: Worker, to: int) -> Callable[[], float]:
            return lambda: float(
                client.ask(task="connect", port=to, count=CONNECTS, in_flight=CONNECTS_IN_FLIGHT)["rate"]
            )

        measures = {"ours": connect(ours, node.ready["port"]), "aio": connect(aio, aio_server.ready["port"])}
        interleave(1, measures)  # warm up
        pairs = {"ours": (node, ours), "aio": (aio_server, aio)}
        before = {name: sum(worker.cpu() for worker in pair) for name, pair in pairs.items()}
        rates = interleave(rounds + 2, measures)
        spent = {name: sum(worker.cpu() for worker in pair) - before[name] for name, pair in pairs.items()}
    show("connect and first unary, 4 in flight, per second", rates)
    show(
        "CPU for one, both ends, us",
        {name: [value / len(rates[name]) / CONNECTS * 1e6] for name, value in spent.items()},
    )
    return {
        "handshakes_ratio": paired_ratio(rates["ours"], rates["aio"]),
        # Other load on the machine moves this one least.
        "handshakes_cpu_ratio": spent["aio"] / spent["ours"],
        "handshakes_per_second": statistics.median(rates["ours"]),
    }


def measure_flood(folder: str, node: Worker, *, rounds: int, seconds: float) -> Figures:
    """What does a good client feel of rapid resets, and what do they cost the server?"""
    with workers() as start:
        good = start("bench._wire_node", "client", folder)
        attacker = start("bench._wire_attacker", "attacker", folder)
        port = node.ready["port"]
        medians: dict[str, list[float]] = {"idle": [], "flooded": []}
        sent: list[float] = []

        def idle() -> float:
            times = good.ask(task="latency", port=port, seconds=seconds)
            medians["idle"].append(times["p50"])
            return float(times["p99"])

        def flooded() -> float:
            for _ in range(TRIES):
                attacker.ask(task="start", port=port, rate=RECONNECTS)
                times = good.ask(task="latency", port=port, seconds=seconds)
                flood = attacker.ask(task="stop")
                # Where other programs use this machine the attacker may get no time: that round says nothing.
                if flood["connections"] >= RECONNECTS * seconds / 2:
                    sent.append(flood["sent"] / seconds)
                    medians["flooded"].append(times["p50"])
                    return float(times["p99"])
            raise RuntimeError(f"the attacker got no time to attack in {TRIES} rounds")

        def spent(task: str, **how: int) -> Callable[[], float]:
            def measure() -> float:
                before = node.ask(task="cpu")["seconds"]
                connections = attacker.ask(task=task, port=port, count=RESETS, **how)["connections"]
                counts[task] = connections
                return float(node.ask(task="cpu")["seconds"] - before)

            return measure

        counts: dict[str, float] = {}
        measures = {"idle": idle, "flooded": flooded}
        interleave(1, measures)  # warm up
        tails = interleave(rounds, measures)
        cpu = interleave(rounds // 3, {"blob": spent("blob"), "many": spent("many", each=RESETS_PER_CONNECTION)})
    show("good client's unary p50, us", {name: [v * 1e6 for v in values] for name, values in medians.items()})
    show("good client's unary p99, us", {name: [v * 1e6 for v in values] for name, values in tails.items()})
    show("resets sent per second", {"flooded": sent})
    show(
        "server CPU for 20,000 resets, ms",
        {f"{name}, {counts[name]} connections": [v * 1e3 for v in values] for name, values in cpu.items()},
    )
    return {
        "flood_good_p99_ratio": paired_ratio(tails["flooded"], tails["idle"]),
        "flood_cpu_s": statistics.median(cpu["blob"]),
        "flood_many_cpu_s": statistics.median(cpu["many"]),
        "flood_many_connections": counts["many"],
        "idle_p99_us": statistics.median(tails["idle"]) * 1e6,
    }


def measure_links(folder: str, node: Worker) -> Figures:
    """How much memory does an idle link take at the dialling side?"""
    memory = {}
    for name, count, own_contexts in (("shared context", LINKS, False), ("own context", LINKS // 10, True)):
        with workers() as start:
            client = start("bench._wire_node", "client", folder)
            asked = client.ask(task="links", port=node.ready["port"], count=count, own_contexts=own_contexts)
            memory[name] = asked["bytes_per_link"] / 1000
    show("memory per idle mTLS link, kB", {name: [value] for name, value in memory.items()})
    return {"idle_link_kb": memory["shared context"], "idle_link_own_context_kb": memory["own context"]}


def measure_relayed(folder: str, *, rounds: int) -> Figures:
    """What does the way through a relay cost in a passage, and what when others there do not read?"""
    with workers() as start:
        relay = start("bench._wire_relay", "relay", folder)
        helm = start("bench._wire_helm", "helm", folder, "full")
        device = start("bench._wire_device", "device", folder)
        lazy = start("bench._wire_device", "lazy", folder)
        helm.ask(task="tunnels", port=relay.ready["tunnel"], count=1)
        ingress, direct_port = relay.ready["port"], helm.ready["port"]

        def latency(task: str, to: int) -> Callable[[], float]:
            return lambda: float(device.ask(task=task, port=to, calls=100)["p50"]) * 1e6

        measures = {"direct": latency("direct", direct_port), "passage": latency("passage", ingress)}
        interleave(1, measures)  # warm up
        # Many short rounds: this ratio is of two sums of wake-ups, which any other load on the machine shifts.
        echoes = interleave(3 * rounds, measures)

        def session() -> float:
            asked = [device.ask(task="session", port=ingress, calls=CALLS_AFTER_DIAL)["seconds"] for _ in range(3)]
            return float(statistics.median(asked)) * 1e3

        def stalled() -> float:
            lazy.ask(task="start_stalling", port=ingress, devices=STALLED)
            took: float = session()
            left = helm.ask(task="count")["passages"]
            if left < STALLED:
                raise RuntimeError(f"of {STALLED} stalled devices {left} were left")
            lazy.ask(task="stop_stalling")
            return took

        session()  # warm up
        sessions = interleave(rounds, {"alone": session, "stalled": stalled})
    show("unary p50, us", echoes)
    show("dial and 20 calls, ms", sessions)
    return {
        "passage_echo_ratio": paired_ratio(echoes["passage"], echoes["direct"]),
        "passage_p50_us": statistics.median(echoes["passage"]),
        "direct_p50_us": statistics.median(echoes["direct"]),
        "stalled_good_ratio": paired_ratio(sessions["stalled"], sessions["alone"]),
        "dial_and_calls_ms": statistics.median(sessions["alone"]),
    }


def measure_passages(folder: str) -> Figures:
    """How much memory of helm does an idle passage take?"""
    figures = {}
    for kind in ("light", "full"):
        with workers() as start:
            crowd = start("bench._wire_crowd", "crowd", folder)
            helm = start("bench._wire_helm", "helm", folder, kind)
            helm.ask(task="tunnels", port=crowd.ready["tunnel"], count=TUNNELS)
            # What the first passage of a process costs is not a passage's.
            crowd.ask(task="passages", kind=kind, count=1)
            before, spent = helm.ask(task="memory", passages=1), helm.ask(task="cpu")["seconds"]
            crowd.ask(task="passages", kind=kind, count=PASSAGES)
            after = helm.ask(task="memory", passages=PASSAGES + 1)
            spent = helm.ask(task="cpu")["seconds"] - spent
            figures[f"{kind}_passage_helm_kb"] = (after["bytes"] - before["bytes"]) / PASSAGES / 1000
            figures[f"{kind}_passage_helm_ms"] = spent / PASSAGES * 1e3
    show(
        "helm's memory per idle passage, kB", {kind: [figures[f"{kind}_passage_helm_kb"]] for kind in ("light", "full")}
    )
    return figures


if __name__ == "__main__":
    sys.exit(main())
