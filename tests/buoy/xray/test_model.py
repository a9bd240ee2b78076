from __future__ import annotations

import ipaddress
import json
import uuid
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.xray.closed import closed_networks, not_public
from pharos.buoy.xray.model import render, spell_key, spell_user_id
from pharos.buoy.xray.validate import check_rendered
from pharos.wire.desired import Policy
from tests.buoy.xray.rig import ALICE, BOB, OLD_KEY, config, endpoint, user, users
from tests.support.strategies import quick

RUNTIME = Path("/run/pharos-xray")


def rules(**changes):
    return config(RUNTIME, **changes).document()["routing"]["rules"]


def test_what_we_make_is_what_we_take() -> None:
    for one in (
        config(RUNTIME),
        config(RUNTIME, users={}),
        config(RUNTIME, endpoints=(endpoint(), endpoint(8443, key=OLD_KEY)), listen="::"),
        config(RUNTIME, policy=Policy(internet=False, closed=("198.51.100.0/24",)), allowed=("127.0.0.0/8",)),
        config(RUNTIME, own=("203.0.113.9/32",)),
    ):
        check_rendered(render(one.document()), runtime=RUNTIME)


def test_a_tag_is_the_same_for_other_users_and_another_for_anything_else() -> None:
    usual = config(RUNTIME)
    assert config(RUNTIME, users=users(ALICE)).tags() == usual.tags()
    others = [
        attrs.evolve(usual, listen="::"),
        attrs.evolve(usual, endpoints=(endpoint(444),)),
        attrs.evolve(usual, endpoints=(endpoint(key=OLD_KEY),)),
        attrs.evolve(usual, endpoints=(endpoint(target="other.test:443"),)),
        attrs.evolve(usual, policy=Policy(internet=False)),
        attrs.evolve(usual, own=("203.0.113.9/32",)),
    ]
    assert len({one.tags() for one in (usual, *others)}) == 7


def test_a_tag_is_the_one_of_the_document() -> None:
    one = config(RUNTIME, endpoints=(endpoint(), endpoint(8443, key=OLD_KEY)))
    assert tuple(inbound["tag"] for inbound in one.document()["inbounds"][1:]) == one.tags()


def test_the_policy_is_before_what_is_allowed_and_that_before_what_is_never_open() -> None:
    made = rules(policy=Policy(closed=("127.0.0.2/32",)), allowed=("127.0.0.0/8",))
    assert [rule["outboundTag"] for rule in made] == ["api", "blocked", "direct", "blocked", "direct"]
    assert made[1]["ip"] == ["127.0.0.2/32"]
    assert made[2]["ip"] == ["127.0.0.0/8"]
    assert made[4]["ip"] == ["0.0.0.0/0", "::/0"]


def test_without_the_internet_nothing_is_open() -> None:
    document = config(RUNTIME, policy=Policy(internet=False)).document()
    assert {rule["outboundTag"] for rule in document["routing"]["rules"]} == {"api", "blocked"}
    # What no rule names.
    assert document["outbounds"][0]["protocol"] == "blackhole"


def test_closed_networks_are_closed_by_every_way_that_leads_there() -> None:
    closed = closed_networks(("8.8.8.0/24",), ("9.9.9.9/32", "2001:db9::1/128"))
    assert {"8.8.8.0/24", "64:ff9b::808:800/120", "2002:808:800::/40", "9.9.9.9/32", "2001:db9::1/128"} <= set(closed)
    assert set(closed) >= {str(network) for network in not_public()}


def test_what_is_of_the_internet_is_open() -> None:
    def is_open(text: str) -> bool:
        address = ipaddress.ip_address(text)
        return not any(address.version == network.version and address in network for network in not_public())

    for text in ("1.1.1.1", "192.0.1.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1", "2a00::1"):
        assert is_open(text), text
    for text in (
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1", "224.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1",
        "2002:a00:1::1", "2001::1", "3fff::1", "5f00::1", "fc00::1", "fe80::1", "fec0::1", "ff02::1",
    ):  # fmt: skip
        assert not is_open(text), text


@given(st.binary(min_size=16, max_size=16))
@quick
def test_user_ids_are_spelt_as_the_standard_library_does(user_id: bytes) -> None:
    assert spell_user_id(user_id) == str(uuid.UUID(bytes=user_id))


def test_keys_are_spelt_without_padding() -> None:
    assert spell_key(bytes(32)) == "A" * 43


def test_a_document_of_many_users_is_one_line_of_json() -> None:
    many = users(*(user(f"device-{number}", number) for number in range(1, 2_000)))
    data = render(config(RUNTIME, users=many).document())
    assert data.count(b"\n") == 1
    assert len(json.loads(data)["inbounds"][1]["settings"]["clients"]) == 1_999


def test_secrets_are_not_shown() -> None:
    shown = repr(config(RUNTIME))
    assert repr(ALICE.user_id) not in shown
    assert repr(OLD_KEY) not in shown
    assert "private_key" not in shown
    assert BOB.device_id in shown
