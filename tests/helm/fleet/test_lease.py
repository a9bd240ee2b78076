"""Each run of helm has a name, and knows that of the run before."""

from __future__ import annotations

from pathlib import Path

from pharos.helm.fleet.lease import HOLDER_SIZE, LEASE, Lease
from pharos.helm.telemetry.readings import READ_EVERY
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


def test_lease_outlasts_two_looks() -> None:
    assert LEASE > 2 * READ_EVERY
