"""How the pages that are made of figures write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def shown(value: float) -> str:
    """Write a number with the digits that say something: ``12,345``, ``123``, ``12.3``, ``1.23``, ``0.0123``."""
    size = abs(value)
    if value == int(value) or size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}".rstrip("0") if size >= 0.001 else f"{value:.1g}"


def with_unit(value: float, unit: str) -> str:
    """Write a number and its unit."""
    return f"{shown(value)} {unit}".rstrip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [_row(head), _row(["---"] * len(head))]
    return [*lines, *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
