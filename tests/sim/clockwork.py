"""Runs that repeat themselves: virtual time, and a seed for whatever the scheduler draws."""

from __future__ import annotations

import datetime
import random
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from unittest import mock

import trio
import trio._core._run as scheduler
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from trio.testing import MockClock

from pharos.wire.pki import tls, trust

_real_anchor = tls._anchor
_really_verify_authority = trust._verify_authority

T = TypeVar("T")

BEGAN: Final = int(datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC).timestamp()) * 10**9
"""What right clocks show when a simulation begins, in nanoseconds since 1970: a seed tells the same on each day."""
_HASH: Final = hashes.SHA256()
_verified: Final[set[tuple[bytes, bytes, x509.Name]]] = set()
_NO_CHECK_TIME: Final = 0x20_0000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME."""


def run_seeded(seed: int, main: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Do as ``trio.run``, on a clock that jumps to the next deadline whenever nobody has anything to do.

    Of two tasks that are ready together the seed says which goes first. Whoever wants the same trace in two processes
    has to have the same PYTHONHASHSEED in both, for sets of strings have an order of their own.
    """
    with _deterministic(seed):
        return trio.run(main, *arguments, clock=MockClock(autojump_threshold=0))


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    # Private names of Trio, for which it has no others (python-trio/trio#890): Hypothesis goes by the same.
    before, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    scheduler._r.seed(seed)
    chance = random.getstate()
    random.seed(seed)
    try:
        with (
            mock.patch.object(tls, "_anchor", _anchor),
            mock.patch.object(trust, "_verify_authority", _verify_authority),
        ):
            yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        scheduler._r.setstate(state)
        random.setstate(chance)


def _anchor(context: ssl.SSLContext, anchors: tuple[x509.Certificate, ...]) -> None:
    """Do as `pharos.wire.pki.tls`; but OpenSSL, which has the real clock, is to leave time to Pharos' own check."""
    _real_anchor(context, anchors)
    context.verify_flags |= _NO_CHECK_TIME


def _verify_authority(
    certificate: x509.Certificate, *, issuer: x509.Certificate, name: x509.Name, now: datetime.datetime
) -> None:
    """Do as `pharos.wire.pki.trust` does, and once for all machines: each would spend 2 ms on the same signature."""
    seal = certificate.fingerprint(_HASH), issuer.fingerprint(_HASH), name
    if seal not in _verified or not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        _really_verify_authority(certificate, issuer=issuer, name=name, now=now)
        _verified.add(seal)
