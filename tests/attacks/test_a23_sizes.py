"""Row 23. Position: a beacon, or a reader of helm's store. Wants: to know how many nodes a device may use.

Countermeasure: a bundle is padded to buckets of 4 KiB, so that its length tells the bucket and nothing else.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.sync import sync
from pharos.helm.ca.authority import Authority
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.database import Database
from pharos.wire.seal import envelope
from pharos.wire.seal.envelope import BUCKET
from tests.support.evilbeacon import RelayFleet, fleet_behind
from tests.support.helm import adopt_sample_node, enrol_sample_device, fleet_in_memory, sample_act
from tests.support.strategies import quick
from tests.wire.seal.test_envelope import ALICE, BODY_AT, Owner, seal

NODES = 5
AROUND = BODY_AT + 16
"""Octets of a bundle that are not its padded content."""


@quick
@given(
    size=st.integers(0, 40_000),
    revision=st.integers(0, 2**63 - 1),
    device=st.from_regex(r"[a-z0-9]{1,63}", fullmatch=True),
)
def test_a23_length_tells_the_bucket_and_nothing_else(size: int, revision: int, device: str) -> None:
    length = len(seal(bytes(size), Owner(device, ALICE.key), revision=revision, epoch=revision))  # type: ignore[arg-type]
    assert (length - AROUND) % BUCKET == 0
    # Signature and length take 68 octets.
    assert (length - AROUND) // BUCKET == -(-(size + 68) // BUCKET)


def lengths_by_nodes(db: Database, authority: Authority) -> list[set[int]]:
    """Bring nodes into a fleet of two devices; return, for each number of them, the lengths of its bundles."""
    devices = [enrol_sample_device(db, 1, "a"), enrol_sample_device(db, 2, "the laptop with the long name")]
    lengths: list[set[int]] = []
    for number in range(NODES):
        adopt_sample_node(db, authority, f"node{'-one' * number}")
        lengths.append({len(current_bundle(db, authority, one, at=sample_act().at).sealed) for one in devices})
    return lengths


@pytest.mark.red_inside
def test_a23_devices_and_numbers_of_nodes_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    with fleet_in_memory() as (db, authority):
        assert lengths_by_nodes(db, authority) == [{AROUND + BUCKET}] * NODES
    # Red: without the buckets each node adds its own.
    monkeypatch.setattr(envelope, "BUCKET", 1)
    with fleet_in_memory() as (db, authority):
        lengths = [max(lengths) for lengths in lengths_by_nodes(db, authority)]
        steps = {two - one for one, two in itertools.pairwise(lengths)}
        assert min(steps) > 300, "a node can be counted"


async def largest_frame(fleet: RelayFleet, name: str) -> int:
    """Sync what has changed, and return how large the frame is in which the beacon saw it go by."""
    await sync(fleet.device(name))
    return max(map(len, fleet.evil.seen[-1].down))


@pytest.mark.red_inside
async def test_a23_beacon_sees_no_node_more_or_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet_behind(tmp_path) as fleet:
        for name in ("alice", "bob"):
            await fleet.enrol(name)
        seen = set()
        for number in range(3):
            await fleet.add_node(f"node-{number}")
            seen |= {await largest_frame(fleet, name) for name in ("alice", "bob")}
        assert len(seen) == 1
        # Red.
        monkeypatch.setattr(envelope, "BUCKET", 1)
        await fleet.add_node("node-3")
        assert await largest_frame(fleet, "alice") not in seen
