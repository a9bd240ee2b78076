"""How fast is our REALITY? Beside plain TLS 1.3 of the standard library, and a real Xray, in the same run.

    python -m bench.reality [--quick]

Everything is on loopback. The end that is measured works alone: the other one has sealed its records before, or throws
them away unopened, so that the rate is what one core of that end bears. A real ``xray`` is measured as a node beside
ours where it is on the PATH or in ``$PHAROS_XRAY``. Rounds are interleaved, and a ratio is the median of the rounds'
ratios; ``*_cpu_ratio`` compares octets by second of CPU, for machines with something else to do. The last line is one
JSON object. Exit code 1 means that something could not be measured.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench._reality_lab import HAS_XRAY, Lab, Node, Result
from bench._reality_node import Control, crowd, user
from bench.support import Rounds, interleave, paired_ratio, raise_file_limit, rates_and_cpu, report, show, workers
from pharos.wire.units import MIB

STREAMS: Final = 100
USERS: Final = 5_000
SIZE: Final = 5 * 10**6
"""Octets of one of many streams."""
AT_ONCE: Final = 8
"""Handshakes: enough that neither end waits for the other, and works with cold caches then."""


def measure_transfers(lab: Lab, *, rounds: int, count: int) -> dict[str, float]:
    with ExitStack() as stack:
        transfers: dict[str, Callable[[], Result]] = {
            "client": functools.partial(lab.receives, count),
            "client of ssl": functools.partial(lab.receives_tls, count),
            "node": functools.partial(lab.sends, count),
            "relay of ssl": functools.partial(lab.sends_tls, count),
            "Vision": functools.partial(lab.copies, count),
            "two plain hops": functools.partial(lab.copies_plain, count),
        }
        if HAS_XRAY:
            transfers["Xray's node"] = functools.partial(lab.xray_sends, stack.enter_context(lab.xray()), count)
        rates, cpu = measure_rounds(rounds, transfers)
    figures = {}
    for name, ours, theirs in (
        ("client", "client", "client of ssl"),
        ("server", "node", "relay of ssl"),
        ("vision", "Vision", "two plain hops"),
        ("xray_server", "node", "Xray's node"),
    ):
        if theirs in rates:
            figures[f"{name}_ratio"] = paired_ratio(rates[ours], rates[theirs])
            figures[f"{name}_cpu_ratio"] = paired_ratio(cpu[theirs], cpu[ours])
    return figures


def measure_rounds(rounds: int, transfers: Mapping[str, Callable[[], Result]]) -> tuple[Rounds, Rounds]:
    """Return MB/s, and seconds of CPU per GiB, of every transfer in every round."""
    return rates_and_cpu(rounds, transfers, rate="MB/s", cpu="CPU, ms per GiB")


def measure_parallel(lab: Lab, *, rounds: int, size: int) -> dict[str, float]:
    """Compare many streams with one that carries as much as all of them."""
    rates, _ = measure_rounds(
        rounds,
        {
            "many streams": functools.partial(lab.downloads, size, STREAMS),
            "one stream": functools.partial(lab.downloads, size * STREAMS, 1),
        },
    )
    return {"parallel_ratio": paired_ratio(rates["many streams"], rates["one stream"])}


def measure_handshakes(lab: Lab, *, rounds: int, count: int) -> dict[str, float]:
    """Return the CPU of a handshake; a node's has the way to the target in it, and what it answers."""
    ends: dict[str, list[float]] = {"client": [], "node": [], "site": []}
    for number in range(rounds + 1):
        node, site = lab.node.cpu(), lab.site.cpu()
        done = lab.device.ask(task="handshakes", port=lab.node.port, count=count // AT_ONCE, at_once=AT_ONCE)
        # The first round warms up.
        if number:
            ends["client"].append(done["cpu"] / count * 1000)
            ends["node"].append((lab.node.cpu() - node) / count * 1000)
            ends["site"].append((lab.site.cpu() - site) / count * 1000)
    show("CPU of a handshake, µs", {name: [1000 * each for each in found] for name, found in ends.items()})
    client, server = (statistics.median(ends[name]) for name in ("client", "node"))
    return {"handshake_cpu_ms": max(client, server), "handshake_client_ms": client, "handshake_node_ms": server}


def measure_crowd(lab: Lab, *, rounds: int, count: int, seconds: float) -> dict[str, float]:
    """Return what it costs that a node knows thousands of users, and how fast it is told of them.

    The extra cost is the difference of two processes, and below a tenth of either: quiet machines alone can show it.
    """
    small, large = lab.node, lab.other
    began = time.perf_counter()
    large.control.say(f"set=1\n{''.join(crowd(USERS))}\n")
    bulk = USERS / (time.perf_counter() - began)

    def cost(node: Node) -> float:
        before = node.cpu()
        lab.device.ask(task="first_answers", port=node.port, count=count, origin=lab.origin.ready["port"])
        return (node.cpu() - before) / count * 1000

    measures: dict[str, Callable[[], float]] = {
        "few": functools.partial(cost, small),
        "many": functools.partial(cost, large),
    }
    interleave(1, measures)  # warm up
    costs = interleave(rounds, measures)
    show(
        "CPU of a node to a first answer, µs", {name: [1000 * each for each in found] for name, found in costs.items()}
    )
    extra = statistics.median(many - few for many, few in zip(costs["many"], costs["few"], strict=True))
    rates = [changes_per_second(large.control, seconds) for _ in range(rounds)]
    show("changes of a user per second, a request each", {"ours": rates})
    return {"users_5k_extra_ms": extra, "user_changes_per_s": statistics.median(rates), "users_told_per_s": bulk}


def changes_per_second(control: Control, seconds: float) -> float:
    """Add a user, limit it, and remove it, over and over, each by a request whose reply is waited for."""
    added = user("another", b"\xee" * 16)
    requests = [
        f"set=1\n{added}\n",
        "set=1\nuser=another\nsend_rate=1000000\n\n",
        "set=1\nuser=another\nremove=true\n\n",
    ]
    done = 0
    began = time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        for request in requests:
            control.say(request)
        done += len(requests)
    return done / taken


def measure_idle(lab: Lab, *, count: int) -> dict[str, float]:
    """Return the memory of a connection that does nothing, with its stream to the origin."""
    node = lab.other
    hold = {"task": "open", "port": node.port, "origin": lab.origin.ready["port"]}
    lab.device.ask(count=10, **hold)
    before = [worker.ask(task="memory")["kb"] for worker in (node.worker, lab.device)]
    lab.device.ask(count=count, **hold)
    after = [worker.ask(task="memory")["kb"] for worker in (node.worker, lab.device)]
    lab.device.ask(task="close")
    server, client = ((late - early) / count for late, early in zip(after, before, strict=True))
    return {"idle_conn_kb": server, "idle_client_kb": client}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, below a minute")
    quick = parser.parse_args().quick
    raise_file_limit()
    rounds = 3 if quick else 7
    figures: dict[str, float] = {}
    try:
        with tempfile.TemporaryDirectory() as folder, workers() as start, ExitStack() as stack:
            lab = Lab(start, Path(folder), stack)
            figures |= measure_idle(lab, count=200 if quick else 500)
            figures |= measure_transfers(lab, rounds=rounds, count=(32 if quick else 128) * MIB)
            figures |= measure_parallel(lab, rounds=2 if quick else 3, size=10**6 if quick else SIZE)
            figures |= measure_handshakes(lab, rounds=rounds, count=AT_ONCE * (6 if quick else 25))
            figures |= measure_crowd(lab, rounds=rounds, count=25 if quick else 100, seconds=0.5 if quick else 2)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("reality", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
