"""The plots of docs/performance.md, as SVG that is the same for the same figures: no dates, no ids, no scripts."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree

import attrs
import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

from bench._all_words import shown
from bench.limits import Bench, Series

# pygal leaves a finder of the kind that Python asked before 3.4, for modules of its own plug-ins: every import of
# anything else would warn of it from now on.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

_SVG: Final = "http://www.w3.org/2000/svg"
_PAPER, _INK, _LINE = "#ffffff", "#1f2328", "#8c959f"
_MET, _MISSED = "#2f7d4f", "#c0392b"
# Apart for those who do not tell red from green, and of enough contrast on both papers.
_COLOURS: Final = ("#2f6fb3", "#c2641b", "#2f8f5b", "#a3478f", "#8a7a12")
_MORE: Final = """
.axis .guide.line { stroke: #c9d1d9 !important; stroke-dasharray: 2,4 }
.axis .major.guide.line { stroke: #1f2328 !important; stroke-dasharray: none }
.series .line { stroke-width: 2 !important }
.text-overlay text.value { text-anchor: start !important; transform: translateX(5px) }
@media (prefers-color-scheme: dark) {
.graph > .background, .plot > .background { fill: #0d1117 }
.title, .axis text, .legends .legend text, .text-overlay text.value { fill: #e6edf3 !important }
.axis .guide.line { stroke: #484f58 !important }
.axis .line, .axis .major.guide.line { stroke: #e6edf3 !important }
}
"""
_LOOK: Final[dict[str, Any]] = {
    "js": [],
    "no_prefix": True,
    "disable_xml_declaration": True,
    "tooltip_border_radius": 0,
    "margin": 14,
    "width": 760,
}


@attrs.frozen
class Plot:
    """Some series on common axes."""

    key: str
    """What `bench.limits.Series.plot` says of each."""
    title: str
    across: str
    """What there are 10 to 10,000 of."""


PLOTS: Final = (
    Plot("wait", "How long one waits (ms)", "devices or peers"),
    Plot("each", "Time for each of them (µs)", "them"),
    Plot("look", "One look (ns)", "entries or peers"),
    Plot("size", "Size of each of them (kB)", "peers or devices"),
    Plot("fleet", "A helm with its nodes (MiB, s)", "nodes"),
)


def limits_plot(bench: Bench, figures: Mapping[str, float]) -> str | None:
    """Draw how much of its limit each figure of a bench takes; None where there is nothing to draw."""
    bars = []
    for figure in bench.figures:
        value = figures.get(figure.name)
        # Of a limit of nothing there is no share.
        if value is None or not figure.limit or (share := _share(value, figure.limit, figure.at_least)) is None:
            continue
        bars.append((figure.name, 100 * share, _MET if figure.meets(value) else _MISSED))
    if not bars:
        return None
    top = max(100.0, *(percent for _, percent, _ in bars))
    step = 25 if top <= 200 else 100 * math.ceil(top / 800)
    title = f"bench.{bench.name}: how much of its limit each figure takes"
    chart = pygal.HorizontalBar(
        style=_style((_MET,)),
        title=title,
        height=90 + 30 * len(bars),
        show_legend=False,
        print_values=True,
        print_values_position="top",
        value_formatter=lambda value: f"{value:.0f} %",
        y_labels_major=[100],
        range=(0, top * 1.12),
        **_LOOK,
    )
    # The first bar is drawn at the bottom.
    chart.x_labels = [name for name, _, _ in reversed(bars)]
    marks = sorted({100, *(mark for mark in range(0, math.ceil(top) + step, step) if mark <= top * 1.12)})
    chart.y_labels = [{"value": mark, "label": f"{mark} %"} for mark in marks]
    chart.add("", [{"value": round(percent, 2), "color": colour} for _, percent, colour in reversed(bars)])
    return _written(chart, title)


def _share(value: float, limit: float, at_least: bool) -> float | None:
    if not at_least:
        return max(value, 0.0) / limit
    return limit / value if value > 0 else None


def growth_plot(plot: Plot, series: Sequence[Series], figures: Mapping[str, float]) -> str | None:
    """Draw series from the smallest size to the largest, both axes logarithmic; None where nothing was measured."""
    lines = {}
    for each in series:
        # Nothing has no logarithm.
        points = [(size, figures[each.at(size)]) for size in each.sizes if figures.get(each.at(size), 0) > 0]
        if points:
            lines[each.name] = points
    if not lines:
        return None
    title = f"{plot.title} by the number of {plot.across}"
    chart = pygal.XY(
        style=_style(_COLOURS),
        title=title,
        height=360,
        logarithmic=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=len(lines),
        dots_size=4,
        truncate_legend=-1,
        margin_right=40,
        truncate_label=-1,
        **_LOOK,
    )
    values = [value for points in lines.values() for _, value in points]
    chart.y_labels = [{"value": mark, "label": shown(mark)} for mark in _marks(min(values), max(values))]
    sizes = [size for points in lines.values() for size, _ in points]
    chart.x_labels = [{"value": mark, "label": f"{mark:,}"} for mark in _powers(min(sizes), max(sizes))]
    for name, points in lines.items():
        chart.add(name, points)
    return _written(chart, title)


def _powers(low: float, high: float) -> list[int]:
    return [int(10**exponent) for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def _marks(low: float, high: float) -> list[float]:
    """Return the powers of ten round a range, or finer marks where it spans less than two of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    marks = [factor * 10.0**exponent for exponent in range(first, last) for factor in factors]
    return [*marks, 10.0**last]


def _style(colours: Sequence[str]) -> Style:
    return Style(
        background=_PAPER,
        plot_background=_PAPER,
        foreground=_INK,
        foreground_strong=_INK,
        foreground_subtle=_LINE,
        colors=tuple(colours),
        font_family="system-ui, sans-serif",
        title_font_size=15,
        label_font_size=12,
        major_label_font_size=12,
        value_font_size=12,
        legend_font_size=13,
        opacity="1",
        opacity_hover="1",
        transition="0s",
    )


def _written(chart: Any, title: str) -> str:
    """Return a chart as text, without what its library adds for a browser that moves in it."""
    root = ElementTree.fromstring(chart.render())
    ElementTree.register_namespace("", _SVG)
    root.attrib.pop("id", None)
    root.set("role", "img")
    root.set("aria-label", title)
    for parent in list(root.iter()):
        for child in list(parent):
            dynamic = child.tag in (f"{{{_SVG}}}script", f"{{{_SVG}}}desc")
            if dynamic or "tooltip-overlay" in child.get("class", ""):
                parent.remove(child)
    style = root.find(f"{{{_SVG}}}defs/{{{_SVG}}}style")
    assert style is not None
    style.text = (style.text or "") + _MORE
    return _rounded(ElementTree.tostring(root, encoding="unicode")) + "\n"


def _rounded(text: str) -> str:
    """Shorten the coordinates, of which a hundredth of a pixel is enough."""
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
