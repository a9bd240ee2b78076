"""What this device keeps, and its clock."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Final

from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.caravel.sync import SyncOutcome
from pharos.wire.errors import WireError
from pharos.wire.findings import Finding, age_of, note, ok, problem

MAX_SKEW: Final = 300.0
"""Seconds: certificates begin five minutes before they are made (security.md §2a)."""
NOTED_SKEW: Final = 30.0
SOON: Final = datetime.timedelta(days=30)
"""A certificate is renewed after two thirds of its year; a month before its end nobody has for long."""


def check_device(store: ProfileStore, now: datetime.datetime) -> Iterator[Finding]:
    """Look at the certificate, the profile and how fresh it is.

    Raises: NotEnrolledError, StateFileError.
    """
    enrolled = store.enrolled()
    yield _certificate(enrolled, now)
    try:
        profile = store.profile(now)
    except WireError as error:
        yield problem("profile", f"the kept profile cannot be read: {error}", "sync: caravel profiles")
        return
    if not profile.nodes:
        yield problem("profile", "the profile names no node", "ask whoever runs the fleet which group you are in")
    else:
        yield ok("profile", f"{len(profile.nodes)} nodes, by {profile.fleet}")
    heard_at = store.heard_at()
    if heard_at is not None:
        age = age_of((now - heard_at).total_seconds())
        if store.is_stale(now):
            yield note(
                "stale",
                f"helm was not heard for {age}: the profile may be old, or somebody keeps a newer one from you",
                "connect as usual, and ask whoever runs the fleet",
            )


def check_clock(store: ProfileStore, outcome: SyncOutcome | None, now: datetime.datetime) -> Finding:
    """Compare this machine's clock with helm's, or else with what the fleet has signed."""
    if outcome is not None and outcome.skew is not None:
        off = outcome.skew
        if abs(off) > NOTED_SKEW:
            which = "ahead of" if off > 0 else "behind"
            text = f"this clock is {abs(off):.0f} s {which} helm's"
            todo = "set it: timedatectl set-ntp true"
            return problem("clock", text, todo) if abs(off) > MAX_SKEW else note("clock", text, todo)
        return ok("clock", f"within {max(abs(off), 1):.0f} s of helm's")
    floor = clock_floor(store)
    if floor is not None and now < floor:
        says = f"this clock says {now:%Y-%m-%d %H:%M}, and what this device keeps is of {floor:%Y-%m-%d %H:%M}"
        return problem(
            "clock",
            f"{says}; after a clock went back no node answers until it has caught up",
            "set it: timedatectl set-ntp true",
        )
    return ok("clock", "nothing that this device keeps is of later than now")


def clock_floor(store: ProfileStore) -> datetime.datetime | None:
    """Return the latest moment of which this device has proof that it is over."""
    moments = [store.heard_at()]
    try:
        certificate = store.enrolled().credentials().certificate
    except WireError:
        pass
    else:
        moments.append(certificate.not_valid_before_utc)
    return max((moment for moment in moments if moment is not None), default=None)


def _certificate(enrolled: Enrolled, now: datetime.datetime) -> Finding:
    ends = enrolled.credentials().certificate.not_valid_after_utc
    if ends <= now:
        return problem(
            "certificate",
            f"this device's certificate ended on {ends:%Y-%m-%d}: helm lets it in no more, nodes still do",
            "ask for a ticket for this device (helm devices invite --device NAME), and enrol again",
        )
    if ends - now < SOON:
        return note("certificate", f"the certificate ends on {ends:%Y-%m-%d}", "sync, so that it is renewed")
    return ok("certificate", f"good until {ends:%Y-%m-%d}")
