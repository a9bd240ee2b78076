"""What is said of alerts: one message of however many, in as many characters as its reader takes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import attrs

from pharos.helm.model.alerts import RANK, Alert, News, Severity
from pharos.helm.store.deliveries import Pending
from pharos.helm.store.times import rfc3339

# Nobody reads more than a screen of them; the list itself has them all.
MOST_LINES: Final = 30
MOST_TEXT: Final = 300
MOST_TITLE: Final = 120


class Tone(enum.Enum):
    """How a message as a whole is meant; services show it as a colour or sign."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@attrs.frozen(kw_only=True)
class Message:
    """What a person reads."""

    title: str
    body: str
    tone: Tone


TEST: Final = Message(
    title="Pharos: a test",
    body="This is what somebody asked helm to send, to see whether alerts arrive here. They do.",
    tone=Tone.INFO,
)


def compose(items: Sequence[Pending], room: int) -> Message:
    """Return one message of everything, the gravest first; its title and body have at most ``room`` characters."""
    alerts = {item.alert.id: item.alert for item in items}
    # What is resolved is never opened again; of what was raised as well only the end is worth a line.
    ended = {item.alert.id for item in items if item.delivery.what is News.RESOLVED}
    over = [alert for alert in alerts.values() if alert.id in ended]
    standing = sorted(
        (alert for alert in alerts.values() if alert.id not in ended),
        key=lambda alert: (-RANK[alert.severity], alert.opened_at, alert.id),
    )
    lines = [_line(alert.severity.value.upper(), alert) for alert in standing]
    lines += [_line("RESOLVED", alert) for alert in over]
    title = _title(standing, over)[: min(MOST_TITLE, room)]
    return Message(title=title, body=_fit(lines, room - len(title)), tone=_tone(standing, over))


def _line(word: str, alert: Alert) -> str:
    text = _plain(alert.text)
    text = text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
    # Who is told twice, for nothing is told less than once, knows by the id that it is the same.
    return f"{word} {text} ({alert.kind}, {rfc3339(alert.opened_at)[:16]}Z, {alert.id})"


def _title(standing: Sequence[Alert], over: Sequence[Alert]) -> str:
    if len(standing) + len(over) == 1:
        (alert,) = (*standing, *over)
        return f"Pharos: {'resolved' if over else alert.severity.value}: {_plain(alert.text)}"
    parts = [f"{len(standing)} {'alert' if len(standing) == 1 else 'alerts'}"] if standing else []
    parts += [f"{len(over)} resolved"] if over else []
    return f"Pharos: {', '.join(parts)}"


def _tone(standing: Sequence[Alert], over: Sequence[Alert]) -> Tone:
    if not standing:
        return Tone.SUCCESS if over else Tone.INFO
    return {Severity.CRITICAL: Tone.FAILURE, Severity.WARNING: Tone.WARNING, Severity.INFO: Tone.INFO}[
        standing[0].severity
    ]


def _fit(lines: Sequence[str], room: int) -> str:
    shown = list(lines[:MOST_LINES])
    while True:
        left = len(lines) - len(shown)
        more = [f"… {left} more: helm alerts list"] if left else []
        text = "\n".join([*shown, *more])
        if len(text) <= room or not shown:
            return text[: max(room, 0)]
        if len(lines) == 1:
            return f"{text[: room - 1]}…" if room > 0 else ""
        shown.pop()


def _plain(text: str) -> str:
    # Names are people's own words, and reasons may be a stranger's.
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
