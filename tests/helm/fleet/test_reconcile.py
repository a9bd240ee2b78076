"""The plan makes a node exactly what the record says, and then it is silent."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.fleet import reconcile as module
from pharos.helm.fleet.reconcile import (
    PEERS_PER_PUSH,
    AddPeer,
    DesiredNode,
    DesiredTrust,
    ObservedNode,
    RemovePeer,
    SetAddresses,
    SetDenyList,
    SetManifest,
    SetParameters,
    SetPolicy,
    SetPrevious,
    SetReality,
    for_earlier,
    observed_after,
    plan,
    reconcile,
)
from pharos.wire.convert import push_to
from pharos.wire.desired import Desired, Fence, Peer, PeerSet, Policy, PreviousEndpoint, Push, QuotaLease
from pharos.wire.ids import DeviceId
from pharos.wire.rpc.limits import MAX_MESSAGE
from tests.support.strategies import parameters, parameters_of, peer_of, quick, reality_of

EPOCH, TERM = 5, 2
INSIDE = ("10.86.0.1", "fd00::1")


def peer_map(*peers: Peer) -> dict[DeviceId, Peer]:
    return {peer.device_id: peer for peer in peers}


def wanted(*numbers: int, revision: int = 7) -> DesiredNode:
    return DesiredNode(
        revision=revision,
        awg=parameters_of(1),
        addresses=INSIDE,
        peers=peer_map(*[peer_of(number) for number in numbers]),
    )


# Few numbers, so that what is desired and what is observed overlap.
populations = st.dictionaries(st.integers(0, 8), st.integers(0, 2), max_size=7).map(
    lambda keys: peer_map(*[peer_of(number, key=key) for number, key in keys.items()])
)
insides = st.sampled_from([(), INSIDE, ("10.86.0.1",)])
policies = st.builds(Policy, peer_to_peer=st.booleans(), internet=st.booleans())
previouses = st.sampled_from(
    [
        (),
        (PreviousEndpoint(port=443, awg=parameters_of(2), until=9),),
        (PreviousEndpoint(port=443, awg=parameters_of(2), reality=reality_of(2), until=9),),
        (PreviousEndpoint(port=443, reality=reality_of(2), until=9),),
    ]
)
realities = st.none() | st.integers(1, 3).map(reality_of)
desired_nodes = st.builds(
    DesiredNode,
    revision=st.integers(1, 9),
    awg=parameters,
    reality=realities,
    addresses=st.sampled_from([INSIDE, ("10.86.0.1",)]),
    peers=populations,
    policy=policies,
    previous=previouses,
)
# A node as an earlier helm left it; the fence is never above what this helm will say.
held_nodes = st.one_of(
    st.just(Desired()),
    st.builds(
        Desired,
        fence=st.builds(Fence, st.just(EPOCH), st.integers(0, TERM - 1), st.integers(1, 20)),
        awg=st.none() | parameters,
        reality=realities,
        addresses=insides,
        peers=populations,
        policy=policies,
        previous=previouses,
    ),
)


def report_of(held: Desired) -> ObservedNode:
    """What helm learns by asking the node."""
    return ObservedNode(
        applied=held.fence,
        awg=held.awg,
        knows_reality=True,
        reality=held.reality,
        addresses=held.addresses,
        peers={device_id: peer.digest for device_id, peer in held.peers.items()},
        policy=held.policy,
        previous=held.previous,
    )


def carried_out(held: Desired, pushes: list[Push]) -> Desired:
    for push in pushes:
        held = held.after(push)
    return held


@pytest.mark.parametrize("per_push", [PEERS_PER_PUSH, 2])
@quick
@given(desired=desired_nodes, held=held_nodes)
def test_carrying_out_the_plan_makes_the_node_exactly_what_is_desired(
    per_push: int, desired: DesiredNode, held: Desired
) -> None:
    """Invariant I7: after healing and quiet, desired = actual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PEERS_PER_PUSH", per_push)
        observed = report_of(held)
        after = carried_out(held, plan(desired, observed, epoch=EPOCH, term=TERM))
        assert dict(after.peers) == dict(desired.peers)
        assert (after.awg, after.addresses) == (desired.awg, desired.addresses)
        assert (after.policy, after.previous) == (desired.policy, desired.previous)
        assert after.reality == (desired.reality or held.reality)
        assert after.fence == Fence(EPOCH, TERM, desired.revision)
        # And then there is nothing more to say, whether helm remembers or asks again.
        for seen in (report_of(after), observed_after(observed, desired, after.fence)):
            assert reconcile(desired, seen) == []
            assert plan(desired, seen, epoch=EPOCH, term=TERM) == []


@quick
@given(desired_nodes, held_nodes)
def test_every_removal_precedes_every_addition(desired: DesiredNode, held: Desired) -> None:
    order = [type(change) for change in reconcile(desired, report_of(held))]
    rank = [SetParameters, SetReality, SetPrevious, SetAddresses, SetPolicy, RemovePeer, AddPeer]
    assert order == sorted(order, key=rank.index)


@quick
@given(desired_nodes)
def test_a_plan_carried_out_twice_changes_nothing_more(desired: DesiredNode) -> None:
    pushes = plan(desired, report_of(Desired()), epoch=EPOCH, term=TERM)
    once = carried_out(Desired(), pushes)
    # A lost reply: helm says it all again. Only the snapshot flag makes it the same twice over.
    assert carried_out(once, pushes) == once


def test_fresh_node_gets_one_snapshot() -> None:
    (push,) = plan(wanted(1, 2), report_of(Desired()), epoch=EPOCH, term=TERM)
    assert push.snapshot
    assert [peer.device_id for peer in push.upsert] == ["device-1", "device-2"]
    assert (push.awg, push.addresses) == (parameters_of(1), INSIDE)


def test_fresh_node_of_an_empty_fleet_is_still_told() -> None:
    (push,) = plan(wanted(), report_of(Desired()), epoch=EPOCH, term=TERM)
    assert (push.snapshot, push.upsert, push.awg) == (True, (), parameters_of(1))


def test_one_new_device_costs_one_peer() -> None:
    held = carried_out(Desired(), plan(wanted(1, 2), report_of(Desired()), epoch=EPOCH, term=TERM))
    (push,) = plan(wanted(1, 2, 3, revision=8), report_of(held), epoch=EPOCH, term=TERM)
    assert not push.snapshot
    assert push.upsert == (peer_of(3),)
    assert (push.remove, push.awg, push.addresses) == ((), None, ())


def test_revoked_device_is_named_alone() -> None:
    held = carried_out(Desired(), plan(wanted(1, 2), report_of(Desired()), epoch=EPOCH, term=TERM))
    (push,) = plan(wanted(2, revision=8), report_of(held), epoch=EPOCH, term=TERM)
    assert (push.remove, push.upsert) == (("device-1",), ())


def test_unchanged_node_hears_of_a_newer_fence() -> None:
    """So that it refuses whatever an older helm may still say."""
    held = carried_out(Desired(), plan(wanted(1), report_of(Desired()), epoch=EPOCH, term=TERM))
    (push,) = plan(wanted(1), report_of(held), epoch=EPOCH, term=TERM + 1)
    assert push == Push(fence=Fence(EPOCH, TERM + 1, 7), snapshot=False)


def test_changed_detail_that_helm_remembers_is_pushed() -> None:
    held = carried_out(Desired(), plan(wanted(1), report_of(Desired()), epoch=EPOCH, term=TERM))
    newer = attrs.evolve(wanted(1, revision=8), peers=peer_map(peer_of(1, generation=2)))
    (push,) = plan(newer, report_of(held), epoch=EPOCH, term=TERM)
    assert push.upsert == (peer_of(1, generation=2),)


def test_thousands_of_peers_go_in_messages_that_fit() -> None:
    count = 2 * PEERS_PER_PUSH + 1
    desired = wanted(*range(count))
    held = carried_out(Desired(), plan(wanted(90_000, 90_001), report_of(Desired()), epoch=EPOCH, term=1))
    pushes = plan(desired, report_of(held), epoch=EPOCH, term=TERM)
    assert [len(push.upsert) for push in pushes] == [PEERS_PER_PUSH, PEERS_PER_PUSH, 1]
    assert [push.remove for push in pushes] == [("device-90000", "device-90001"), (), ()]
    assert max(push_to(push).ByteSize() for push in pushes) < MAX_MESSAGE
    assert len(carried_out(held, pushes).peers) == count


def test_snapshot_of_thousands_is_one_snapshot_and_then_deltas() -> None:
    pushes = plan(wanted(*range(PEERS_PER_PUSH + 1)), report_of(Desired()), epoch=EPOCH, term=TERM)
    assert [push.snapshot for push in pushes] == [True, False]
    # Cut off between the two, the node asks for no more than what it lacks.
    half = carried_out(Desired(), pushes[:1])
    (rest,) = plan(wanted(*range(PEERS_PER_PUSH + 1)), report_of(half), epoch=EPOCH, term=TERM)
    assert (len(rest.upsert), rest.snapshot) == (1, False)


def test_largest_ids_and_keys_still_fit_a_message() -> None:
    widest = attrs.evolve(peer_of(1), device_id=DeviceId("d" * 36), generation=2**32 - 1)
    push = Push(fence=Fence(2**63, 2**31, 2**63), snapshot=True, upsert=(widest,) * PEERS_PER_PUSH)
    assert push_to(push).ByteSize() < MAX_MESSAGE


TRUST = DesiredTrust(manifest_version=2, manifest=b"manifest", deny_order=(EPOCH, 3), deny_list=b"denied")


def test_trust_goes_first_and_only_to_who_has_an_older_one() -> None:
    held = carried_out(Desired(), plan(wanted(1), report_of(Desired()), epoch=EPOCH, term=TERM))
    desired, seen = wanted(2, revision=8), report_of(held)
    kinds = [type(change) for change in reconcile(desired, seen, TRUST)]
    assert kinds == [SetManifest, SetDenyList, RemovePeer, AddPeer]
    (push,) = plan(desired, seen, TRUST, epoch=EPOCH, term=TERM)
    assert (push.manifest, push.deny_list) == (b"manifest", b"denied")
    after = observed_after(seen, desired, push.fence, TRUST)
    assert reconcile(desired, after, TRUST) == []
    newer = attrs.evolve(after, manifest_version=3, deny_order=(EPOCH + 1, 0))
    assert reconcile(desired, newer, TRUST) == [], "nobody is told to believe an older one"


def test_long_deny_list_travels_alone_before_the_peers() -> None:
    long = attrs.evolve(TRUST, deny_list=b"x" * 960 * 1024)
    first, second = plan(wanted(*range(2000)), report_of(Desired()), long, epoch=EPOCH, term=TERM)
    assert (len(first.upsert), len(second.upsert)) == (0, 2000)
    assert first.deny_list
    assert max(push_to(push).ByteSize() for push in (first, second)) < MAX_MESSAGE


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": 9},
        {"quota": QuotaLease(id=1, octets=5)},
        {"quota": QuotaLease(id=1, octets=5, throttle=8)},
        {"rate_limit": 8},
        {"protocols": ("amneziawg",)},
    ],
    ids=["expires_at", "quota", "throttle", "rate_limit", "protocols"],
)
def test_whatever_differs_in_a_peer_is_pushed(change: dict[str, object]) -> None:
    held = carried_out(Desired(), plan(wanted(1, 2), report_of(Desired()), epoch=EPOCH, term=TERM))
    changed = attrs.evolve(peer_of(1), **change)  # type: ignore[arg-type]
    desired = attrs.evolve(wanted(2, revision=8), peers=peer_map(changed, peer_of(2)))
    (push,) = plan(desired, report_of(held), epoch=EPOCH, term=TERM)
    assert push.upsert == (changed,)


def test_revision_that_changes_nothing_at_a_node_is_not_told() -> None:
    held = carried_out(Desired(), plan(wanted(1), report_of(Desired()), epoch=EPOCH, term=TERM))
    assert plan(wanted(1, revision=8), report_of(held), epoch=EPOCH, term=TERM) == []


def test_node_that_knows_no_reality_is_told_nothing_of_it() -> None:
    """It would be told for ever, for it reports none; and serve an endpoint of REALITY alone as WireGuard."""
    both = PreviousEndpoint(port=8443, awg=parameters_of(2), reality=reality_of(2), until=9)
    alone = PreviousEndpoint(port=4500, reality=reality_of(2), until=9)
    desired = attrs.evolve(wanted(1), reality=reality_of(1), previous=(both, alone))
    old = attrs.evolve(report_of(Desired()), knows_reality=False)
    (push,) = plan(desired, old, epoch=EPOCH, term=TERM)
    assert (push.reality, push.previous) == (None, (attrs.evolve(both, reality=None),))
    held = Desired().after(push)
    for seen in (attrs.evolve(report_of(held), knows_reality=False), observed_after(old, desired, push.fence)):
        assert plan(desired, seen, epoch=EPOCH, term=TERM) == []
    # It is updated, and says so.
    (rest,) = plan(desired, report_of(held), epoch=EPOCH, term=TERM)
    assert (rest.reality, rest.previous, rest.awg) == (reality_of(1), (both, alone), None)


def test_node_that_can_only_cut_is_told_no_quota_of_whom_it_shall_slow_down() -> None:
    slow = attrs.evolve(peer_of(1), quota=QuotaLease(id=1, octets=5, throttle=8))
    cut = attrs.evolve(peer_of(2), quota=QuotaLease(id=1, octets=5))
    desired = attrs.evolve(wanted(), peers=PeerSet(peer_map(slow, cut, peer_of(3))))
    told = for_earlier(desired)
    assert told.peers == peer_map(peer_of(1), cut, peer_of(3))
    assert for_earlier(desired).peers is told.peers, "it is one set for all nodes"
    held = carried_out(Desired(), plan(told, report_of(Desired()), epoch=EPOCH, term=TERM))
    assert plan(for_earlier(desired), report_of(held), epoch=EPOCH, term=TERM) == []
    # It is updated, and says so.
    (push,) = plan(desired, report_of(held), epoch=EPOCH, term=TERM)
    assert push.upsert == (slow,)
    plain = wanted(1, 2)
    assert for_earlier(plain) is plain


def test_reality_that_drifted_is_pushed_alone() -> None:
    desired = attrs.evolve(wanted(1), reality=reality_of(1))
    held = carried_out(Desired(), plan(desired, report_of(Desired()), epoch=EPOCH, term=TERM))
    assert held.reality == reality_of(1)
    drifted = attrs.evolve(held, reality=reality_of(2))
    (push,) = plan(desired, report_of(drifted), epoch=EPOCH, term=TERM)
    assert push == Push(fence=Fence(EPOCH, TERM, 7), snapshot=False, reality=reality_of(1))
