"""What browsers make files of, and whether they still hold; and that both ends come to the same."""

from __future__ import annotations

import ipaddress
import json
import os

import attrs
import pytest

from pharos.helm.accounts.exported import export_device
from pharos.helm.accounts.users import add_group
from pharos.helm.doctor.record import check_exported
from pharos.helm.fleet.nodes import change_node, move_node
from pharos.helm.fleet.reissue import LIFETIME, end_reissues, reissue_node
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device, DeviceKeys
from pharos.helm.model.nodes import Node, NodeAct
from pharos.helm.profiles.configuration import MTU, configuration_of, digests_of, is_wireguard, parameter_lines
from pharos.helm.profiles.outdated import find_outdated, note_outdated
from pharos.helm.profiles.record import read_record_for
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.helm.store.reissues import count_unaware, reissues_of
from pharos.helm.store.settings import put_setting
from pharos.wire.awg.confread import parse
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.generate import generate
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.seal.blind import Pairing, derive_both
from tests.support.exported import VECTORS, BrowserKeys, make_vectors, node_pair, rendered
from tests.support.helm import adopt_sample_node, fleet_in_memory, sample_act


def export(db: Database, *, user_id: str | None = None) -> Device:
    keys = DeviceKeys(**{name: bytes.fromhex(key) for name, key in BrowserKeys.generate().public.items()})
    return export_device(db, sample_act(), name="tablet", keys=keys, user_id=user_id)


def current(db: Database, device: Device) -> Device:
    return get_device(db, device.id)


# -- vectors


def test_vectors_are_what_is_computed_today() -> None:
    assert VECTORS.read_text(encoding="utf-8") == rendered(), "run: python -m tests.support.exported"


def test_nodes_derive_what_the_vectors_say() -> None:
    """By the node's own private key, and `pharos.wire.seal.blind` alone."""
    compared = 0
    for case in make_vectors()["cases"]:
        shown = case["configuration"]
        for number, (node, wanted) in enumerate(zip(shown["nodes"], case["nodes"], strict=True), 1):
            pairing = Pairing(
                fleet=FleetId(shown["fleet"]),
                device=DeviceId(shown["device"]),
                node=NodeId(node["id"]),
                generation=node["generation"],
                device_derive=bytes.fromhex(case["public"]["derive"]),
                node_derive=bytes.fromhex(node["derive_key"]),
                device_awg=bytes.fromhex(case["public"]["awg"]),
                node_awg=bytes.fromhex(node["awg_key"]),
            )
            psk, user_id = derive_both(pairing, node_pair(number, "derive"))
            (peer,) = parse(wanted["confs"][0]).peers
            assert peer.preshared_key == psk
            assert str(user_id) == wanted["user_id"]
            if wanted["link"] is not None:
                assert ShareLink.parse(wanted["link"]).user_id == user_id.bytes
            compared += 1
    assert compared == 10


def test_every_file_of_the_vectors_is_read_as_what_it_was_made_of() -> None:
    for case in make_vectors()["cases"]:
        shown = case["configuration"]
        for node, wanted in zip(shown["nodes"], case["nodes"], strict=True):
            for place, text in zip(node["endpoints"], wanted["confs"], strict=True):
                conf = parse(text)
                (peer,) = conf.peers
                assert conf.interface.private_key.hex() == case["private"]["awg"]
                assert parameter_lines(conf.interface.parameters) == node["parameters"]
                assert peer.public_key.hex() == node["awg_key"]
                assert peer.endpoint == (place["host"], place["port"])
                assert [str(network) for network in peer.allowed_ips] == shown["allowed_ips"]
                assert [str(address) for address in conf.interface.addresses] == shown["addresses"]
            if wanted["wireguard"] is not None:
                assert parse(wanted["wireguard"]).interface.parameters == PLAIN


@pytest.mark.parametrize(
    ("parameters", "opens"),
    [
        (PLAIN, True),
        (attrs.evolve(PLAIN, jc=3, jmin=10, jmax=20), True),
        (attrs.evolve(PLAIN, s1=15), False),
        (attrs.evolve(PLAIN, h4=Range(7, 7)), False),
        (attrs.evolve(PLAIN, random_trailers=True), False),
        *((generate(os.urandom, generation), False) for generation in (Generation.V1_0, Generation.V2_0)),
    ],
)
def test_plain_wireguard_gets_in_where_nothing_is_shared_but_wireguard(
    parameters: ObfuscationParameters, opens: bool
) -> None:
    assert is_wireguard(parameters) is opens


# -- what is told


def test_files_have_the_mtu_of_our_own_engine() -> None:
    assert MTU == DEFAULT_MTU


def test_configuration_holds_public_facts_of_active_nodes() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        drained, _ = adopt_sample_node(db, authority, "paris")
        move_node(db, sample_act(), drained.id, drained.version, NodeAct.DRAIN)
        device = export(db)
        record = read_record_for(db, device.id)
        told = configuration_of(record, device, pools=("10.86.0.0/16",), revision=7)
        assert (told["device"], told["fleet"], told["revision"]) == (device.id, authority.trust.fleet, 7)
        assert told["addresses"] == [f"{device.address4}/32", f"{device.address6}/128"]
        assert told["allowed_ips"] == ["0.0.0.0/0", "::/0"]
        # A node answers questions at its own address, whoever it asks itself.
        assert told["dns"] == ["10.86.0.1", str(ipaddress.ip_network(record.fleet.pool6)[1])]
        (shown,) = told["nodes"]
        assert (shown["id"], shown["name"], shown["generation"]) == (node.id, "amsterdam", 1)
        assert shown["awg_key"] == node.awg_key.hex()
        assert shown["endpoints"] == [{"host": "127.0.0.1", "port": port} for port in (443, 2053)]
        assert shown["parameters"] == parameter_lines(node.awg_parameters)
        assert (shown["amneziawg"], shown["wireguard"], shown["mtu"], shown["reality"]) == ("1.0", False, 1420, None)


def test_fleet_without_internet_sends_nothing_else_into_the_tunnel() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority)
        device = export(db)
        put_setting(db, sample_act(), "policy.internet", 0, value=False)
        put_setting(db, sample_act(), "policy.resolvers", 0, ["10.0.0.53", "fd00::53"])
        told = configuration_of(read_record_for(db, device.id), device, pools=("10.86.0.0/16",), revision=1)
        assert told["allowed_ips"] == ["10.86.0.0/16", "10.0.0.53/32", "fd00::53/128"]
        assert told["dns"] == told["resolvers"] == ["10.0.0.53", "fd00::53"]


# -- whether files hold


def test_new_parameters_outdate_files_and_old_ones_make_them_good_again() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = export(db)
        assert note_outdated(db, at=now_us()) == 0
        reissue_node(db, sample_act(), node.id, node.version)
        at = now_us()
        assert note_outdated(db, at=at) == 1
        assert current(db, device).outdated_at == at
        assert note_outdated(db, at=at + 1) == 0, "since when is said once"
        db.execute("UPDATE nodes SET awg_parameters = ?", (json.dumps(node.awg_parameters.as_mapping()),))
        assert note_outdated(db, at=at + 2) == 1
        assert current(db, device).outdated_at is None
        assert [row.verb for row in audit_rows(db, after=0)][-2:] == ["device_outdated", "device_current"]


def change(db: Database, node: Node, **values: object) -> None:
    change_node(db, sample_act(), node.id, node.version, values)


@pytest.mark.parametrize(
    ("values", "outdated"),
    [
        ({"address": "192.0.2.1"}, True),
        ({"awg_port": 4433}, True),
        ({"spare_ports": [4500]}, False),
        ({"name": "berlin"}, False),
        ({"note": "rack 3"}, False),
    ],
)
def test_what_no_file_says_outdates_none(values: dict[str, object], outdated: bool) -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = export(db)
        change(db, node, **values)
        note_outdated(db, at=now_us())
        assert (current(db, device).outdated_at is not None) is outdated


def test_nodes_that_come_or_rest_outdate_no_file_and_one_that_goes_does() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = export(db)
        adopt_sample_node(db, authority, "paris")
        assert find_outdated(db) == []
        rested = move_node(db, sample_act(), node.id, node.version, NodeAct.DISABLE)
        assert find_outdated(db) == []
        move_node(db, sample_act(), node.id, rested.version, NodeAct.REVOKE)
        assert find_outdated(db) == [(device, True)]


def test_group_that_takes_the_node_away_outdates_the_file() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority)
        device = export(db)
        add_group(db, sample_act(), {"name": "office", "node_tags": ["eu"], "everybody": True})
        assert find_outdated(db) == [(device, True)]
        assert digests_of(read_record_for(db, device.id), device) == {}


def test_revoked_device_is_not_looked_at() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = export(db)
        db.execute("UPDATE devices SET state = 'revoked' WHERE id = ?", (device.id,))
        reissue_node(db, sample_act(), node.id, node.version)
        assert find_outdated(db) == []


def test_old_parameters_stay_their_whole_time_for_a_device_that_hears_nothing() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        export(db)
        reissue_node(db, sample_act(), node.id, node.version)
        # One with the new parameters in its file waits for nothing.
        export(db)
        (standing,) = reissues_of(db, node.id)
        assert count_unaware(db, standing, now_us()) == 1
        assert end_reissues(db, sample_act()) == 0
        assert end_reissues(db, sample_act(at=now_us() + LIFETIME)) == 1


def test_doctor_names_devices_whose_files_are_outdated() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        export(db)
        assert check_exported(db) == []
        reissue_node(db, sample_act(), node.id, node.version)
        note_outdated(db, at=now_us())
        (finding,) = check_exported(db)
        assert (finding.id, finding.says) == (
            "exported",
            "What 1 exported devices were given is outdated: tablet.",
        )
