"""Names are meant or not, and what an answer says of one is read along its aliases, and of no other."""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.system.splitnames import (
    GRACE,
    MAX_ADDRESSES,
    MAX_LEARNT,
    MAX_TTL,
    MIN_TTL,
    Learnt,
    Names,
    read_answer,
    usable,
)

HEAD = (
    "id 1\nopcode QUERY\nrcode NOERROR\nflags QR RD RA\n;QUESTION\n{} IN {}\n;ANSWER\n{}\n;AUTHORITY\n;ADDITIONAL\n{}\n"
)


def read(name: str, kind: str, answer: str, additional: str = "") -> Learnt:
    return read_answer(dns.message.from_text(HEAD.format(name, kind, answer, additional)))


def addresses(learnt: Learnt) -> list[str]:
    return [str(one) for one in learnt.addresses]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("example.org", True),
        ("www.example.org", True),
        ("a.b.example.org", True),
        ("badexample.org", False),
        ("org", False),
        ("example.net", False),
        ("a.example.net", True),
        ("", False),
    ],
)
def test_a_domain_means_itself_and_what_is_below_and_a_star_what_is_below(name: str, meant: bool) -> None:
    assert Names(["example.org", "*.example.net"]).match(name, 0.0) is meant


def test_what_stands_for_a_name_is_meant_until_its_time_is_over() -> None:
    names = Names(["example.org"])
    names.learn(["edge.cdn.net"], 10.0)
    names.learn(["edge.cdn.net"], 5.0)
    assert names.match("edge.cdn.net", 9.0)
    assert not names.match("edge.cdn.net", 10.0)
    assert not names.match("below.edge.cdn.net", 9.0)


def test_no_more_names_are_learnt_than_there_is_room_for() -> None:
    names = Names([])
    names.learn((f"n{number}.net" for number in range(MAX_LEARNT + 1)), 10.0)
    assert not names.match("n0.net", 1.0)
    assert names.match("n1.net", 1.0)
    assert names.match(f"n{MAX_LEARNT}.net", 1.0)


def test_addresses_are_found_along_aliases_and_those_of_strangers_are_not() -> None:
    learnt = read(
        "www.example.org.",
        "A",
        "www.example.org. 300 IN CNAME edge.cdn.net.\nedge.cdn.net. 400 IN CNAME pop.cdn.net.\n"
        "pop.cdn.net. 200 IN A 192.0.2.1\nvictim.net. 300 IN A 192.0.2.99",
        "other.net. 300 IN A 192.0.2.98",
    )
    assert addresses(learnt) == ["192.0.2.1"]
    assert learnt.aliases == ("edge.cdn.net", "pop.cdn.net")
    assert learnt.ttl == 200 + GRACE


def test_hints_of_services_count_and_so_do_their_targets() -> None:
    learnt = read(
        "example.org.",
        "HTTPS",
        "example.org. 300 IN HTTPS 1 svc.example.net. alpn=h3 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1",
        "svc.example.net. 300 IN A 192.0.2.3\nvictim.net. 300 IN A 192.0.2.99",
    )
    assert addresses(learnt) == ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"]
    assert learnt.aliases == ("svc.example.net",)


def test_a_service_that_is_its_own_target_is_no_alias() -> None:
    assert read("example.org.", "HTTPS", "example.org. 300 IN HTTPS 1 . alpn=h2").aliases == ()


def test_aliases_in_a_circle_end() -> None:
    learnt = read("a.org.", "A", "a.org. 300 IN CNAME b.org.\nb.org. 300 IN CNAME a.org.")
    assert addresses(learnt) == []
    assert set(learnt.aliases) == {"a.org", "b.org"}


@pytest.mark.parametrize(("said", "kept"), [(0, MIN_TTL + GRACE), (60, 60 + GRACE), (10**9, MAX_TTL)])
def test_a_time_is_no_shorter_than_programs_keep_to_and_no_longer_than_a_day(said: int, kept: float) -> None:
    assert read("a.org.", "A", f"a.org. {said} IN A 192.0.2.1").ttl == kept


def test_an_answer_has_no_more_addresses_than_are_looked_at() -> None:
    records = "\n".join(f"a.org. 300 IN A 192.0.{number // 250}.{number % 250}" for number in range(300))
    assert len(read("a.org.", "A", records).addresses) == MAX_ADDRESSES


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "ff02::1", "169.254.1.1"])
def test_addresses_of_this_machine_and_of_many_are_led_nowhere(address: str) -> None:
    assert not usable(ipaddress.ip_address(address))
    assert usable(ipaddress.ip_address("192.168.1.1"))


@given(st.binary(max_size=400))
def test_any_answer_is_read_or_refused(data: bytes) -> None:
    try:
        message = dns.message.from_wire(b"\0\1\x81\x80\0\1\0\2\0\0\0\1" + data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return
    assert len(read_answer(message).addresses) <= MAX_ADDRESSES
