"""How does what we measure grow from 10 to 10,000: devices, peers, bundles, events, nodes?

    python -m bench.growth [--quick]

The parts are those of the other benches, at four sizes. Where there is more work with more of them, the figure is for
each one; its ratio, largest size ÷ smallest, is far below 1 where the same work is done once however many there are.
With ``--quick`` helm has 100 nodes at the most, and rounds are shorter. The last line is one JSON object. Exit code 1
means that something could not be measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench._agents_lab import Lab
from bench._growth_deny import measure_deny_list
from bench._growth_reseal import measure_reseal
from bench._record_audit import measure_verify
from bench._record_list import look
from bench._record_telemetry import measure_ingest
from bench.fleet import Fleet
from bench.limits import BY_NAME, Series
from bench.support import Worker, raise_file_limit, report, workers

SERIES: Final = {series.name: series for series in BY_NAME["growth"].series}

Point = tuple[str, int, float]
"""A series' name, a size, and the value there."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer nodes and shorter rounds, below a minute")
    quick = parser.parse_args().quick
    raise_file_limit()
    points: list[Point] = []
    try:
        for measure in (measure_wire, measure_record, measure_ingested, measure_node, measure_bundles, measure_helm):
            for point in measure(quick=quick):
                print(f"{point[0]} at {point[1]:,}: {point[2]:,.3f}", flush=True)
                points.append(point)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("growth", figures_of(points))
    return 0


def figures_of(points: list[Point]) -> dict[str, float]:
    """Return the figure of each point, and of each series its last ÷ its first."""
    values: dict[str, dict[int, float]] = {}
    for name, size, value in points:
        values.setdefault(name, {})[size] = value
    figures: dict[str, float] = {}
    for name, found in values.items():
        figures |= {SERIES[name].at(size): value for size, value in found.items()}
        figures[SERIES[name].ratio] = found[max(found)] / found[min(found)]
    return figures


def sizes(series: Series, *, quick: bool) -> list[int]:
    """Return the sizes to measure."""
    return [size for size in series.sizes if not (quick and size in series.full)]


def measure_wire(*, quick: bool) -> Iterator[Point]:
    """The engine's peers, and the deny list: what needs neither network nor disk."""
    with workers() as start:
        for size in sizes(SERIES["lookup_ns"], quick=quick):
            core = start("bench._awg_core")
            yield "lookup_ns", size, float(core.ask(task="lookup", rounds=20, peers=size)["ns"])
            yield "awg_peer_kb", size, core.ask(task="memory", peers=size)["octets"] / 1000
    for size in sizes(SERIES["deny_us"], quick=quick):
        loaded, asked = measure_deny_list(size)
        yield "deny_us", size, 1e6 * loaded / size
        yield "denied_ns", size, 1e9 * asked


def measure_record(*, quick: bool) -> Iterator[Point]:
    """Lists, searches, the file, the audit."""
    for size in sizes(SERIES["list_ms"], quick=quick):
        looks = look(size, rounds=8 if quick else 40)
        yield "list_ms", size, looks.list_ms
        yield "search_ms", size, looks.search_ms
        yield "store_kb", size, looks.octets / size / 1000
    for size in sizes(SERIES["verify_us"], quick=quick):
        yield "verify_us", size, 1e6 / max(measure_verify(size) for _ in range(3))


def measure_ingested(*, quick: bool) -> Iterator[Point]:
    """Events of few devices, and of many."""
    for size in sizes(SERIES["ingest_us"], quick=quick):
        yield "ingest_us", size, 1e6 / measure_ingest(2 if quick else 5, devices=size)


def measure_node(*, quick: bool) -> Iterator[Point]:
    """A node that is told all of its peers, and then of one more."""
    with tempfile.TemporaryDirectory() as folder, workers() as start:
        with Lab(Path(folder), start).node("growth", 1) as node:
            node.wait_served()
            node.ends.ask(task="link")
            node.ends.ask(task="snapshot", count=1)  # warm up
            for size in sizes(SERIES["one_peer_ms"], quick=quick):
                taken, octets = _told(node.ends, size, 1 if quick else 5)
                yield "snapshot_us", size, 1e6 * taken / size
                yield "snapshot_kb", size, octets / size / 1000
                more = node.ends.ask(task="push", first=size, count=10 if quick else 40)["seconds"]
                yield "one_peer_ms", size, 1000 * statistics.median(more)


def _told(ends: Worker, size: int, rounds: int) -> tuple[float, int]:
    """Return the median seconds of telling a node that has one peer of so many, and the octets of that."""
    taken, octets = [], 0
    for _ in range(rounds):
        ends.ask(task="snapshot", count=1)
        said = ends.ask(task="snapshot", count=size)
        taken.append(float(said["seconds"]))
        octets = int(said["octets"])
    return statistics.median(taken), octets


def measure_bundles(*, quick: bool) -> Iterator[Point]:
    """Profiles sealed anew."""
    for size in sizes(SERIES["reseal_us"], quick=quick):
        yield "reseal_us", size, 1e6 * measure_reseal(size) / size


def measure_helm(*, quick: bool) -> Iterator[Point]:
    """A helm with its nodes, and as many devices."""
    for size in sizes(SERIES["helm_mb"], quick=quick):
        with tempfile.TemporaryDirectory() as folder, workers() as start:
            up = Fleet(Path(folder), start, nodes=size, devices=size).up
        yield "helm_mb", size, float(up["mb"])
        yield "cold_up_s", size, float(up["seconds"])


if __name__ == "__main__":
    sys.exit(main())
