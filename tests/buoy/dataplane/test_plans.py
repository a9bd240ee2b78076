"""Orders become plans: secrets as the devices derive them, and to each what it may use."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from pharos.buoy.dataplane import plans
from pharos.buoy.dataplane.plans import Planner
from pharos.wire.agent import AgentKeys
from pharos.wire.desired import Desired, Fence, Peer, Policy, PreviousEndpoint
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.blind import Pairing, commitment, derive_psk, derive_uuid
from pharos.wire.seal.realitykey import derive_reality_key
from tests.support.agents import joined
from tests.support.pki import utc_now
from tests.support.strategies import parameters_of, reality_of

PHONE = DeviceId("phone")
DERIVE, AWG = KeyPair.generate(), KeyPair.generate()
PEER = Peer(
    device_id=PHONE,
    awg_key=AWG.public,
    derive_key=DERIVE.public,
    generation=3,
    addresses=("10.86.0.2/32", "fd86::2/128"),
    rate_limit=8_000_000,
)
DESIRED = Desired(
    fence=Fence(1, 1, 1),
    awg=parameters_of(1),
    reality=reality_of(1),
    addresses=("10.86.0.1",),
    peers={PHONE: PEER},
    policy=Policy(closed=("198.51.100.0/24",)),
)


@pytest.fixture
def keys(tmp_path: Path) -> AgentKeys:
    return joined(tmp_path, name="node-1")


def planner_of(keys: AgentKeys) -> Planner:
    return Planner(membership=keys.membership(now=utc_now()), keys=keys, awg_port=443, reality_port=8443)


def pairing_of(keys: AgentKeys, peer: Peer = PEER) -> Pairing:
    membership = keys.membership(now=utc_now())
    return Pairing(
        fleet=membership.trust.fleet,
        device=peer.device_id,
        node=NodeId(membership.identity.id),
        generation=peer.generation,
        device_derive=peer.derive_key,
        node_derive=keys.derive_key.public,
        device_awg=peer.awg_key,
        node_awg=KeyPair.from_private_bytes(keys.awg_key).public,
    )


def test_secrets_are_those_that_the_device_derives(keys: AgentKeys) -> None:
    planner = planner_of(keys)
    awg, reality = planner.awg(DESIRED), planner.reality(DESIRED)
    psk = derive_psk(pairing_of(keys), DERIVE)
    assert awg.peers[PHONE].preshared_key == psk
    assert reality.users[PHONE].user_id == derive_uuid(pairing_of(keys), DERIVE).bytes
    assert planner.commitment(PHONE) == commitment(psk)
    assert planner.commitment(DeviceId("nobody")) == b""
    assert (awg.peers[PHONE].rate_limit, reality.users[PHONE].rate_limit) == (8_000_000, 8_000_000)
    assert awg.networks == ("10.86.0.2/32", "fd86::2/128")


def test_reality_has_the_key_of_its_generation_on_each_endpoint(keys: AgentKeys) -> None:
    fleet: FleetId = keys.membership(now=utc_now()).trust.fleet
    before = PreviousEndpoint(port=2053, awg=parameters_of(2), reality=reality_of(2, after=4), until=10)
    plan = planner_of(keys).reality(attrs.evolve(DESIRED, previous=(before,)))
    assert [(one.port, one.parameters) for one in plan.endpoints] == [(8443, reality_of(1)), (2053, before.reality)]
    for endpoint, generation in zip(plan.endpoints, (1, 5), strict=True):
        pair = derive_reality_key(keys.derive_key, fleet=fleet, node=NodeId("node-1"), generation=generation)
        assert endpoint.private_key == pair.private_bytes()
    assert plan.policy == DESIRED.policy


def test_endpoint_before_is_served_for_the_protocol_that_was_reissued(keys: AgentKeys) -> None:
    before = PreviousEndpoint(port=2053, awg=parameters_of(2), until=10)
    planner, desired = planner_of(keys), attrs.evolve(DESIRED, previous=(before,))
    assert [(one.port, one.parameters) for one in planner.awg(desired).endpoints] == [
        (443, parameters_of(1)),
        (2053, parameters_of(2)),
    ]
    assert len(planner.reality(desired).endpoints) == 1


def test_nothing_is_served_without_parameters(keys: AgentKeys) -> None:
    planner, desired = planner_of(keys), attrs.evolve(DESIRED, awg=None, reality=None)
    assert planner.awg(desired).endpoints == planner.reality(desired).endpoints == ()
    assert not planner.awg(desired).peers
    assert not planner.reality(desired).users


@pytest.mark.parametrize(
    ("protocols", "served"),
    [
        ((), (True, True)),
        (("amneziawg",), (True, False)),
        (("reality",), (False, True)),
        (("later",), (False, False)),
    ],
)
def test_device_is_served_by_what_it_may_use(
    keys: AgentKeys, protocols: tuple[str, ...], served: tuple[bool, bool]
) -> None:
    planner = planner_of(keys)
    desired = attrs.evolve(DESIRED, peers={PHONE: attrs.evolve(PEER, protocols=protocols)})
    assert (PHONE in planner.awg(desired).peers, PHONE in planner.reality(desired).users) == served


def test_what_stays_is_the_same_object_and_derived_once(keys: AgentKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = planner_of(keys)
    first = planner.awg(DESIRED)
    monkeypatch.setattr(plans, "derive_both", lambda *_: pytest.fail("it was derived before"))
    later = attrs.evolve(PEER, expires_at=17)
    assert planner.awg(DESIRED).peers[PHONE] is first.peers[PHONE]
    assert planner.awg(attrs.evolve(DESIRED, peers={PHONE: later})).peers[PHONE] is first.peers[PHONE]


def test_what_is_on_disk_was_checked_when_it_came(keys: AgentKeys) -> None:
    unusable = attrs.evolve(DESIRED, peers={PHONE: attrs.evolve(PEER, awg_key=bytes(32))})
    with pytest.raises(RemoteProtocolError, match="device phone"):
        planner_of(keys).check(unusable)
    # An engine passes over a key of low order; the others' devices do not wait for it to be found.
    assert planner_of(keys).awg(unusable).peers.keys() == {PHONE}


def test_one_that_is_pushed_again_with_another_key_is_checked_again(keys: AgentKeys) -> None:
    planner = planner_of(keys)
    planner.check(DESIRED)
    with pytest.raises(RemoteProtocolError, match="device phone"):
        planner.check(attrs.evolve(DESIRED, peers={PHONE: attrs.evolve(PEER, awg_key=bytes(32))}))
    assert planner.awg(DESIRED).peers[PHONE].public_key == PEER.awg_key


def test_plans_of_both_protocols_are_made_of_what_was_checked(keys: AgentKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = planner_of(keys)
    planner.check(DESIRED)
    monkeypatch.setattr(plans, "_check_user_ids", lambda *_: pytest.fail("it was made before"))
    assert planner.awg(DESIRED).peers.keys() == planner.reality(DESIRED).users.keys() == {PHONE}


def test_generation_has_secrets_of_its_own(keys: AgentKeys) -> None:
    planner = planner_of(keys)
    first = planner.awg(DESIRED).peers[PHONE].preshared_key
    second = planner.awg(attrs.evolve(DESIRED, peers={PHONE: attrs.evolve(PEER, generation=4)})).peers[PHONE]
    assert second.preshared_key != first


def test_two_devices_of_one_user_id_are_refused(keys: AgentKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Xray does not look at two of its octets."""
    made = iter((bytes(16), bytes(6) + b"\1\2" + bytes(8)))

    class Id:
        def __init__(self) -> None:
            self.bytes = next(made)

    monkeypatch.setattr(plans, "derive_both", lambda *_: (bytes(32), Id()))
    other = attrs.evolve(
        PEER, device_id=DeviceId("twin"), awg_key=KeyPair.generate().public, addresses=("10.86.0.9/32",)
    )
    with pytest.raises(RemoteProtocolError, match="phone and twin have the same user id"):
        planner_of(keys).check(attrs.evolve(DESIRED, peers={PHONE: PEER, other.device_id: other}))


def test_networks_of_neighbours_are_one(keys: AgentKeys) -> None:
    peers = {
        DeviceId(f"d{number}"): attrs.evolve(
            PEER,
            device_id=DeviceId(f"d{number}"),
            awg_key=KeyPair.generate().public,
            addresses=(f"10.86.1.{number}/32",),
        )
        for number in range(4)
    }
    assert planner_of(keys).awg(attrs.evolve(DESIRED, peers=peers)).networks == ("10.86.1.0/30",)
