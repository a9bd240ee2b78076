"""What a device makes of the nodes it is told of: known, new, changed, unsigned."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.client import choose_node
from pharos.caravel.errors import NodeRefusedError, NoSuchNodeError
from pharos.caravel.profiles import pins as module
from pharos.caravel.profiles.denied import Denied
from pharos.caravel.profiles.pins import ALWAYS, WAIT, Pins, Standing, keys_of
from pharos.caravel.profiles.store import ProfileStore
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.denylist import DenyEntry, DenyList, tunnel_key_hash
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.profile import AmneziaWgAccess, Profile, ProfileNode
from pharos.wire.seal.lock import LockKey
from pharos.wire.seal.successor import NodeKeys, prove_successor
from tests.support.pki import utc_now
from tests.support.strategies import parameters_of, quick

FLEET = FleetId("0123456789abcdef")
NOW = 1_800_000_000_000_000
DERIVE = {name: KeyPair.generate() for name in "abc"}
LOCK = LockKey.create()


def node(
    name: str, *, awg: bytes = b"\x01" * 32, derive: bytes | None = None, lock: LockKey | None = None
) -> ProfileNode:
    made = ProfileNode(
        id=NodeId(name),
        name=name,
        tags=(),
        derive_key=derive or DERIVE[name].public,
        generation=1,
        addresses=("10.86.0.1",),
        access=(AmneziaWgAccess(host="h", port=1, public_key=awg, parameters=parameters_of(1)),),
    )
    if lock is None:
        return made
    signature = lock.sign_node(FLEET, made.id, awg_key=awg, derive_key=made.derive_key)
    return attrs.evolve(made, lock_signature=signature)


def profile(*nodes: ProfileNode, lock: LockKey | None = None) -> Profile:
    return Profile(
        fleet=FLEET,
        device_id=DeviceId("d"),
        addresses=(),
        nodes=nodes,
        relays=(),
        lock_key=b"" if lock is None else lock.public,
    )


def standings(pins: Pins, told: Profile, now: int = NOW) -> dict[str, Standing]:
    return {entry.id: pins.standing(FLEET, entry, now=now) for entry in told.nodes}


FIRST = Pins().after(profile(node("a")), now=NOW, first=True)


def test_nodes_of_the_first_profile_are_known() -> None:
    assert standings(FIRST, profile(node("a"))) == {"a": Standing.KNOWN}


def test_node_that_appears_later_is_new_for_a_day() -> None:
    told = profile(node("a"), node("b"))
    pins = FIRST.after(told, now=NOW, first=False)
    assert standings(pins, told) == {"a": Standing.KNOWN, "b": Standing.NEW}
    # Told again, it does not begin to wait again; nor does it wait less for being named.
    pins = pins.after(told, now=NOW + WAIT // 2, first=False)
    assert standings(pins, told, NOW + WAIT - 1)["b"] is Standing.NEW
    assert standings(pins, told, NOW + WAIT)["b"] is Standing.KNOWN


def test_node_that_left_and_comes_back_with_other_keys_is_changed() -> None:
    pins = FIRST.after(profile(), now=NOW, first=False)
    told = profile(node("a", awg=b"\x02" * 32))
    pins = pins.after(told, now=NOW + 9 * WAIT, first=False)
    assert standings(pins, told, NOW + 99 * WAIT) == {"a": Standing.CHANGED}


@pytest.mark.parametrize("change", [{"awg": b"\x02" * 32}, {"derive": KeyPair.generate().public}])
def test_known_node_with_another_key_is_refused_until_the_user_confirms_it(change: dict[str, bytes]) -> None:
    told = profile(node("a", **change))
    pins = FIRST.after(told, now=NOW, first=False)
    assert standings(pins, told, NOW + 99 * WAIT) == {"a": Standing.CHANGED}
    assert standings(pins.confirmed(told.nodes[0]), told) == {"a": Standing.KNOWN}


def test_new_keys_that_the_old_ones_signed_are_taken() -> None:
    before, after = keys_of(node("a")), NodeKeys(awg=b"\x02" * 32, derive=KeyPair.generate().public)
    assert before is not None
    proof = prove_successor(
        DERIVE["a"], fleet=FLEET, node=NodeId("a"), before=before, after=after, random=os.urandom(64)
    )
    told = profile(attrs.evolve(node("a", awg=after.awg, derive=after.derive), key_proof=proof))
    assert standings(FIRST.after(told, now=NOW, first=False), told) == {"a": Standing.KNOWN}
    # For these keys, this node and nobody else.
    forged = profile(attrs.evolve(node("a", awg=b"\x03" * 32, derive=after.derive), key_proof=proof))
    assert standings(FIRST.after(forged, now=NOW, first=False), forged) == {"a": Standing.CHANGED}


def test_where_there_is_a_lock_a_node_that_it_has_not_signed_is_refused() -> None:
    told = profile(node("a", lock=LOCK), node("b"), node("c", lock=LockKey.create()), lock=LOCK)
    pins = Pins().after(told, now=NOW, first=True)
    expected = {"a": Standing.KNOWN, "b": Standing.UNSIGNED, "c": Standing.UNSIGNED}
    assert standings(pins, told) == expected


def test_signature_of_the_lock_lifts_the_wait() -> None:
    first = profile(node("a", lock=LOCK), lock=LOCK)
    told = profile(node("a", lock=LOCK), node("b", lock=LOCK), lock=LOCK)
    pins = Pins().after(first, now=NOW, first=True).after(told, now=NOW, first=False)
    assert standings(pins, told)["b"] is Standing.KNOWN


def test_lock_that_appears_later_refuses_at_once_and_lifts_nothing_for_a_day() -> None:
    """An enemy's helm can make a lock of its own."""
    told = profile(node("a"), node("b", lock=LOCK), lock=LOCK)
    pins = FIRST.after(told, now=NOW, first=False)
    assert standings(pins, told) == {"a": Standing.UNSIGNED, "b": Standing.NEW}
    assert standings(pins, told, NOW + WAIT)["b"] is Standing.KNOWN


@pytest.mark.parametrize("later", [None, LockKey.create()])
def test_first_lock_stays_whatever_later_profiles_say(later: LockKey | None) -> None:
    pins = Pins().after(profile(node("a", lock=LOCK), lock=LOCK), now=NOW, first=True)
    told = profile(node("a", lock=later), node("b", lock=later), lock=later)
    pins = pins.after(told, now=NOW, first=False)
    assert set(standings(pins, told, NOW + 9 * WAIT).values()) == {Standing.UNSIGNED}


def test_unnamed_node_is_one_that_is_known() -> None:
    told = profile(node("a"), node("b"), node("c"))
    marks = {NodeId("a"): Standing.NEW, NodeId("b"): Standing.CHANGED, NodeId("c"): Standing.KNOWN}
    assert choose_node(told, marks, None).id == "c"
    assert choose_node(told, marks, "a").id == "a"
    with pytest.raises(NodeRefusedError, match="other keys"):
        choose_node(told, marks, "b")
    with pytest.raises(NoSuchNodeError, match=r"name one of them yourself: a \(new\)"):
        choose_node(profile(node("a")), {NodeId("a"): Standing.NEW}, None)
    for standing in (Standing.UNSIGNED, Standing.DENIED):
        with pytest.raises(NodeRefusedError):
            choose_node(told, {**marks, NodeId("a"): standing}, "a")
    with pytest.raises(NoSuchNodeError):
        choose_node(profile(), {}, None)


def test_strangers_do_not_make_a_device_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PINS", 3)
    pins = FIRST
    for number in range(20):
        pins = pins.after(profile(attrs.evolve(node("b"), id=NodeId(f"n{number}"))), now=NOW + number, first=False)
    assert len(pins.nodes) == 3
    assert pins.nodes[NodeId("a")].seen_at == ALWAYS


@quick
@given(st.lists(st.sampled_from("abc"), unique=True), st.booleans())
def test_pins_survive_their_json(names: list[str], locked: bool) -> None:
    told = profile(*map(node, names), lock=LOCK if locked else None)
    pins = Pins().after(told, now=NOW, first=False)
    assert Pins.from_json(pins.as_json()) == pins


def test_denied_node_is_known_by_its_id_and_by_its_key() -> None:
    entries = [
        DenyEntry(member=Identity(fleet=FLEET, role=Role.NODE, id="a"), not_after=9),
        DenyEntry(member=Identity(fleet=FLEET, role=Role.RELAY, id="r"), not_after=9),
        DenyEntry(tunnel_key_hash=tunnel_key_hash(b"k" * 32), not_after=9),
    ]
    entries.sort(key=lambda entry: entry.target)
    denied = Denied.of(DenyList(fleet=FLEET, epoch=1, version=2, issued=3, entries=tuple(entries)))
    assert denied.denies_node("a", b"x" * 32)
    assert denied.denies_node("other", b"k" * 32)
    assert not denied.denies_node("r", b"x" * 32)
    assert (denied.order, denied.relays) == ((1, 2), {"r"})
    assert Denied.from_json(denied.as_json()) == denied


def test_store_without_pins_is_one_that_was_never_told_anything(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "s")
    assert store.pins(utc_now()) == Pins()
    store.confirm(node("a"), utc_now())
    assert ProfileStore(tmp_path / "s").pins(utc_now()) == Pins().confirmed(node("a"))
