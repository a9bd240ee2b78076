"""How fast is the AmneziaWG engine? Beside wireguard-go in the same run, in namespaces, with streams of iperf3.

    python -m bench.awg [--quick]

As root; without, only what needs no interface is measured. Engines are processes of their own; rounds are interleaved,
and a ratio is the median of the rounds' ratios. The last line is one JSON object. Exit code 1 means that something
could not be measured.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import statistics
import sys
from collections.abc import Callable

from bench._awg_lab import AMNEZIA_GO, GO, OURS, Result, missing, obfuscated, open_lab
from bench.support import interleave, paired_ratio, report, show, workers
from pharos.wire.awg.ranges import Range


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, about a minute")
    quick = parser.parse_args().quick
    try:
        figures = measure_core(quick=quick)
        if lacks := missing():
            print(f"no tunnels: {', '.join(lacks)}", file=sys.stderr)
        else:
            figures |= measure_tunnels(rounds=3 if quick else 7, seconds=1 if quick else 4)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("awg", figures)
    return 0


def measure_core(*, quick: bool) -> dict[str, float]:
    figures: dict[str, float] = {}
    with workers() as start:
        # The best of several: what disturbs makes it slower only.
        rates = [start("bench._awg_core").ask(task="handshakes", count=1000)["rate"] for _ in range(3 if quick else 7)]
        show("handshakes answered per second of CPU", {"ours": rates})
        figures["handshakes_per_s"] = max(rates)
        figures["lookup_ns"] = start("bench._awg_core").ask(task="lookup", rounds=20)["ns"]
        idle = start("bench._awg_core").ask(task="idle", seconds=3 if quick else 10)
    figures["idle_10k_mb"], figures["idle_10k_cpu_pct"] = idle["megabytes"], idle["percent"]
    return figures


def measure_tunnels(*, rounds: int, seconds: float) -> dict[str, float]:
    with open_lab() as lab:
        tunnels = {
            "ours": lab.tunnel(OURS, OURS),
            "go": lab.tunnel(GO, GO),
            "ours to go": lab.tunnel(OURS, GO),
            "go to ours": lab.tunnel(GO, OURS),
            "obfuscated": lab.tunnel(OURS, OURS, obfuscated()),
            "trailers": lab.tunnel(OURS, OURS, obfuscated(random_trailers=True)),
            "padding": lab.tunnel(OURS, OURS, obfuscated(content_padding_addition=Range(16, 64))),
        }
        if shutil.which(AMNEZIA_GO):
            tunnels["amneziawg-go"] = lab.tunnel(AMNEZIA_GO, AMNEZIA_GO, obfuscated())
        streams = {name: functools.partial(tunnel.stream, seconds) for name, tunnel in tunnels.items()}
        for name in ("ours", "go"):
            streams[f"{name}, forwarded"] = functools.partial(tunnels[name].stream, seconds, forwarded=True)
        results: dict[str, list[Result]] = {name: [] for name in streams}

        def measure(name: str) -> float:
            result = streams[name]()
            results[name].append(result)
            return result.rate

        measures: dict[str, Callable[[], float]] = {name: functools.partial(measure, name) for name in streams}
        interleave(1, measures)  # warm up
        for found in results.values():
            found.clear()
        rates = interleave(rounds, measures)
    show("one TCP stream, Mbit/s", rates)
    cpu = {name: [result.cpu for result in found] for name, found in results.items()}
    show("CPU of both engines, ms per GB", {name: [1000 * each for each in found] for name, found in cpu.items()})

    def ratio(above: str, below: str) -> float:
        return paired_ratio(rates[above], rates[below])

    figures = {
        "terminate_ratio": ratio("ours", "go"),
        "forward_ratio": ratio("ours, forwarded", "go, forwarded"),
        "obfuscated_ratio": ratio("obfuscated", "ours"),
        # Each direction has to reach it.
        "mixed_ratio": min(ratio("ours to go", "go"), ratio("go to ours", "go")),
        "trailers_ratio": ratio("trailers", "ours"),
        "padding_ratio": ratio("padding", "ours"),
        "terminate_mbit": statistics.median(rates["ours"]),
        "cpu_s_per_gb": statistics.median(cpu["ours"]),
        "forward_cpu_s_per_gb": statistics.median(cpu["ours, forwarded"]),
        "obfuscated_cpu_s_per_gb": statistics.median(cpu["obfuscated"]),
        "go_cpu_s_per_gb": statistics.median(cpu["go"]),
    }
    if AMNEZIA_GO in rates:
        figures["amneziawg_go_ratio"] = ratio("obfuscated", AMNEZIA_GO)
    return figures


if __name__ == "__main__":
    sys.exit(main())
