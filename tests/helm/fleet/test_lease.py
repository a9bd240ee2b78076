"""Each run of helm has a name, and knows that of the run before."""

from __future__ import annotations

from pathlib import Path

from pharos.helm.fleet.lease import LEASE, Lease
from pharos.helm.telemetry.readings import READ_EVERY
from pharos.wire.leases import HOLDER_SIZE, MAX_EARLIER, lease_from
from tests.support.helm import open_helm


async def test_each_start_begins_a_term_by_a_name_of_its_own(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        first = await helm.store.run(Lease.take)
        second = await helm.store.run(Lease.take)
    assert second.term == first.term + 1
    assert (first.previous, second.previous) == (b"", first.holder)
    assert len({first.holder, second.holder}) == 2
    message = second.message()
    assert (len(message.holder), message.previous, message.seconds) == (HOLDER_SIZE, first.holder, LEASE)
    assert first.holder.hex() not in repr(second)


async def test_start_names_the_holders_of_the_starts_before_it_and_not_for_ever(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        starts = [await helm.store.run(Lease.take) for _ in range(MAX_EARLIER + 5)]
    newest = [start.holder for start in reversed(starts)]
    assert (starts[3].previous, starts[3].earlier) == (starts[2].holder, (starts[1].holder, starts[0].holder))
    assert (starts[-1].previous, starts[-1].earlier) == (newest[1], tuple(newest[2 : 2 + MAX_EARLIER]))
    assert lease_from(starts[-1].message()).earlier == starts[-1].earlier


def test_lease_outlasts_two_looks() -> None:
    assert LEASE > 2 * READ_EVERY
