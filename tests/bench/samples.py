"""A machine, a moment and a bench of the tests', and what is made of them."""

from __future__ import annotations

from typing import Final

from bench._all_results import Machine, Moment, Result
from bench.limits import Bench, Figure, Series

MACHINE: Final = Machine(cpu="a Z80", cores=1, memory_gb=2, kernel="6.1.0", python="3.11.2")
MOMENT: Final = Moment(date="2027-01-31 18:05", commit="0123456789", load=0.5)

SAMPLE: Final = Bench(
    "sample",
    99,
    "How long is a piece of string?",
    (
        Figure("length_m", "m", "from end to end", 2),
        Figure("strength_ratio", "×", "÷ that of another", 1.5, at_least=True),
        Figure("knots", "", "in it", 0),
        Figure("weight_g", "g", "all of it", when="root"),
    ),
)
GROWING: Final = Bench(
    "growing",
    99,
    "How does it grow?",
    series=(Series("wait_ms", "ms", "ends", "until one is found", "wait", (10, 100, 1_000), full=(1_000,)),),
)


def result(bench: str, *, quick: bool = False, error: str = "", **figures: float) -> Result:
    """Return what a run of a bench might have said."""
    return Result(bench=bench, quick=quick, figures=figures, error=error, seconds=12.3, machine=MACHINE, moment=MOMENT)
