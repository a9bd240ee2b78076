import hashlib
import hmac
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pharos.wire.errors import LinkFormatError
from pharos.wire.ids import RelayId, TicketId
from pharos.wire.seal.ticket import (
    MAX_BEACONS,
    MAX_LINK,
    BeaconAddress,
    FleetLink,
    TicketLink,
    expand_ticket_secret,
)
from tests.support.strategies import quick

TICKET = TicketLink(
    beacons=(BeaconAddress(relay=RelayId("r1"), host="203.0.113.7", port=443),),
    root_hash=bytes(range(32)),
    helm_key=bytes(range(32, 64)),
    ticket_id=TicketId(bytes(range(8))),
    secret=bytes(range(100, 116)),
)
TEXT = (
    "pharosvpn://enroll?v=1&b=r1@203.0.113.7:443&r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    "&k=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8&t=AAECAwQFBgc&s=ZGVmZ2hpamtsbW5vcHFycw"
)
FLEET_TEXT = "pharosvpn://fleet?v=1&b=r1@203.0.113.7:443&r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
hosts = (
    st.lists(labels, min_size=1, max_size=4).map(".".join).filter(lambda host: not host.rpartition(".")[2].isdigit())
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(str)
)
beacons = st.builds(BeaconAddress, relay=labels.map(RelayId), host=hosts, port=st.integers(1, 65535))
tickets = st.builds(
    TicketLink,
    beacons=st.lists(beacons, min_size=1, max_size=3).map(tuple),
    root_hash=st.binary(min_size=32, max_size=32),
    helm_key=st.binary(min_size=32, max_size=32),
    ticket_id=st.binary(min_size=8, max_size=8).map(TicketId),
    secret=st.binary(min_size=16, max_size=16),
)


@quick
@given(ticket=tickets)
def test_a_rendered_ticket_is_read_again(ticket: TicketLink) -> None:
    assert TicketLink.parse(ticket.render()) == ticket


@quick
@given(chosen=st.lists(beacons, min_size=1, max_size=3), root_hash=st.binary(min_size=32, max_size=32))
def test_a_rendered_fleet_link_is_read_again(chosen: list[BeaconAddress], root_hash: bytes) -> None:
    link = FleetLink(beacons=tuple(chosen), root_hash=root_hash)
    assert FleetLink.parse(link.render()) == link
    assert link.fleet == root_hash.hex()[:16]


def test_the_pinned_spelling_of_version_1_holds() -> None:
    assert TICKET.render() == TEXT
    assert TicketLink.parse(TEXT) == TICKET
    assert TICKET.fleet == "0001020304050607"
    assert FleetLink(beacons=TICKET.beacons, root_hash=TICKET.root_hash).render() == FLEET_TEXT


def test_a_ticket_is_small_enough_to_scan() -> None:
    assert len(TEXT) <= 190


def test_the_largest_number_of_beacons_fits_a_link() -> None:
    long_name = BeaconAddress(relay=RelayId("beacon-west"), host="beacon-west.vpn.some-company.example", port=65535)
    ticket = attrs.evolve(TICKET, beacons=(long_name,) * MAX_BEACONS)
    assert len(ticket.render()) <= MAX_LINK
    assert TicketLink.parse(ticket.render()) == ticket


# The secret's last character carries two bits that decode to nothing; the one spelling covers them too.
@quick
@given(at=st.integers(0, len(TEXT) * 7 - 1))
@example(at=(len(TEXT) - 1) * 7)
def test_a_flipped_bit_is_refused_or_read_as_what_it_says(at: int) -> None:
    changed = bytearray(TEXT.encode())
    changed[at // 7] ^= 1 << (at % 7)
    text = changed.decode()
    try:
        read = TicketLink.parse(text)
    except LinkFormatError:
        return
    assert read != TICKET
    assert read.render() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pharosvpn://enroll?",
        "https://example.org/",
        TEXT + "\n",
        " " + TEXT,
        TEXT.upper(),
        TEXT + "=",
        TEXT + "&x=1",
        TEXT + "&s=ZGVmZ2hpamtsbW5vcHFycw",
        TEXT.replace("&t=AAECAwQFBgc", ""),
        TEXT.replace("&b=r1@203.0.113.7:443", ""),
        TEXT.replace("v=1&", "v=2&"),
        TEXT.replace("v=1&", ""),
        TEXT.replace("&k=", "&K="),
        TEXT.replace("b=r1@", "b=R1@"),
        TEXT.replace("b=r1@", "b=@"),
        TEXT.replace("r1@203.0.113.7:443", "r1@203.0.113.7"),
        TEXT.replace(":443", ":0443"),
        TEXT.replace(":443", ":65536"),
        TEXT.replace(":443", ":0"),
        TEXT.replace(":443", ":+443"),
        TEXT.replace("203.0.113.7", "203.0.113.999"),
        TEXT.replace("203.0.113.7", "203.0.113.007"),
        TEXT.replace("203.0.113.7", "[203.0.113.7]"),
        TEXT.replace("203.0.113.7", "2001:db8::1"),
        TEXT.replace("203.0.113.7", "[2001:db8:0::1]"),
        TEXT.replace("203.0.113.7", "[fe80::1%25eth0]"),
        TEXT.replace("203.0.113.7", "[fe80::1%eth0]"),
        TEXT.replace("203.0.113.7", "exa_mple.org"),
        TEXT.replace("203.0.113.7", "example.org."),
        TEXT.replace("203.0.113.7", "a." * 127 + "org"),
        TEXT.replace("&r=AAEC", "&r=AAE"),
        TEXT.replace("&r=AAEC", "&r=AAECAAEC"),
        TEXT.replace("&r=AAEC", "&r=AA%43"),
        FLEET_TEXT,
        TEXT + "&" * MAX_LINK,
    ],
)
def test_what_is_no_ticket_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(LinkFormatError) as caught:
        TicketLink.parse(text)
    assert "ZGVm" not in str(caught.value)
    assert caught.value.__cause__ is None


@quick
@given(junk=st.text(max_size=60))
def test_junk_is_no_link(junk: str) -> None:
    for kind, start in ((TicketLink, "pharosvpn://enroll?"), (FleetLink, "pharosvpn://fleet?")):
        with pytest.raises(LinkFormatError):
            kind.parse(start + junk)


def test_a_fleet_link_is_no_ticket_and_a_ticket_no_fleet_link() -> None:
    with pytest.raises(LinkFormatError):
        FleetLink.parse(TEXT)


def test_too_many_beacons_are_refused() -> None:
    text = TEXT.replace("&b=r1@203.0.113.7:443", "&b=r1@203.0.113.7:443" * (MAX_BEACONS + 1))
    with pytest.raises(LinkFormatError):
        TicketLink.parse(text)


@pytest.mark.parametrize(
    "changes",
    [{"secret": bytes(15)}, {"ticket_id": TicketId(bytes(7))}, {"root_hash": b""}, {"helm_key": b""}, {"beacons": ()}],
    ids=str,
)
def test_a_ticket_of_wrong_sizes_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Length|length"):
        attrs.evolve(TICKET, **changes)


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(TICKET) + repr(TICKET.keys())
    for secret in (TICKET.secret, TICKET.keys().psk, TICKET.keys().proof):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    assert "203.0.113.7" in shown


def test_the_secret_expands_by_rfc_5869_with_blake2s() -> None:
    keys = expand_ticket_secret(TICKET.secret, TICKET.ticket_id)
    extracted = hmac.digest(TICKET.ticket_id, TICKET.secret, "blake2s")
    first = hmac.digest(extracted, b"pharos/ticket/v1\x01", "blake2s")
    second = hmac.digest(extracted, first + b"pharos/ticket/v1\x02", "blake2s")
    assert (keys.psk, keys.proof) == (first, second)
    assert keys.psk.hex() == "22e2a8aae8f5685f5bf0f34c89f65884e3c827a392135589e44846b9f71bc451"
    assert keys.proof.hex() == "ef447ee1f1643c9a75b718334342203b5112f50ae10378133856829276f73ba0"
    assert keys.proof_hash == hashlib.sha256(second).digest()
    assert keys == TICKET.keys()


def test_another_ticket_id_gives_other_keys() -> None:
    other = expand_ticket_secret(TICKET.secret, TicketId(bytes(8)))
    assert other.psk != TICKET.keys().psk
    assert other.proof != TICKET.keys().proof
