"""A device's profile and a node's peers come from one record, so both ends always agree."""

from __future__ import annotations

import ipaddress

import attrs
import pytest

from pharos.helm.fleet.nodes import change_node
from pharos.helm.fleet.reissue import LIFETIME, end_reissues, reissue_node
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import DeviceState
from pharos.helm.model.nodes import NodeState
from pharos.helm.profiles.build import (
    build_desired,
    build_profile,
    node_addresses,
    peer_networks,
    profile_of,
)
from pharos.helm.profiles.record import read_record_for
from pharos.helm.profiles.render import Renderer
from pharos.helm.store.bundles import profiles_revision
from pharos.helm.store.fleet import get_fleet
from pharos.wire.desired import Desired, Fence, Push
from pharos.wire.profile import parse_profile, render_profile
from tests.support.helm import adopt_sample_node, adopt_sample_relay, enrol_sample_device, fleet_in_memory, sample_act


def test_profile_names_active_nodes_and_relays_only() -> None:
    with fleet_in_memory() as (db, authority):
        (node, _), (relay, _) = adopt_sample_node(db, authority), adopt_sample_relay(db, authority)
        device, fleet = enrol_sample_device(db, 1), get_fleet(db)
        gone = [attrs.evolve(node, id="gone", state=state) for state in (NodeState.REVOKED, NodeState.DISABLED)]
        away = attrs.evolve(relay, id="away", state=NodeState.REVOKED)
        profile = build_profile(fleet, device, [node, *gone], [relay, away])
        assert [entry.id for entry in profile.nodes] == [node.id]
        assert [entry.id for entry in profile.relays] == [relay.id]
        access, spare = profile.nodes[0].access
        assert spare == attrs.evolve(access, port=node.spare_ports[0])
        assert (access.host, access.port) == (node.address, node.awg_port)
        assert (access.public_key, access.parameters) == (node.awg_key, node.awg_parameters)
        assert (profile.relays[0].host, profile.relays[0].port) == (relay.address, relay.ingress_port)
        assert parse_profile(render_profile(profile)) == profile


def test_profile_lists_where_old_parameters_are_served_and_where_a_node_may_not_have_heard_of_new_ones() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        node = change_node(db, sample_act(), node.id, node.version, {"spare_ports": [8443, 4500]})
        device = enrol_sample_device(db, 1)

        def ways() -> list[tuple[int, bool]]:
            (shown,) = profile_of(read_record_for(db, device.id), device).nodes
            assert {(way.host, way.public_key) for way in shown.access} == {(node.address, node.awg_key)}
            assert parse_profile(Renderer(read_record_for(db, device.id)).render(device)).nodes == (shown,)
            return [(way.port, way.parameters == node.awg_parameters) for way in shown.access]

        assert ways() == [(443, True), (8443, True), (4500, True)]
        reissue_node(db, sample_act(), node.id, node.version)
        assert ways() == [(443, False), (8443, False), (4500, False), (8443, True), (443, True)]
        told = profiles_revision(db)
        assert end_reissues(db, sample_act(at=now_us() + LIFETIME)) == 1
        assert ways() == [(443, False), (8443, False), (4500, False)]
        assert profiles_revision(db) > told, "devices hear that the old ones have ended"


def test_another_port_costs_a_profile_few_octets() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device, fleet = enrol_sample_device(db, 1), get_fleet(db)
        one, many = (
            len(render_profile(build_profile(fleet, device, [attrs.evolve(node, spare_ports=ports)], [])))
            for ports in ((), (8443, 4500, 1194))
        )
        assert many - one < 40


def test_node_serves_active_devices_only() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        phone, laptop = enrol_sample_device(db, 1), enrol_sample_device(db, 2)
        revoked = attrs.evolve(laptop, state=DeviceState.REVOKED)
        desired = build_desired(get_fleet(db), node, [phone, revoked])
        assert list(desired.peers) == [phone.id]
        peer = desired.peers[phone.id]
        assert (peer.awg_key, peer.derive_key) == (phone.keys.awg, phone.keys.derive)


def test_both_ends_agree_on_keys_addresses_and_generation() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device, fleet = enrol_sample_device(db, 1), get_fleet(db)
        profile, desired = build_profile(fleet, device, [node], []), build_desired(fleet, node, [device])
        seen, peer = profile.nodes[0], desired.peers[device.id]
        assert profile.addresses == peer.addresses == peer_networks(device)
        assert seen.generation == peer.generation
        assert seen.addresses == desired.addresses == node_addresses(fleet)
        assert seen.derive_key == node.derive_key


def test_what_is_desired_is_a_push_that_a_node_takes() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        devices = [enrol_sample_device(db, number) for number in range(5)]
        desired = build_desired(get_fleet(db), node, devices)
        push = Push(
            fence=Fence(1, 1, desired.revision),
            snapshot=True,
            upsert=tuple(desired.peers.values()),
            awg=desired.awg,
            addresses=desired.addresses,
        )
        assert dict(Desired().after(push).peers) == dict(desired.peers)


def test_profile_holds_no_other_devices_data() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        phone, laptop = enrol_sample_device(db, 1, "phone"), enrol_sample_device(db, 2, "laptop")
        rendered = render_profile(build_profile(get_fleet(db), phone, [node], []))
        for foreign in (laptop.id, laptop.address4, laptop.address6, laptop.name):
            assert foreign.encode() not in rendered


def test_addresses_come_from_both_networks_and_never_are_the_nodes_own() -> None:
    with fleet_in_memory() as (db, _):
        fleet, device = get_fleet(db), enrol_sample_device(db, 1)
        node4, node6 = node_addresses(fleet)
        assert (node4, device.address4) == ("10.86.0.1", "10.86.0.2")
        network6 = ipaddress.ip_network(fleet.pool6)
        assert (node6, device.address6) == (str(network6[1]), str(network6[2]))


@pytest.mark.parametrize(
    ("state", "serves", "named"),
    [
        (NodeState.JOINING, True, False),
        (NodeState.ACTIVE, True, True),
        (NodeState.DRAINING, True, False),
        (NodeState.DISABLED, False, False),
        (NodeState.REVOKED, True, False),
    ],
)
def test_state_of_a_node_says_whom_it_serves_and_who_hears_of_it(
    state: NodeState, *, serves: bool, named: bool
) -> None:
    """A revoked or joining one is not linked at all, so what is desired of it reaches nobody."""
    with fleet_in_memory() as (db, authority):
        node = attrs.evolve(adopt_sample_node(db, authority)[0], state=state)
        device, fleet = enrol_sample_device(db, 1), get_fleet(db)
        assert bool(build_desired(fleet, node, [device]).peers) == serves
        assert bool(build_profile(fleet, device, [node], []).nodes) == named


@pytest.mark.parametrize("state", [state for state in NodeState if state is not NodeState.ACTIVE])
def test_only_an_active_relay_is_in_profiles(state: NodeState) -> None:
    with fleet_in_memory() as (db, authority):
        relay = attrs.evolve(adopt_sample_relay(db, authority)[0], state=state)
        assert build_profile(get_fleet(db), enrol_sample_device(db, 1), [], [relay]).relays == ()
