"""Who is upgraded when, and whether a member is well: no I/O.

    waiting ──▶ running ──▶ ended
       └──────────────────▶ left        once one has failed

Canaries come first and one at a time, and nobody else begins before the last of them is well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from pharos.helm.errors import InvalidRequestError
from pharos.helm.onboard.upgrade.desk import Health, Member
from pharos.helm.onboard.upgrade.events import Outcome
from pharos.wire.errors import LocalProtocolError

AT_ONCE: Final = 2
"""Members that are upgraded at the same time, unless somebody says otherwise; each is a second without its agent."""
MOST_AT_ONCE: Final = 16
"""Each has an ssh and sends some 12 MB; a domestic line is full with fewer."""


@attrs.define
class Rollout:
    """The order of an upgrade."""

    _waiting: list[Member]
    canaries: int = 0
    at_once: int = AT_ONCE
    _running: set[str] = attrs.field(factory=set, init=False)
    _halted: bool = attrs.field(default=False, init=False)
    outcomes: dict[str, Outcome] = attrs.field(factory=dict, init=False)
    """By name, of those for whom it is over."""

    @classmethod
    def of(cls, members: Sequence[Member], *, canaries: int = 0, at_once: int = AT_ONCE) -> Rollout:
        """Begin one, in the order of the members' names. Raises: InvalidRequestError."""
        if not 1 <= at_once <= MOST_AT_ONCE:
            raise InvalidRequestError(f"{at_once} at once is not between 1 and {MOST_AT_ONCE}")
        if not 0 <= canaries <= len(members):
            raise InvalidRequestError(f"there are {len(members)} to be upgraded, and so no {canaries} canaries")
        return cls(sorted(members, key=lambda member: (member.name, member.id)), canaries, at_once)

    def begin(self) -> list[Member]:
        """Return whose turn it is; each has to be ended."""
        started: list[Member] = []
        while self._waiting and not self._halted and len(self._running) < self._room():
            member = self._waiting.pop(0)
            self._running.add(member.id)
            started.append(member)
        return started

    def _room(self) -> int:
        """Return how many may run now: while a canary is out, nobody but it. Whoever had the version proves nothing."""
        proven = sum(outcome in (Outcome.UPGRADED, Outcome.PLANNED) for outcome in self.outcomes.values())
        return 1 if proven < self.canaries else self.at_once

    def end(self, member: Member, outcome: Outcome) -> list[Member]:
        """Note how it ended for a member; return those whose turn will not come, once that is sure.

        Raises: LocalProtocolError — it was not this member's turn.
        """
        if member.id not in self._running:
            raise LocalProtocolError(f"{member.name} was not being upgraded")
        self._running.remove(member.id)
        self.outcomes[member.name] = outcome
        self._halted |= not outcome.well
        left = self._waiting if self._halted else []
        for other in left:
            self.outcomes[other.name] = Outcome.LEFT
        if left:
            self._waiting = []
        return left

    @property
    def over(self) -> bool:
        """Whether nobody is left to begin, or to wait for."""
        return not self._waiting and not self._running


def same_version(agent: str, package: str) -> bool:
    """Return whether an agent's ``1.0rc1`` is a package's ``1.0~rc1``: Debian spells the same parts in its own way."""
    return re.findall("[0-9]+|[a-z]+", agent) == re.findall("[0-9]+|[a-z]+", package) != []


@attrs.frozen(kw_only=True)
class Baseline:
    """How a member was before."""

    since: int
    """Microseconds since 1970 by its clock: handshakes from then on are of tunnels that have to be there after it."""
    tunnels: int
    troubles: tuple[str, ...] = ()
    started_at: int = 0


HANDSHAKE_LIFE: Final = 180_000_000
"""Microseconds: after so long without a handshake a session is over (wireguard.pdf p. 14, Reject-After-Time)."""


def baseline_of(health: Health | None) -> Baseline:
    """Return what has to be as good afterwards; of a member that does not answer nothing is known to be."""
    if health is None:
        return Baseline(since=0, tunnels=0)
    return Baseline(
        since=max(health.now - HANDSHAKE_LIFE, 0),
        tunnels=health.tunnels,
        troubles=health.troubles,
        started_at=health.started_at,
    )


def find_faults(health: Health | None, version: str, before: Baseline) -> list[str]:
    """Return what keeps a member from being well at the version of a package; nothing: it is."""
    if health is None:
        return ["its agent does not answer"]
    faults = []
    if not same_version(health.version, version):
        faults.append(f"its agent is of version {health.version or 'none that it tells'}")
    elif before.started_at and health.started_at == before.started_at:
        faults.append("its agent has not started anew")
    if not health.settled:
        faults.append("it does not serve yet what helm ordered")
    faults += [trouble for trouble in health.troubles if trouble not in before.troubles]
    if health.tunnels < before.tunnels:
        faults.append(f"{before.tunnels - health.tunnels} of {before.tunnels} tunnels are gone")
    return faults
