"""How fast is the AmneziaWG engine? Beside wireguard-go in the same run, in namespaces, with streams of iperf3.

    python -m bench.awg [--quick]

As root; without, pairs of engines are measured over loopback, packets made and counted in memory: then nothing is
forwarded, and there is no wireguard-go to compare with. Engines are processes of their own; rounds are interleaved, and
a ratio is the median of the rounds' ratios. The last line is one JSON object. Exit code 1 means that something could
not be measured.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping

from bench._awg_lab import AMNEZIA_GO, GO, OURS, Result, missing, obfuscated, open_lab
from bench._awg_loop import PARAMETERS, open_pair
from bench.support import Rounds, paired_ratio, rates_and_cpu, report, show, workers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, about a minute")
    quick = parser.parse_args().quick
    try:
        figures = measure_core(quick=quick)
        rounds, seconds = (3, 1) if quick else (7, 4)
        if lacks := missing():
            print(f"no tunnels between namespaces: {', '.join(lacks)}", file=sys.stderr)
            print("over loopback instead, without wireguard-go: no ratio to it, nothing forwarded", file=sys.stderr)
            figures |= measure_loopback(rounds=rounds, seconds=seconds)
        else:
            figures |= measure_tunnels(rounds=rounds, seconds=seconds)
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


def measure_loopback(*, rounds: int, seconds: float) -> dict[str, float]:
    """Measure what needs neither namespaces nor interfaces; the figures have the names that they have with those."""
    with workers() as start:
        pairs = {name: open_pair(start, name) for name in PARAMETERS}
        streams = {name: functools.partial(pair.stream, seconds) for name, pair in pairs.items()}
        rates, cpu = measure_streams(rounds, streams)
    return common_figures(rates, cpu)


def measure_streams(rounds: int, streams: Mapping[str, Callable[[], Result]]) -> tuple[Rounds, Rounds]:
    """Return Mbit/s, and seconds of CPU per gigabyte, of every stream in every round."""
    return rates_and_cpu(rounds, streams, rate="one stream, Mbit/s", cpu="CPU of both engines, ms per GB")


def common_figures(rates: Mapping[str, list[float]], cpu: Mapping[str, list[float]]) -> dict[str, float]:
    """Return what can be said of our engines alone."""
    return {
        "obfuscated_ratio": paired_ratio(rates["obfuscated"], rates["ours"]),
        "trailers_ratio": paired_ratio(rates["trailers"], rates["ours"]),
        "padding_ratio": paired_ratio(rates["padding"], rates["ours"]),
        "terminate_mbit": statistics.median(rates["ours"]),
        "cpu_s_per_gb": statistics.median(cpu["ours"]),
        "obfuscated_cpu_s_per_gb": statistics.median(cpu["obfuscated"]),
    }


def measure_tunnels(*, rounds: int, seconds: float) -> dict[str, float]:
    with open_lab() as lab:
        tunnels = {
            **{name: lab.tunnel(OURS, OURS, parameters) for name, parameters in PARAMETERS.items()},
            "go": lab.tunnel(GO, GO),
            "ours to go": lab.tunnel(OURS, GO),
            "go to ours": lab.tunnel(GO, OURS),
        }
        if shutil.which(AMNEZIA_GO):
            tunnels["amneziawg-go"] = lab.tunnel(AMNEZIA_GO, AMNEZIA_GO, obfuscated())
        streams = {name: functools.partial(tunnel.stream, seconds) for name, tunnel in tunnels.items()}
        for name in ("ours", "go"):
            streams[f"{name}, forwarded"] = functools.partial(tunnels[name].stream, seconds, forwarded=True)
        rates, cpu = measure_streams(rounds, streams)

    def ratio(above: str, below: str) -> float:
        return paired_ratio(rates[above], rates[below])

    figures = common_figures(rates, cpu) | {
        "terminate_ratio": ratio("ours", "go"),
        "forward_ratio": ratio("ours, forwarded", "go, forwarded"),
        # Each direction has to reach it.
        "mixed_ratio": min(ratio("ours to go", "go"), ratio("go to ours", "go")),
        "forward_cpu_s_per_gb": statistics.median(cpu["ours, forwarded"]),
        "go_cpu_s_per_gb": statistics.median(cpu["go"]),
    }
    if AMNEZIA_GO in rates:
        figures["amneziawg_go_ratio"] = ratio("obfuscated", AMNEZIA_GO)
    return figures


if __name__ == "__main__":
    sys.exit(main())
