"""Row 31. Position: a beacon. Wants: a device to speak what a censor knows, by a list without the protocol that hides.

Countermeasures: the list stands inside the signed bundle; and a device speaks two protocols only, so that no list,
however it came about, leads to a third: a node that offers neither is not reached at all. AmneziaWG with the parameters
of plain WireGuard is below a device's floor, whoever signs them; and so is AmneziaWG for a device whose owner or whose
organisation has set its floor to REALITY.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pharos.caravel.errors import NoSuchNodeError
from pharos.caravel.managed import Floor
from pharos.caravel.profiles import ways
from pharos.caravel.profiles.pins import Standing
from pharos.caravel.profiles.store import generate_secrets
from pharos.caravel.profiles.ways import examine
from pharos.caravel.tunnel import choosing as choosing_module
from pharos.caravel.tunnel.amnezia import open_node_tunnel
from pharos.caravel.tunnel.candidates import FleetSource
from pharos.caravel.tunnel.choosing import Choosing
from pharos.wire import profile as profiles
from pharos.wire.awg.params import PLAIN
from pharos.wire.errors import BundleSignatureError
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, Profile, parse_profile, render_profile
from pharos.wire.seal import envelope
from tests.caravel.test_ways import AMNEZIAWG as AMNEZIAWG_WAY
from tests.caravel.test_ways import node, profile, way
from tests.support.strategies import quick
from tests.wire.seal.test_envelope import ALICE, SIGNER, forge, header_for, open_as, signed_content

HIDDEN = attrs.evolve(AMNEZIAWG_WAY, host="127.0.0.1")
WHOLE = json.loads(render_profile(profile(node(HIDDEN, way()))))
ACCESS: list[dict[str, Any]] = WHOLE["nodes"][0]["access"]
WIREGUARD = ACCESS[0] | {"type": "wireguard"}
HEADER = header_for(ALICE)


def told(access: list[dict[str, Any]]) -> bytes:
    """Return the profile with another list of ways in."""
    return json.dumps(WHOLE | {"nodes": [WHOLE["nodes"][0] | {"access": access}]}).encode()


SIGNATURE = signed_content(HEADER, told(ACCESS), SIGNER)[:64]
"""A good one, of the whole list."""


async def connects(found: Profile) -> bool:
    """Whether a device finds any way in to the node."""
    try:
        async with open_node_tunnel(found, found.nodes[0], generate_secrets()):
            return True
    except NoSuchNodeError:
        return False


def test_a31_whole_list_is_taken() -> None:
    opened = open_as(forge(HEADER, SIGNATURE + told(ACCESS), ALICE))
    assert parse_profile(opened.profile).nodes[0].amneziawg == (HIDDEN,)


@quick
@given(access=st.lists(st.sampled_from([*ACCESS, WIREGUARD]), max_size=3).filter(lambda access: access != ACCESS))
@pytest.mark.red_inside
def test_a31_list_that_a_beacon_edits_is_in_no_bundle(access: list[dict[str, Any]]) -> None:
    """It cannot read the list either; here it is given the profile, and the signature of the whole."""
    edited = forge(HEADER, SIGNATURE + told(access), ALICE)
    with pytest.raises(BundleSignatureError):
        open_as(edited)
    # Red: without the signature the device goes by the beacon's list.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "verify_signature", lambda _signature, message, _keys: message)
        found = parse_profile(open_as(edited).profile).nodes[0].access
    assert len(found) == sum(entry in ACCESS for entry in access)


@quick
@given(kind=st.text(max_size=20).filter(lambda kind: kind not in (AMNEZIAWG, VLESS_REALITY)))
@example(kind="wireguard")
@example(kind="AmneziaWG")
@example(kind=f"{AMNEZIAWG} ")
@example(kind="vless")
@example(kind="socks5")
@example(kind="")
def test_a31_protocol_of_another_name_is_never_a_way_in(kind: str) -> None:
    others = [WIREGUARD | {"type": kind}, {"type": kind, "access": ACCESS}]
    assert parse_profile(told(others)).nodes[0].access == ()
    assert parse_profile(told([*others, *ACCESS])).nodes[0].access == parse_profile(told(ACCESS)).nodes[0].access


@pytest.mark.red_inside
async def test_a31_device_falls_back_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await connects(parse_profile(told(ACCESS)))
    for left in ([], [WIREGUARD], [ACCESS[1], WIREGUARD]):
        assert not await connects(parse_profile(told(left)))
    # Red: a device that has one reader more.
    monkeypatch.setattr(profiles, "_READERS", profiles._READERS | {"wireguard": profiles._amneziawg})
    assert await connects(parse_profile(told([WIREGUARD])))


@pytest.mark.red_inside
def test_a31_parameters_that_hide_nothing_are_below_the_floor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bare = attrs.evolve(HIDDEN, parameters=PLAIN)
    found = profile(node(bare, HIDDEN))
    examined = examine(found.fleet, found.nodes[0])
    assert examined.node.amneziawg == (HIDDEN,)
    assert "whoever watches would see WireGuard" in examined.refused[0]
    assert examine(found.fleet, node(bare)).node.access == ()
    # Red: a device without a floor dials what helm signs.
    monkeypatch.setattr(ways, "PLAIN", None)
    assert examine(found.fleet, node(bare)).node.amneziawg == (bare,)


@attrs.frozen
class Kept:
    """What a device's store says."""

    told: Profile

    def profile(self, _now: object) -> Profile:
        return self.told

    def enrolled(self) -> Any:
        return SimpleNamespace(secrets=generate_secrets())

    def bundle(self) -> None:
        return None


def dialled(access: list[dict[str, Any]], floor: Floor | None = None) -> set[str]:
    """Return the protocols by which a device that is told this list would go to the node by itself."""
    found = parse_profile(told(access))
    source = FleetSource(Kept(found), lambda: {found.nodes[0].id: Standing.KNOWN})  # type: ignore[arg-type]
    choosing = Choosing(source, wanted=None, protocol=None, floor=floor)
    try:
        choosing.read_first(asks=False)
    except NoSuchNodeError:
        return set()
    return {way.protocol for way in choosing.known}


@pytest.mark.red_inside
def test_a31_floor_of_the_device_holds_whatever_list_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    amneziawg, reality = ACCESS
    bare = amneziawg | {"parameters": PLAIN.as_mapping()}
    assert dialled(ACCESS) == {AMNEZIAWG, VLESS_REALITY}
    assert dialled([bare]) == set()
    assert dialled([bare, reality]) == {VLESS_REALITY}
    # A device whose owner, or whose organisation, wants REALITY alone does not fall below it, whatever is left.
    assert dialled([amneziawg], Floor.REALITY) == set()
    assert dialled(ACCESS, Floor.REALITY) == {VLESS_REALITY}
    # Not even `any` brings back what a profile must not say.
    assert dialled([bare], Floor.ANY) == set()
    # Red: a device that has a floor and does not look at it.
    monkeypatch.setattr(choosing_module, "admits", lambda _floor, _way: True)
    assert dialled([amneziawg], Floor.REALITY) == {AMNEZIAWG}


@pytest.mark.red_inside
def test_a31_floor_is_looked_at_in_each_profile_that_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    amneziawg, reality = ACCESS
    whole, fewer = parse_profile(told([reality])), parse_profile(told([amneziawg]))
    kept = [whole]
    store = SimpleNamespace(
        profile=lambda _now: kept[0],
        enrolled=lambda: SimpleNamespace(secrets=generate_secrets()),
        bundle=lambda: None,
    )
    source = FleetSource(store, lambda: {whole.nodes[0].id: Standing.KNOWN})  # type: ignore[arg-type]
    choosing = Choosing(source, wanted=None, protocol=None, floor=Floor.REALITY)
    choosing.read_first(asks=False)
    assert [way.protocol for way in choosing.known] == [VLESS_REALITY]
    kept[0] = fewer
    choosing.read()
    assert choosing.known == ()
    # Red.
    monkeypatch.setattr(choosing_module, "admits", lambda _floor, _way: True)
    choosing.read()
    assert [way.protocol for way in choosing.known] == [AMNEZIAWG]
