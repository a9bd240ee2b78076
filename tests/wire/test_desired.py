"""What a node shall be: pushes are taken in order, whole or not at all."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.desired import MAX_ADDRESSES, Desired, Fence, Peer, Policy, Push, check_distinct
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId
from tests.support.strategies import fences, labels, parameters_of, peer_lists, peer_of, peers, pushes, quick

FENCE = Fence(5, 2, 7)
# The standard library takes any text at all as the zone of an address.
ZONED = "fe80::1%\nx"


def snapshot(*numbers: int, fence: Fence = FENCE) -> Push:
    return Push(fence=fence, snapshot=True, upsert=tuple(peer_of(number) for number in numbers))


def numbers(desired: Desired) -> set[str]:
    return {device_id.removeprefix("device-") for device_id in desired.peers}


@quick
@given(fences, fences)
def test_fences_are_ordered_as_tuples(one: Fence, other: Fence) -> None:
    assert (one < other) is ((one.epoch, one.term, one.revision) < (other.epoch, other.term, other.revision))


def test_fence_reads_as_its_three_numbers() -> None:
    assert str(FENCE) == "5.2.7"


@quick
@given(st.builds(Push, fence=fences, snapshot=st.just(value=True)), pushes)
def test_lower_fence_is_refused_and_nothing_changes(first: Push, second: Push) -> None:
    held = Desired().after(first)
    before = attrs.astuple(held)
    if second.fence < held.fence:
        with pytest.raises(RemoteProtocolError, match="older"):
            held.after(second)
    elif second.snapshot or held.fence != Fence():
        assert held.after(second).fence == second.fence
    assert attrs.astuple(held) == before


@pytest.mark.parametrize("fence", [Fence(4, 9, 9), Fence(5, 1, 9), Fence(5, 2, 6)])
def test_each_part_of_the_fence_counts(fence: Fence) -> None:
    held = Desired().after(snapshot(1))
    with pytest.raises(RemoteProtocolError, match="older"):
        held.after(snapshot(fence=fence))


def test_equal_fence_is_taken_for_a_plan_may_come_in_parts() -> None:
    held = Desired().after(snapshot(1))
    assert numbers(held.after(Push(fence=FENCE, snapshot=False, upsert=(peer_of(2),)))) == {"1", "2"}


def test_delta_before_any_snapshot_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="takes a snapshot first"):
        Desired().after(Push(fence=FENCE, snapshot=False))


def test_snapshot_replaces_every_peer() -> None:
    held = Desired().after(snapshot(1, 2, 3))
    assert numbers(held.after(snapshot(3, 4))) == {"3", "4"}


def test_delta_removes_adds_and_replaces() -> None:
    held = Desired().after(snapshot(1, 2, 3))
    delta = Push(
        fence=Fence(5, 2, 8),
        snapshot=False,
        remove=(DeviceId("device-1"), DeviceId("never-seen")),
        upsert=(peer_of(2, key=1), peer_of(4)),
    )
    after = held.after(delta)
    assert numbers(after) == {"2", "3", "4"}
    assert after.peers[DeviceId("device-2")] == peer_of(2, key=1)


def test_address_passes_from_a_removed_device_to_a_new_one_in_one_push() -> None:
    heir = attrs.evolve(peer_of(2), addresses=peer_of(1).addresses)
    delta = Push(fence=FENCE, snapshot=False, remove=(DeviceId("device-1"),), upsert=(heir,))
    assert numbers(Desired().after(snapshot(1)).after(delta)) == {"2"}


def test_parameters_and_addresses_stay_until_a_push_names_new_ones() -> None:
    first = Push(fence=FENCE, snapshot=True, awg=parameters_of(1), addresses=("10.86.0.1",))
    held = Desired().after(first).after(Push(fence=FENCE, snapshot=True))
    assert (held.awg, held.addresses) == (parameters_of(1), ("10.86.0.1",))
    held = held.after(Push(fence=FENCE, snapshot=False, awg=parameters_of(2), addresses=("10.86.0.9",)))
    assert (held.awg, held.addresses) == (parameters_of(2), ("10.86.0.9",))


@pytest.mark.parametrize(
    ("thief", "what"),
    [
        (attrs.evolve(peer_of(2), awg_key=peer_of(1).awg_key), "AmneziaWG key"),
        (attrs.evolve(peer_of(2), addresses=peer_of(1).addresses[:1]), "10.86.0.3/32"),
        (attrs.evolve(peer_of(2), addresses=(peer_of(2).addresses[0], peer_of(1).addresses[1])), "fd00::3/128"),
    ],
)
def test_two_devices_with_the_same_key_or_address_are_refused_by_name(thief: Peer, what: str) -> None:
    held = Desired().after(snapshot(1))
    with pytest.raises(RemoteProtocolError, match=f"device-1 and device-2 have the same {what}"):
        held.after(Push(fence=FENCE, snapshot=False, upsert=(thief,)))
    with pytest.raises(RemoteProtocolError):
        Desired().after(Push(fence=FENCE, snapshot=True, upsert=(peer_of(1), thief)))


@quick
@given(peer_lists)
def test_distinct_devices_pass(some: list[Peer]) -> None:
    check_distinct(some)


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": "Not-An-Id"},
        {"device_id": "a\nb"},
        {"awg_key": bytes(31)},
        {"derive_key": bytes(33)},
        {"addresses": ()},
        {"addresses": tuple(f"10.0.0.{n}/32" for n in range(MAX_ADDRESSES + 1))},
        {"addresses": ("10.0.0.1/24",)},
        {"addresses": ("10.0.0.1/32\n",)},
        {"addresses": ("fd00::1/129",)},
        {"addresses": ("everything",)},
        # One network has one spelling, or two devices could have the same one.
        {"addresses": ("10.0.0.1",)},
        {"addresses": ("FD00::1/128",)},
        {"addresses": ("fd00:0::1/128",)},
        {"addresses": ("10.0.0.1/255.255.255.255",)},
        {"addresses": (167772161,)},
        {"addresses": ("fe80::1%eth0/128",)},
        {"addresses": ("fe80::1%\nx/128",)},
        {"generation": 0},
        {"generation": 2**32},
    ],
)
def test_peer_that_breaks_a_rule_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        attrs.evolve(peer_of(1), **change)


@pytest.mark.parametrize("addresses", [("10.0.0.1/32",), ("host",), ("10.0.0.1",) * (MAX_ADDRESSES + 1), (ZONED,)])
def test_push_with_bad_node_addresses_cannot_be_made(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        Push(fence=FENCE, snapshot=True, addresses=addresses)


@pytest.mark.parametrize(
    "change",
    [
        {"resolvers": (ZONED,)},
        {"resolvers": ("fe80::1%eth0",)},
        {"resolvers": (167772161,)},
        {"resolvers": ("resolver.example",)},
        {"closed": ("fe80::1%\nx/128",)},
        {"closed": ("10.0.0.0/8\n",)},
        {"closed": ("10.0.0.1/8",)},
    ],
)
def test_policy_with_an_address_that_means_nothing_elsewhere_cannot_be_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Policy(**change)


POLICY = Policy(peer_to_peer=True, internet=False, closed=("10.0.0.0/8",), resolvers=("9.9.9.9", "fd00::1"))


def test_policy_survives_a_state_file() -> None:
    assert Policy.from_json(json.loads(json.dumps(POLICY.as_json()))) == POLICY


@pytest.mark.parametrize(
    "change",
    [
        {"peer_to_peer": "no"},
        {"internet": 1},
        {"internet": None},
        {"closed": "10.0.0.0/8"},
        {"closed": {"10.0.0.0/8": True}},
        {"resolvers": "9.9.9.9"},
        {"resolvers": [9]},
        {"resolvers": [ZONED]},
    ],
)
def test_policy_of_a_state_file_is_taken_as_it_is_written_or_not_at_all(change: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Policy.from_json(POLICY.as_json() | change)


def test_peer_whose_addresses_are_one_text_is_none() -> None:
    with pytest.raises(TypeError, match="no list of texts"):
        Peer.from_json(peer_of(1).as_json() | {"addresses": "10.0.0.1/32"})


@quick
@given(peers)
def test_peer_survives_a_state_file(peer: Peer) -> None:
    assert Peer.from_json(json.loads(json.dumps(peer.as_json()))) == peer


@quick
@given(st.dictionaries(st.sampled_from(sorted(peer_of(1).as_json())), st.none() | st.integers() | labels))
def test_damaged_peer_of_a_state_file_is_refused(change: dict[str, object]) -> None:
    body = peer_of(1).as_json() | change
    with contextlib.suppress(KeyError, TypeError, ValueError):
        assert Peer.from_json(body).as_json() == body
