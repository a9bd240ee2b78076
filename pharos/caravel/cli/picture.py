"""How a connection looks on a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pharos.wire.profile import VLESS_REALITY

BARS: Final = "▁▂▃▄▅▆▇█"
HISTORY: Final = 40
"""Seconds that a sparkline shows."""
_PHASES: Final = {
    "up": ("●", "green", "Connected"),
    "connecting": ("◌", "yellow", "Connecting"),
    "switching": ("◍", "yellow", "Changing to another node"),
    "waiting": ("◌", "yellow", "No node answers; trying again"),
    "offline": ("○", "red", "No network"),
    "captive": ("○", "red", "This network wants you to log in first"),
    "down": ("○", "red", "Not connected"),
}
_UNITS: Final = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s")


class Rates:
    """The last seconds of both directions."""

    def __init__(self) -> None:
        self._down: deque[float] = deque(maxlen=HISTORY)
        self._up: deque[float] = deque(maxlen=HISTORY)

    def take(self, status: Mapping[str, Any]) -> None:
        """Add what a status says of now."""
        self._down.append(float(status.get("receive_rate", 0)))
        self._up.append(float(status.get("send_rate", 0)))

    def lines(self) -> tuple[str, str]:
        """Return a sparkline each, down and up, on one scale."""
        most = max([*self._down, *self._up, 1.0])
        down, up = (sparkline(values, most) for values in (self._down, self._up))
        return down, up


def sparkline(values: deque[float], most: float) -> str:
    """Return bars between nothing and ``most``."""
    return "".join(BARS[min(int(value / most * len(BARS)), len(BARS) - 1)] if value else " " for value in values)


def render_status(status: Mapping[str, Any], rates: Rates | None = None) -> RenderableType:
    """Return a connection's picture: what it is, since when, and how much goes through."""
    mark, colour, says = _PHASES.get(str(status.get("phase")), ("?", "yellow", str(status.get("phase"))))
    head = Text.assemble((f"{mark} ", colour), (says, "bold"))
    if status.get("phase") in ("up", "switching") and status.get("name"):
        head.append(f" to {status['name']}", "bold")
        head.append(f" by {protocol_name(str(status.get('protocol')))}", "dim")
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column()
    for name, value in _facts(status):
        facts.add_row(name, value)
    if rates is not None:
        for name, line in zip(("", ""), rates.lines(), strict=True):
            facts.add_row(name, Text(line, "cyan"))
    return Group(head, facts)


def _facts(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if status.get("detail"):
        facts.append(("why", str(status["detail"])))
    if status.get("since"):
        facts.append(("since", duration(time.time() - float(status["since"]))))
    if status.get("endpoint"):
        host, port = status["endpoint"]
        facts.append(("node at", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
    if status.get("addresses"):
        facts.append(("addresses", ", ".join(status["addresses"])))
    if status.get("handshake_age") is not None:
        facts.append(("handshake", f"{duration(float(status['handshake_age']))} ago"))
    if status.get("system"):
        held = "on: nothing leaves outside the tunnel" if status.get("kill_switch") else "off"
        facts.append(("kill switch", held))
    facts.append(("down", f"{rate(status.get('receive_rate'))}   {octets(status.get('received'))} in all"))
    facts.append(("up", f"{rate(status.get('send_rate'))}   {octets(status.get('sent'))} in all"))
    return facts


def event_line(event: Mapping[str, Any]) -> str:
    """Return what happened as a line for people, with the time."""
    at = time.strftime("%H:%M:%S", time.localtime(float(event.get("at", 0))))
    return f"{at}  {sentence(event)}"


def sentence(event: Mapping[str, Any]) -> str:
    """Return what happened in a sentence."""
    name, how = event.get("name"), protocol_name(str(event.get("protocol", "")))
    match event.get("kind"):
        case "phase":
            says = _PHASES.get(str(event.get("phase")), ("", "", str(event.get("phase"))))[2]
            return f"{says}: {event['detail']}" if event.get("detail") else says
        case "trying":
            return f"Trying {name} by {how}"
        case "failed":
            return f"{name} by {how} did not work: {event.get('why')}"
        case "connected":
            return f"{name} lets us in by {how}, after {float(event.get('seconds', 0)) * 1000:.0f} ms"
        case "lost":
            return f"Lost {name}: {event.get('why')}"
        case "rebound":
            return f"Went on from another address: {event.get('why')}"
        case "profile":
            return f"A new profile came: {event.get('epoch')}.{event.get('revision')}"
        case "stale":
            return "helm was not heard for more than seven days"
        case "unknown-node":
            names = ", ".join(event.get("names", ()))
            return f"No known node answers. New ones: {names}. Use them with: caravel up --node NAME, or wait a day"
        case "captive-portal":
            return f"This network wants you to log in: {event.get('url') or 'open a browser'}"
        case "leak":
            return f"Outside the tunnel: {event.get('detail')}"
        case other:
            return str(other)


def protocol_name(protocol: str) -> str:
    """Return a protocol as people call it."""
    return "REALITY" if protocol == VLESS_REALITY else "AmneziaWG" if protocol else ""


def rate(octets_per_second: float | None) -> str:
    """Return a rate in bit/s as people say it."""
    value, unit = 8 * float(octets_per_second or 0), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value >= 100 or unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def octets(count: int | None) -> str:
    """Return a number of octets as people say it."""
    value = float(count or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    whole = max(int(seconds), 0)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
