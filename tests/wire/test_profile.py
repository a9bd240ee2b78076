"""A profile survives its JSON; what a newer helm adds is passed over, what is damaged is refused by one error."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import BundleFormatError
from pharos.wire.ids import DeviceId, FleetId, NodeId, RelayId
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.profile import (
    AmneziaWgAccess,
    Profile,
    ProfileNode,
    ProfileRelay,
    RealityAccess,
    parse_profile,
    render_profile,
)
from tests.support.strategies import junk_json, keys, labels, node_addresses, parameters, parameters_of, quick

ports = st.integers(1, 65535)
hosts = st.text(min_size=1, max_size=20)
accesses = st.builds(AmneziaWgAccess, host=hosts, port=ports, public_key=keys, parameters=parameters)
realities = st.builds(
    RealityAccess,
    host=hosts,
    port=ports,
    public_key=keys,
    proof=st.binary(max_size=64),
    generation=st.integers(1, 2**32 - 1),
    server_names=st.sampled_from([("site.example",), ("a.example", "b.example")]),
    short_ids=st.sampled_from([("",), ("ab", "0123456789abcdef")]),
)
nodes = st.builds(
    ProfileNode,
    id=labels.map(NodeId),
    name=st.text(max_size=20),
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    derive_key=keys,
    generation=st.integers(1, 2**32 - 1),
    addresses=node_addresses,
    access=st.lists(accesses | realities, max_size=3).map(tuple),
    other_awg_key=st.just(b"") | keys,
)
profiles = st.builds(
    Profile,
    fleet=st.from_regex(r"[0-9a-f]{16}", fullmatch=True).map(FleetId),
    device_id=labels.map(DeviceId),
    addresses=st.lists(st.ip_addresses().map(lambda ip: f"{ip}/{ip.max_prefixlen}"), max_size=3).map(tuple),
    nodes=st.lists(nodes, max_size=3).map(tuple),
    relays=st.lists(st.builds(ProfileRelay, id=labels.map(RelayId), host=hosts, port=ports), max_size=2).map(tuple),
)


def sample() -> Profile:
    return Profile(
        fleet=FleetId("0123456789abcdef"),
        device_id=DeviceId("d"),
        addresses=("10.86.0.2/32",),
        nodes=(
            ProfileNode(
                id=NodeId("n"),
                name="amsterdam",
                tags=("eu",),
                derive_key=bytes(32),
                generation=1,
                addresses=("10.86.0.1",),
                access=(
                    AmneziaWgAccess(host="a.example", port=443, public_key=bytes(32), parameters=parameters_of(1)),
                ),
            ),
        ),
        relays=(ProfileRelay(id=RelayId("r"), host="b.example", port=443),),
    )


def with_reality() -> Profile:
    """A node that is open by REALITY alone, on two ports."""
    way = RealityAccess(
        host="a.example",
        port=443,
        public_key=bytes(32),
        proof=bytes(64),
        generation=1,
        server_names=("site.example",),
        short_ids=("ab",),
    )
    node = attrs.evolve(sample().nodes[0], access=(way, attrs.evolve(way, port=8443)), other_awg_key=b"k" * 32)
    return attrs.evolve(sample(), nodes=(node,))


def test_way_in_by_reality_says_all_that_its_client_needs() -> None:
    body = json.loads(render_profile(with_reality()))["nodes"][0]
    (way,) = body["access"]
    assert (way["type"], way["flow"], way["fingerprint"]) == ("vless-reality", "xtls-rprx-vision", "chrome")
    assert (way["port"], way["more_ports"]) == (443, [8443])
    # The user id is derived of this, and no entry of AmneziaWG says it.
    assert base64.b64decode(body["awg_key"]) == with_reality().nodes[0].awg_key == b"k" * 32
    assert parse_profile(render_profile(with_reality())) == with_reality()


@pytest.mark.parametrize(
    "change",
    [
        {"port": 0},
        {"public_key": "AAAA"},
        {"proof": 5},
        {"generation": 0},
        {"server_names": []},
        {"server_names": ["*.example"]},
        {"server_names": "site.example"},
        {"short_ids": ["abc"]},
        {"short_ids": []},
        {"flow": None},
        {"more_ports": [0]},
    ],
    ids=str,
)
def test_damaged_way_in_by_reality_is_refused(change: dict[str, Any]) -> None:
    body = json.loads(render_profile(with_reality()))
    body["nodes"][0]["access"][0].update(change)
    with pytest.raises(BundleFormatError, match="damaged"):
        parse_profile(json.dumps(body).encode())


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    body = json.loads(render_profile(sample()))
    change(body)
    return json.dumps(body).encode()


@quick
@given(profiles)
def test_profile_survives_its_json(profile: Profile) -> None:
    assert parse_profile(render_profile(profile)) == profile


def test_rendering_is_canonical() -> None:
    rendered = render_profile(sample())
    assert rendered == render_profile(parse_profile(rendered))
    assert b" " not in rendered.replace(b"a.example", b"")
    assert rendered.startswith(b'{"addresses":')


def test_ways_that_differ_in_the_port_alone_share_their_parameters() -> None:
    (node,) = sample().nodes
    first, *rest = node.access
    ways = (first, attrs.evolve(first, port=8443), attrs.evolve(first, host="b.example"), first, *rest)
    many = attrs.evolve(sample(), nodes=(attrs.evolve(node, access=ways),))
    assert parse_profile(render_profile(many)) == many
    body = json.loads(render_profile(many))
    assert body["nodes"][0]["access"][0]["more_ports"] == [8443]
    assert len(body["nodes"][0]["access"]) == 3 + len(rest)


@quick
@given(
    st.text(max_size=10).filter(lambda kind: kind not in ("amneziawg", "vless-reality")),
    st.dictionaries(st.text(max_size=5), junk_json),
)
def test_protocol_of_a_newer_helm_is_passed_over(kind: str, members: dict[str, Any]) -> None:
    newer = members | {"type": kind}
    data = changed(lambda body: body["nodes"][0]["access"].insert(0, newer))
    assert parse_profile(data) == sample()


def test_node_with_only_unknown_protocols_is_still_known() -> None:
    data = changed(lambda body: body["nodes"][0].update(access=[{"type": "telepathy"}]))
    (node,) = parse_profile(data).nodes
    assert (node.id, node.access) == ("n", ())


@pytest.mark.parametrize(
    "place",
    [
        lambda body: body,
        lambda body: body["nodes"][0],
        lambda body: body["relays"][0],
        lambda body: body["nodes"][0]["access"][0],
    ],
)
def test_unknown_members_are_passed_over(place: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    assert parse_profile(changed(lambda body: place(body).update({"novelty": [1, {}]}))) == sample()


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_version_is_refused_with_the_way_out(version: object) -> None:
    with pytest.raises(BundleFormatError, match="upgrade caravel"):
        parse_profile(changed(lambda body: body.update(v=version)))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(fleet="xyz"),
        lambda body: body.update(device="A"),
        lambda body: body.update(addresses=["10.0.0.0.1/32"]),
        lambda body: body.update(addresses=[5]),
        lambda body: body.update(nodes={"n": 1}),
        lambda body: body.update(relays=None),
        lambda body: body["relays"][0].update(port=0),
        lambda body: body["relays"][0].update(port=True),
        lambda body: body["relays"][0].update(port="443"),
        lambda body: body["relays"][0].update(host=None),
        lambda body: body["nodes"][0].update(generation="1"),
        lambda body: body["nodes"][0].update(generation=1.5),
        lambda body: body["nodes"][0].update(generation=float("inf")),
        lambda body: body["nodes"][0].update(generation=0),
        lambda body: body["nodes"][0].update(generation=2**32),
        lambda body: body["nodes"][0].update(tags="eu"),
        lambda body: body["nodes"][0].update(name=5),
        lambda body: body["nodes"][0].update(derive_key="AAAA"),
        lambda body: body["nodes"][0].update(access=[[]]),
        lambda body: body["nodes"][0].update(access=[{}]),
        lambda body: body["nodes"][0]["access"][0].update(more_ports=8443),
        lambda body: body["nodes"][0]["access"][0].update(more_ports=[0]),
        lambda body: body["nodes"][0]["access"][0].update(more_ports=["8443"]),
        lambda body: body["nodes"][0]["access"][0].update(parameters=[]),
        lambda body: body["nodes"][0]["access"][0].update(parameters={"h1": 2}),
        lambda body: body["nodes"][0]["access"][0].update(parameters={"jc": "5"}),
        lambda body: body["nodes"][0]["access"][0].update(public_key=None),
        lambda body: body["nodes"][0]["access"][0].pop("host"),
    ],
)
def test_damaged_profile_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(BundleFormatError, match="damaged"):
        parse_profile(changed(change))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"\xff", b"{", b"[" * 100_000, b'{"v": 1}', b'{"v": 1e999}'])
def test_bytes_that_are_no_profile_are_refused(data: bytes) -> None:
    with pytest.raises(BundleFormatError):
        parse_profile(data)


@quick
@given(st.data())
def test_junk_in_any_place_is_a_profile_or_one_error(data: st.DataObject) -> None:
    body = json.loads(render_profile(sample()))
    place: Any = body
    while True:
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[step], dict | list) or not place[step] or data.draw(st.booleans()):
            break
        place = place[step]
    place[step] = data.draw(junk_json)
    with contextlib.suppress(BundleFormatError):
        parse_profile(json.dumps(body).encode())


lists = st.sampled_from(["nodes", "relays", "access"])


@quick
@given(st.lists(st.tuples(lists, st.text(max_size=8), st.dictionaries(st.text(max_size=5), junk_json)), max_size=6))
def test_entries_of_unknown_types_are_passed_over_in_every_list(news: list[tuple[str, str, dict[str, Any]]]) -> None:
    def add(body: dict[str, Any]) -> None:
        places = {"nodes": body["nodes"], "relays": body["relays"], "access": body["nodes"][0]["access"]}
        for place, kind, members in news:
            places[place].append(members | {"type": f"x-{kind}"})

    assert parse_profile(changed(add)) == sample()


@quick
@given(st.data())
def test_unknown_members_are_passed_over_at_any_depth(data: st.DataObject) -> None:
    """In any object of the profile, junk of any shape under a name that this version does not know."""
    body = json.loads(render_profile(sample()))
    objects: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            objects.append(value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    walk(body)
    for place in objects:
        if "jc" in place:
            # Obfuscation parameters are one thing: a device that passed one over would not be understood.
            continue
        place[data.draw(st.text(max_size=6).map("x-{}".format))] = data.draw(junk_json)
    assert parse_profile(json.dumps(body).encode()) == sample()


def test_what_is_new_is_rendered_only_where_it_is_there() -> None:
    for name in ("resolvers", "lock_key", "next_generation", "key_proof", "lock_signature"):
        assert name.encode() not in render_profile(sample())
    node = attrs.evolve(sample().nodes[0], next_generation=2, key_proof=b"p" * 64, lock_signature=b"s" * 64)
    full = attrs.evolve(sample(), nodes=(node,), resolvers=("10.86.0.1",), lock_key=b"k" * 32)
    assert parse_profile(render_profile(full)) == full
    assert render_profile(full) == encode_canonical(json.loads(render_profile(full)))
