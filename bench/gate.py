"""Has anything become twice as slow, or twice as large? Ratios alone, which depend little on the machine.

    python -m bench.gate [--write] [--baselines FILE] [PART …]

Each part is a short round of a bench. A ratio falls if it is worse than its baseline (``bench/baselines.json``) by more
than a factor of 2 in two rounds: whatever disturbs one seldom disturbs the next. ``--write`` puts what it measures in
the place of the baselines of these parts. The last line is one JSON object. Exit code 1 means that something has
fallen, or could not be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs

from bench import awg, growth, reality, rpc, wire
from bench._caravel_import import import_rounds
from bench._reality_lab import Lab
from bench._rpc_certificates import make as make_certificates
from bench._wire_fleet import make as make_fleet
from bench.support import paired_ratio, raise_file_limit, report, workers
from pharos.wire.units import MIB

BASELINES: Final = Path(__file__).with_name("baselines.json")
BEYOND: Final = 2.0

Figures = dict[str, float]


@attrs.frozen
class Baseline:
    """What a ratio was when it was last looked at."""

    value: float
    at_least: bool
    """More is better, or, if not, less."""

    def falls(self, value: float) -> bool:
        """Tell whether a value is worse by more than the factor."""
        return value < self.value / BEYOND if self.at_least else value > self.value * BEYOND


@attrs.frozen
class Fallen:
    """A ratio beyond the factor, or one that was to be measured and was not."""

    name: str
    value: float | None
    baseline: Baseline

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name} was not measured"
        worse = "less than half" if self.baseline.at_least else "more than twice"
        return f"{self.name} is {self.value:.3f}, {worse} its baseline of {self.baseline.value:.3f}"


def read_baselines(path: Path = BASELINES) -> dict[str, Baseline]:
    """Return the baselines by ``part.figure``."""
    return {name: Baseline(entry["value"], entry["at_least"]) for name, entry in json.loads(path.read_text()).items()}


def judge(figures: Mapping[str, float], baselines: Mapping[str, Baseline]) -> list[Fallen]:
    """Return what has fallen of figures that have a baseline, those that are missing among them."""
    found = []
    for name, baseline in baselines.items():
        value = figures.get(name)
        if value is None or baseline.falls(value):
            found.append(Fallen(name, value, baseline))
    return found


def twice(measure: Callable[[], Figures], baselines: Mapping[str, Baseline]) -> tuple[Figures, list[Fallen]]:
    """Measure, and again if something has fallen; return the better values, and what fell in both rounds."""
    figures = measure()
    if not judge(figures, baselines):
        return figures, []
    again = measure()
    better = {name: _better(name, figures.get(name), value, baselines) for name, value in again.items()}
    return better, judge(better, baselines)


def _better(name: str, first: float | None, second: float, baselines: Mapping[str, Baseline]) -> float:
    if first is None or name not in baselines:
        return second
    return max(first, second) if baselines[name].at_least else min(first, second)


def measure_rpc() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        return rpc.measure(folder, rounds=3, seconds=0.3)


def measure_wire() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        server_name = make_fleet(Path(folder))
        with workers() as start:
            node = start("bench._wire_node", "server", folder)
            figures = wire.measure_handshakes(folder, node, server_name, rounds=1)
        return figures | wire.measure_relayed(folder, rounds=3)


def measure_awg() -> Figures:
    return awg.measure_loopback(rounds=2, seconds=1)


def measure_reality() -> Figures:
    with tempfile.TemporaryDirectory() as folder, workers() as start, ExitStack() as stack:
        return reality.measure_transfers(Lab(start, Path(folder), stack), rounds=2, count=16 * MIB)


def measure_import() -> Figures:
    found = import_rounds(3)
    return {"import_ratio": paired_ratio(found["caravel"], found["below"])}


def measure_growth() -> Figures:
    points = [point for part in (growth.measure_wire, growth.measure_record) for point in part(quick=True)]
    return growth.figures_of([*points, *growth.measure_node(quick=True)])


PARTS: Final[dict[str, Callable[[], Figures]]] = {
    "rpc": measure_rpc,
    "wire": measure_wire,
    "awg": measure_awg,
    "reality": measure_reality,
    "import": measure_import,
    "growth": measure_growth,
}


def measured(part: str) -> Callable[[], Figures]:
    """Return what measures a part, its figures named ``part.figure``."""
    return lambda: {f"{part}.{name}": value for name, value in PARTS[part]().items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"these only, of {', '.join(PARTS)}")
    parser.add_argument("--baselines", type=Path, default=BASELINES, metavar="FILE", help="compare with these")
    parser.add_argument("--write", action="store_true", help="make what is measured the baselines of these parts")
    asked = parser.parse_args(arguments)
    if unknown := [part for part in asked.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    raise_file_limit()
    baselines, parts = read_baselines(asked.baselines), asked.parts or list(PARTS)
    figures: Figures = {}
    fallen: list[Fallen] = []
    try:
        for part in parts:
            own = {name: each for name, each in baselines.items() if name.startswith(f"{part}.")}
            found, fell = (measured(part)(), []) if asked.write else twice(measured(part), own)
            figures |= {name: value for name, value in found.items() if name in own}
            fallen += fell
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    if asked.write:
        write_baselines(asked.baselines, baselines, figures)
    for each in fallen:
        print(f"fallen: {each}")
    report("gate", figures)
    return 1 if fallen else 0


def write_baselines(path: Path, baselines: Mapping[str, Baseline], figures: Mapping[str, float]) -> None:
    """Put new values in the place of baselines; which way is better stays."""
    entries = {
        name: {"value": round(figures.get(name, each.value), 3), "at_least": each.at_least}
        for name, each in sorted(baselines.items())
    }
    lines = [f'  "{name}": {json.dumps(entry)}' for name, entry in entries.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
