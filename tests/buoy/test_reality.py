"""A buoy derives its REALITY keys, says the public halves with its word for them, and keeps the others nowhere."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys
from pharos.wire.convert import report_from, report_to
from pharos.wire.desired import Fence, PreviousEndpoint, Push
from pharos.wire.ids import NodeId
from pharos.wire.pki.roles import Role
from pharos.wire.reports import RealityReport
from pharos.wire.seal.realitykey import derive_reality_key, verify_reality_key
from tests.support.agents import joined
from tests.support.buoy import FakePlane, make_buoy
from tests.support.pki import utc_now
from tests.support.strategies import parameters_of, reality_of

FIRST = Push(fence=Fence(1, 1, 1), snapshot=True, awg=parameters_of(1), reality=reality_of(1))
REISSUED = Push(
    fence=Fence(1, 1, 2),
    snapshot=False,
    reality=reality_of(2, after=1),
    previous=(PreviousEndpoint(port=8443, reality=reality_of(1), until=2**60),),
)


async def test_keys_are_of_what_is_served_and_proven(tmp_path: Path) -> None:
    keys = joined(tmp_path)
    membership = keys.membership(now=utc_now())
    buoy = make_buoy(tmp_path, keys=keys, membership=membership, plane=FakePlane(reality_port=443))
    assert (await buoy.node.report()).reality == RealityReport(port=443)
    await buoy.node.push(FIRST)
    first = (await buoy.node.report()).reality
    assert first is not None
    assert (first.parameters, [key.generation for key in first.keys]) == (reality_of(1), [1])
    await buoy.node.push(REISSUED)
    second = (await buoy.node.report()).reality
    assert second is not None
    assert [key.generation for key in second.keys] == [2, 1]
    assert second.keys[1] == first.keys[0]
    fleet, node = membership.trust.fleet, NodeId(membership.identity.id)
    for key in second.keys:
        own = derive_reality_key(keys.derive_key, fleet=fleet, node=node, generation=key.generation)
        assert key.public_key == own.public
        verify_reality_key(
            key.public_key,
            key.proof,
            derive_key=keys.derive_key.public,
            fleet=fleet,
            node=node,
            generation=key.generation,
        )
    report = await buoy.node.report()
    assert report_from(report_to(report)) == report
    await buoy.node.push(Push(fence=Fence(1, 1, 3), snapshot=False, previous=()))
    last = (await buoy.node.report()).reality
    assert last is not None
    assert [key.generation for key in last.keys] == [2]


async def test_buoy_that_starts_again_has_the_same_keys(tmp_path: Path) -> None:
    keys = joined(tmp_path)
    membership = keys.membership(now=utc_now())
    buoy = make_buoy(tmp_path, keys=keys, membership=membership)
    await buoy.node.push(FIRST)
    await buoy.node.push(REISSUED)
    again = make_buoy(tmp_path, keys=AgentKeys(tmp_path, Role.NODE), membership=membership)
    assert again.node.desired.reality == reality_of(2, after=1)
    assert again.node.desired.previous == REISSUED.previous
    before, after = (await buoy.node.report()).reality, (await again.node.report()).reality
    assert before is not None
    assert after is not None
    assert [key.public_key for key in before.keys] == [key.public_key for key in after.keys]


def contents_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_private_halves_are_in_no_file_message_or_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = joined(tmp_path)
    membership = keys.membership(now=utc_now())
    buoy = make_buoy(tmp_path, keys=keys, membership=membership)
    for push in (FIRST, REISSUED):
        await buoy.node.push(push)
    said = report_to(await buoy.node.report()).SerializeToString()
    files = contents_of(tmp_path)
    shown = f"{caplog.text} {buoy.node.reality_keys!r} {await buoy.node.report()!r}".encode()
    fleet, node = membership.trust.fleet, NodeId(membership.identity.id)
    for generation in (1, 2):
        pair = derive_reality_key(keys.derive_key, fleet=fleet, node=node, generation=generation)
        private = pair.private_bytes()
        for spelling in (private, private.hex().encode(), base64.b64encode(private)):
            assert spelling not in said + files + shown
        assert pair.public in said


def test_state_of_an_earlier_version_has_no_reality(tmp_path: Path) -> None:
    assert DesiredState(tmp_path).load().reality is None
