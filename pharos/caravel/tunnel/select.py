"""In which order the ways of a profile are tried, and how long after each other. Pure.

All that work on a network are good ways. What is wanted is the first that works, soon, and AmneziaWG before REALITY,
for it is faster and survives a change of network; so they are dialled after each other at short distances, as RFC 8305
has it for addresses, and the first that is up wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from pharos.caravel.managed import Floor
from pharos.caravel.tunnel.parts import Candidate
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from pharos.wire.units import DAYS, MILLISECONDS, SECONDS

NEXT_AFTER: Final = 150 * MILLISECONDS
"""Between two ways. RFC 8305 §5 says 250 ms between two connections of TCP; a handshake of ours is one round trip."""
REALITY_LEAD: Final = 400 * MILLISECONDS
"""What AmneziaWG gets before the first REALITY is dialled: two round trips to most nodes, and the person who waits
behind a firewall that drops UDP does not feel it."""
TRUST_FOR: Final = 14 * DAYS
"""For so long a success on a network is a reason to begin with it."""
BLOCKED_FOR: Final = 1 * DAYS
"""For so long a protocol that failed where the other worked is not given a lead; it is tried all the same."""

WayKey: TypeAlias = tuple[str, str]
"""Node and protocol."""


def admits(floor: Floor, candidate: Candidate) -> bool:
    """Whether a way is not below the floor: what looks like plain WireGuard is below all but `Floor.ANY`."""
    if floor is Floor.REALITY:
        return candidate.protocol == VLESS_REALITY
    return candidate.hides or floor is Floor.ANY


@attrs.frozen(kw_only=True)
class Experience:
    """How one way did on one network. Times are Unix seconds."""

    worked_at: float = 0.0
    failed_at: float = 0.0
    seconds: float = 0.0
    """That it took to be up, the last times."""

    def worked(self, now: float, seconds: float) -> Experience:
        """Return it after a success."""
        # What is new counts for half: a network's hour of the day matters more than last week's.
        mean = seconds if not self.seconds else (self.seconds + seconds) / 2
        return attrs.evolve(self, worked_at=now, seconds=mean)

    def failed(self, now: float) -> Experience:
        """Return it after a failure."""
        return attrs.evolve(self, failed_at=now)

    def works(self, now: float) -> bool:
        """Whether it may be expected to work."""
        return self.worked_at > self.failed_at and 0 <= now - self.worked_at < TRUST_FOR


Memory: TypeAlias = Mapping[WayKey, Experience]
NOTHING: Final = Experience()


@attrs.frozen(kw_only=True)
class Start:
    """When to dial a way."""

    after: float
    """Seconds from the beginning of the race."""
    candidate: Candidate


def key_of(candidate: Candidate) -> WayKey:
    return candidate.node, candidate.protocol


def plan_race(candidates: Sequence[Candidate], memory: Memory, now: float) -> list[Start]:
    """Return when to dial each; ``candidates`` are in the profile's order, ``now`` is Unix seconds.

    What worked on this network last leads. Then AmneziaWG has its lead, unless the memory says that this network does
    not carry it; within a protocol those that worked come first, by the time they took, then those that nobody has
    tried here, then those that failed.
    """
    ranked = {
        protocol: _ranked([one for one in candidates if one.protocol == protocol], memory, now)
        for protocol in (AMNEZIAWG, VLESS_REALITY)
    }
    datagrams, reality = ranked[AMNEZIAWG], ranked[VLESS_REALITY]
    last = max(candidates, key=lambda one: _experience(one, memory).worked_at, default=None)
    if last is not None and not _experience(last, memory).works(now):
        last = None
    blocked = is_blocked(candidates, memory, now)
    lead = 0.0 if blocked or not datagrams else REALITY_LEAD
    starts = [*_spaced(datagrams, REALITY_LEAD if blocked and reality else 0.0), *_spaced(reality, lead)]
    if last is not None and not (last.protocol == VLESS_REALITY and not blocked):
        # It goes first and alone for one distance; a REALITY that only won by chance has no such right.
        starts = [
            Start(after=0.0, candidate=last),
            *(attrs.evolve(one, after=one.after + NEXT_AFTER) for one in starts if one.candidate is not last),
        ]
    return sorted(starts, key=lambda one: one.after)


def is_blocked(candidates: Iterable[Candidate], memory: Memory, now: float) -> bool:
    """Whether this network seems to carry no AmneziaWG: all that was tried of it failed, and REALITY worked."""
    datagrams = [_experience(one, memory) for one in candidates if one.protocol == AMNEZIAWG]
    failed = [one.failed_at for one in datagrams if one.failed_at > one.worked_at]
    reality = any(
        _experience(one, memory).works(now) and now - _experience(one, memory).worked_at < BLOCKED_FOR
        for one in candidates
        if one.protocol == VLESS_REALITY
    )
    return reality and bool(failed) and not any(one.works(now) for one in datagrams)


def _ranked(candidates: Sequence[Candidate], memory: Memory, now: float) -> list[Candidate]:
    return sorted(candidates, key=lambda one: _rank(_experience(one, memory), now))


def _rank(experience: Experience, now: float) -> tuple[int, int]:
    if experience.works(now):
        # By powers of two of the time, so that the profile's order decides between those that are alike.
        return 0, max(0, int(experience.seconds / (20 * MILLISECONDS))).bit_length()
    failed_lately = experience.failed_at > experience.worked_at and 0 <= now - experience.failed_at < BLOCKED_FOR
    return (2 if failed_lately else 1), 0


def _spaced(candidates: Sequence[Candidate], first: float) -> list[Start]:
    return [
        Start(after=first + number * NEXT_AFTER, candidate=candidate) for number, candidate in enumerate(candidates)
    ]


def _experience(candidate: Candidate, memory: Memory) -> Experience:
    return memory.get(key_of(candidate), NOTHING)


ATTEMPT_TIMEOUT: Final = 15 * SECONDS
"""For one way to be up: six looks at ports and generations of AmneziaWG, or TCP's third try and a handshake."""
MAX_AT_ONCE: Final = 8
"""Ways that are being dialled: each is a socket and a handshake, and a fleet may have a hundred nodes."""
