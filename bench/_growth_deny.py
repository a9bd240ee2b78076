"""What a deny list of so many entries takes: to be verified and loaded, and to be asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from nacl.signing import SigningKey

from pharos.wire.ids import FleetId
from pharos.wire.pki.denylist import DenyEntry, DenyList
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.seal.denylist import sign_deny_list, verify_deny_list

FLEET: Final = FleetId("0" * 16)
KEY: Final = SigningKey(bytes(range(32)))
_ISSUED: Final = 1_800_000_000
_ASKED: Final = 10_000
_TRIES: Final = 7


def measure_deny_list(count: int) -> tuple[float, float]:
    """Return the seconds until a list of so many entries is in use, and those of one look into it: the best of some.

    Every entry denies a device, a certificate's key and a tunnel's key, as a revocation does.
    """
    entries = (
        DenyEntry(
            member=_device(number),
            spki_hash=number.to_bytes(32, "big"),
            tunnel_key_hash=number.to_bytes(32, "little"),
            not_after=_ISSUED,
        )
        for number in range(count)
    )
    listed = DenyList(
        fleet=FLEET, epoch=1, version=1, issued=_ISSUED, entries=tuple(sorted(entries, key=lambda each: each.target))
    )
    blob, keys = sign_deny_list(listed, signing_key=KEY), [bytes(KEY.verify_key)]
    loaded = best(lambda: verify_deny_list(blob, fleet=FLEET, signing_keys=keys))
    asked = [(_device(number % (2 * count)), bytes(32)) for number in range(_ASKED)]
    found = sum(listed.denies(*each) for each in asked)
    if not found:
        raise RuntimeError("a deny list denies nobody")

    def ask() -> None:
        for identity, spki in asked:
            listed.denies(identity, spki)

    return loaded, best(ask) / _ASKED


def best(act: Callable[[], object]) -> float:
    """Return the shortest time of some: what disturbs makes it longer only."""
    times = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return min(times)


def _device(number: int) -> Identity:
    return Identity(fleet=FLEET, role=Role.DEVICE, id=f"0198a2b4-0002-7000-8000-{number:012x}")
