"""From conditions to alerts: raised at once, over only when all has been well for a while, and closed by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from pharos.helm.alerts.conditions import SETTLE, Condition, Found, Key
from pharos.helm.model.alerts import RANK, Severity

# Who resolves an alert whose cause is still there is told again, and not within the day. Microseconds.
CLOSED_FOR: Final = 86_400_000_000


@attrs.frozen(kw_only=True)
class Verdict:
    """What changes."""

    raised: Sequence[Condition] = ()
    cleared: Sequence[Key] = ()

    def __bool__(self) -> bool:
        return bool(self.raised or self.cleared)


@attrs.define
class Judge:
    """Remembers since when each condition holds, and since when it is gone. A pure machine."""

    _held_since: dict[Key, int] = attrs.field(factory=dict)
    """By the wall clock, in microseconds since 1970."""
    _well_since: dict[Key, float] = attrs.field(factory=dict)
    """By the monotonic clock, in seconds."""

    def judge(
        self,
        found: Found,
        standing: Mapping[Key, Severity],
        closed: Mapping[Key, tuple[int, Severity]],
        *,
        now: float,
        at: int,
    ) -> Verdict:
        """Return what is to be raised and cleared.

        ``standing`` are the alerts that stand, ``closed`` those that people have resolved, with the time of it; ``now``
        is monotonic, in seconds, and ``at`` is the wall clock in microseconds since 1970.
        """
        raised = [
            condition
            for key, condition in found.conditions.items()
            if self._is_news(key, condition, standing.get(key), closed.get(key), at)
        ]
        cleared = []
        for key in sorted(standing.keys() | self._held_since.keys()):
            if key in found.conditions or key in found.unsure:
                self._well_since.pop(key, None)
            elif now - self._well_since.setdefault(key, now) >= SETTLE[key[0]]:
                del self._well_since[key]
                self._held_since.pop(key, None)
                cleared += [key] if key in standing else []
        return Verdict(raised=raised, cleared=cleared)

    def _is_news(
        self,
        key: Key,
        condition: Condition,
        standing: Severity | None,
        closed: tuple[int, Severity] | None,
        at: int,
    ) -> bool:
        since = self._held_since.setdefault(key, at)
        if standing is not None:
            return RANK[condition.severity] > RANK[standing]
        if closed is None:
            return True
        closed_at, severity = closed
        knew = since <= closed_at and at - closed_at < CLOSED_FOR
        return not knew or RANK[condition.severity] > RANK[severity]
