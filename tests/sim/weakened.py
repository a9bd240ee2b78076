"""Builds that lack something: what a storm is for is to find them, so each is found by some seed."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest import mock

import attrs

from pharos.buoy.node import Node
from pharos.buoy.state import DesiredState
from pharos.caravel import enrolment
from pharos.helm.audit.chain import row_hash
from pharos.helm.backup import restore
from pharos.helm.store import audit, database
from pharos.helm.store.connections import open_writing
from pharos.wire.desired import Desired, Push
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.keeping import Keeping
from tests.sim.world import SimWorld


def nothing(*_arguments: object) -> None:
    """Stand in the place of what a build lacks."""


Weakness = Callable[[], AbstractContextManager[Any]]


@contextmanager
def acknowledges_what_is_not_synced() -> Iterator[None]:
    """helm says that something is done when its disk may not have it yet."""

    @functools.wraps(open_writing)
    def opened(*arguments: Any, **options: Any) -> AbstractContextManager[sqlite3.Connection]:
        return open_writing(*arguments, **{**options, "synchronous": "NORMAL"})

    with mock.patch.object(database, "open_writing", opened):
        yield


def syncs_no_file() -> AbstractContextManager[Any]:
    """Files are written and renamed, and nobody waits until the disk has them."""
    return mock.patch.object(SimWorld, "fsync", nothing)


@contextmanager
def serves_whom_it_served() -> Iterator[None]:
    """A node takes whoever is new, and lets nobody go."""
    after = Desired.after

    def keeping(self: Desired, push: Push) -> Desired:
        desired = after(self, push)
        return attrs.evolve(desired, peers={**self.peers, **desired.peers})

    async def nobody(_node: Node) -> bool:
        return False

    with mock.patch.object(Desired, "after", keeping), mock.patch.object(Node, "_drop_denied", nobody):
        yield


def forgets_whom_it_denies() -> AbstractContextManager[Any]:
    """A node puts a deny list in force, and does not write it down."""

    async def keep(self: Keeping, **changes: Any) -> None:
        self._kept = attrs.evolve(self._kept, **changes)

    return mock.patch.object(Keeping, "_keep", keep)


@contextmanager
def obeys_the_old() -> Iterator[None]:
    """A restored helm begins no new epoch, and nodes obey whatever comes."""
    with (
        mock.patch.object(restore, "set_epoch", nothing),
        mock.patch.object(Desired, "require_order", nothing),
    ):
        yield


def restores_the_old() -> AbstractContextManager[Any]:
    """A restored helm begins no new epoch."""
    return mock.patch.object(restore, "set_epoch", nothing)


@contextmanager
def tells_its_key() -> Iterator[None]:
    """A device that joins calls itself by its own private key."""
    made = enrolment.make_claim

    def make_claim(secrets: Any, **options: Any) -> Any:
        return made(secrets, **{**options, "device_name": secrets.derive.private_bytes().hex()})

    with mock.patch.object(enrolment, "make_claim", make_claim):
        yield


def comes_up_empty() -> AbstractContextManager[Any]:
    """A node that starts serves nobody until helm has told it whom."""
    loaded = DesiredState.load

    def load(self: DesiredState, *, mend: bool = False) -> Desired:
        desired = loaded(self, mend=mend)
        self.current = attrs.evolve(desired, peers={})
        return self.current

    return mock.patch.object(DesiredState, "load", load)


def chains_no_rows() -> AbstractContextManager[Any]:
    """Rows of the audit do not stand for those before them."""

    def hashed(_before: bytes, *rest: Any) -> bytes:
        return row_hash(bytes(32), *rest)

    return mock.patch.object(audit, "row_hash", hashed)


def refuses_everything() -> AbstractContextManager[Any]:
    """A node that has orders takes no others."""

    def require_order(self: Desired, fence: Any) -> None:
        if self.peers and fence != self.fence:
            raise RemoteProtocolError("this node has its orders")

    return mock.patch.object(Desired, "require_order", require_order)


WEAKENED: Final[dict[str, Weakness]] = {
    weakness.__name__.replace("_", "-"): weakness
    for weakness in (
        acknowledges_what_is_not_synced,
        syncs_no_file,
        serves_whom_it_served,
        forgets_whom_it_denies,
        obeys_the_old,
        restores_the_old,
        tells_its_key,
        comes_up_empty,
        chains_no_rows,
        refuses_everything,
    )
}
"""By name, in words that begin with what such a build does."""
