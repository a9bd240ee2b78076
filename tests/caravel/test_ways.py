"""A device uses a REALITY key only with the node's own word, and says which one it does not use."""

from __future__ import annotations

import logging
import os

import attrs
import pytest

from pharos.caravel.client import choose_node
from pharos.caravel.errors import NoSuchNodeError
from pharos.caravel.profiles import ways as module
from pharos.caravel.profiles.pins import Standing, keys_of
from pharos.caravel.profiles.store import generate_secrets
from pharos.caravel.profiles.ways import examine
from pharos.caravel.tunnel.amnezia import open_node_tunnel, pairing_of
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.profile import AmneziaWgAccess, Profile, ProfileNode, RealityAccess
from pharos.wire.seal.blind import derive_uuid
from pharos.wire.seal.realitykey import derive_reality_key, prove_reality_key
from tests.support.strategies import parameters_of

FLEET, NODE = FleetId("0123456789abcdef"), NodeId("n")
DERIVE = KeyPair.generate()
AMNEZIAWG = AmneziaWgAccess(host="h", port=1, public_key=b"\1" * 32, parameters=parameters_of(1))


def way(*, pair: KeyPair | None = None, by: KeyPair = DERIVE, generation: int = 1, port: int = 443) -> RealityAccess:
    made = pair or derive_reality_key(DERIVE, fleet=FLEET, node=NODE, generation=generation)
    proof = prove_reality_key(
        by, fleet=FLEET, node=NODE, generation=generation, public_key=made.public, random=os.urandom(64)
    )
    return RealityAccess(
        host="h",
        port=port,
        public_key=made.public,
        proof=proof,
        generation=generation,
        server_names=("site.example",),
        short_ids=("ab",),
    )


def node(*access: AmneziaWgAccess | RealityAccess, name: str = "amsterdam") -> ProfileNode:
    return ProfileNode(
        id=NODE,
        name=name,
        tags=(),
        derive_key=DERIVE.public,
        generation=1,
        addresses=("10.86.0.1",),
        access=access,
        other_awg_key=b"\1" * 32,
    )


def profile(*nodes: ProfileNode) -> Profile:
    return Profile(fleet=FLEET, device_id=DeviceId("d"), addresses=("10.86.0.2/32",), nodes=nodes, relays=())


def test_keys_with_the_nodes_word_are_used() -> None:
    told = node(AMNEZIAWG, way(), way(generation=2), way(port=8443))
    examined = examine(FLEET, told)
    assert (examined.node, examined.refused) == (told, ())


def test_key_of_somebody_else_is_dropped_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    enemy = KeyPair.generate()
    good = way()
    for false in (
        way(pair=enemy, by=enemy),
        attrs.evolve(good, public_key=enemy.public),
        attrs.evolve(good, generation=2),
        attrs.evolve(good, proof=b""),
    ):
        caplog.clear()
        examined = examine(FLEET, node(AMNEZIAWG, false, attrs.evolve(false, port=8443), good))
        assert examined.node.access == (AMNEZIAWG, good)
        assert [text.partition(": ")[0] for text in examined.refused] == ["vless-reality h:443", "vless-reality h:8443"]
        assert "not signed by the node" in examined.refused[0]
        assert "a way in to node amsterdam is not used" in caplog.text


def test_without_the_check_the_enemys_key_would_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack on a weakened build."""
    monkeypatch.setattr(module, "verify_reality_key", lambda key, _proof, **_context: key)
    enemy = KeyPair.generate()
    examined = examine(FLEET, node(way(pair=enemy, by=enemy)))
    assert [found.public_key for found in examined.node.reality] == [enemy.public]


def test_key_that_stands_at_two_ports_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(module, "verify_reality_key", lambda key, *_args, **_context: calls.append(key))
    good = way()
    examine(FLEET, node(good, attrs.evolve(good, port=8443), attrs.evolve(good, port=4500)))
    assert calls == [good.public_key]


async def test_node_that_is_open_by_reality_alone_has_no_tunnel_and_says_so() -> None:
    told = profile(node(way()))
    with pytest.raises(NoSuchNodeError, match="REALITY alone"):
        async with open_node_tunnel(told, told.nodes[0], generate_secrets()):
            pass
    with pytest.raises(NoSuchNodeError, match="upgrade caravel"):
        async with open_node_tunnel(told, node(), generate_secrets()):
            pass


def test_device_that_names_no_node_gets_one_that_a_tunnel_leads_to() -> None:
    first, second = node(way()), attrs.evolve(node(AMNEZIAWG, way(), name="berlin"), id=NodeId("m"))
    standings = dict.fromkeys((first.id, second.id), Standing.KNOWN)
    assert choose_node(profile(first, second), standings, None) == second
    assert choose_node(profile(first), standings, None) == first


def test_keys_that_are_pinned_and_secrets_do_not_depend_on_the_way_in() -> None:
    both, alone, secrets = node(AMNEZIAWG, way()), node(way()), generate_secrets()
    assert keys_of(both) == keys_of(alone)
    ids = {derive_uuid(pairing_of(profile(told), told, secrets, 1), secrets.derive) for told in (both, alone)}
    assert len(ids) == 1
