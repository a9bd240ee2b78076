"""A node says what is new since the last time, and enough of the rest to be found out if it drifts."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.report import Teller
from pharos.wire.convert import NodeReport, PeerReport, report_from, report_to
from pharos.wire.desired import Fence, PeerSet, peers_digest
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.reports import RealityKey, RealityReport
from tests.support.strategies import peer_of, quick, reality_of

NOW = 1_800_000_000_000_000


def peer(number: int, *, received: int = 0, handshake: int = 0) -> PeerReport:
    return PeerReport(
        device_id=DeviceId(f"device-{number}"),
        awg_key=bytes(32),
        last_handshake=handshake,
        received=received,
        sent=0,
        commitment=b"",
        generation=1,
        digest=peer_of(number).digest,
    )


def report(*peers: PeerReport) -> NodeReport:
    return NodeReport(
        node_id=NodeId("node"),
        version="1",
        applied=Fence(1, 1, 1),
        started_at=1,
        awg_key=bytes(32),
        derive_key=bytes(32),
        awg_port=443,
        awg=None,
        addresses=(),
        peers=peers,
        now=NOW,
    )


def test_peers_of_which_there_is_nothing_new_are_left_out() -> None:
    teller = Teller()
    first = teller.tell(report(peer(1), peer(2, handshake=NOW - 1)), since=b"")
    assert first.summary is None
    assert len(first.peers) == 2
    second = teller.tell(report(peer(1, received=7), peer(2, handshake=NOW - 1)), since=first.token)
    assert second.peers == (peer(1, received=7),)
    assert second.summary is not None
    assert (second.summary.count, second.summary.sessions) == (2, 1)
    assert second.summary.digest == PeerSet({p.device_id: p for p in (peer_of(1), peer_of(2))}).digest
    assert report_from(report_to(second)) == second


def test_whoever_has_another_report_than_the_last_gets_all() -> None:
    teller = Teller()
    first = teller.tell(report(peer(1)), since=b"")
    second = teller.tell(report(peer(1)), since=first.token)
    assert second.peers == ()
    for since in (b"", first.token, b"nonsense"):
        assert teller.tell(report(peer(1)), since=since).summary is None


counters = st.dictionaries(st.integers(0, 5), st.integers(0, 2), max_size=5)


@quick
@given(reports=st.lists(counters, min_size=1, max_size=6), heard=st.lists(st.booleans(), min_size=6, max_size=6))
def test_what_was_told_together_is_what_there_is(reports: list[dict[int, int]], heard: list[bool]) -> None:
    """Whatever answers get lost: whoever puts together what he was told has it all, but for those who are gone."""
    teller, since, known = Teller(), b"", dict[DeviceId, PeerReport]()
    for said, arrived in zip(reports, heard, strict=False):
        whole = report(*(peer(number, received=value) for number, value in said.items()))
        answer = teller.tell(whole, since=since)
        if not arrived:
            continue
        since = answer.token
        known = (known if answer.summary else {}) | {one.device_id: one for one in answer.peers}
        assert {one.device_id: one for one in whole.peers}.items() <= known.items()
        if answer.summary is not None:
            assert answer.summary.digest == peers_digest((one.device_id, one.digest) for one in whole.peers)
            assert attrs.evolve(answer, peers=(), summary=None, token=b"") == attrs.evolve(whole, peers=())


def test_digest_of_two_sets_is_equal_only_if_they_are() -> None:
    one, two = peer_of(1), peer_of(2)
    digests = [(DeviceId("a"), b"12"), (DeviceId("a\n2\n1"), b"2"), (DeviceId("b"), one.digest)]
    assert len({peers_digest([pair]) for pair in digests}) == 3
    both = {one.device_id: one, two.device_id: two}
    assert PeerSet(both).digest == PeerSet(reversed(both.items())).digest != PeerSet({one.device_id: one}).digest


def test_reality_keys_are_told_once_and_again_when_they_change() -> None:
    def said(*generations: int, port: int = 0) -> NodeReport:
        keys = tuple(RealityKey(generation=one, public_key=bytes(32), proof=bytes(64)) for one in generations)
        return attrs.evolve(report(), reality=RealityReport(parameters=reality_of(1), keys=keys, port=port))

    teller = Teller()
    first = teller.tell(said(1), since=b"")
    assert first.reality == said(1).reality
    second = teller.tell(said(1, port=443), since=first.token)
    assert second.reality == RealityReport(parameters=reality_of(1), port=443), "what may drift is told each time"
    third = teller.tell(said(2, 1), since=second.token)
    assert third.reality == said(2, 1).reality
    assert teller.tell(said(2, 1), since=b"lost").reality == said(2, 1).reality
    for answer in (first, second, third):
        assert report_from(report_to(answer)) == answer
