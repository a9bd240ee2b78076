import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import SOCKS, VLESS, Address, UnknownAddressTypeError, canonical_host
from tests.support.strategies import quick
from tests.wire.reality.proxied import addresses

forms = st.sampled_from([VLESS, SOCKS])


@quick
@given(forms, addresses, st.binary(max_size=20))
def test_an_address_survives_its_way_and_what_follows_it_is_left(form, address, rest):
    data = form.render(address)
    assert form.parse(b"xx" + data + rest, 2) == (address, 2 + len(data))
    assert all(form.parse(data[:size]) is None for size in range(len(data)))


@quick
@given(forms, st.binary(max_size=300))
def test_any_octets_are_an_address_the_beginning_of_one_or_refused(form, data):
    try:
        found = form.parse(data)
    except RemoteProtocolError:
        return
    if found is not None:
        address, end = found
        assert end <= len(data)
        assert form.parse(form.render(address)) == (address, len(form.render(address)))


@pytest.mark.parametrize(
    ("form", "address", "octets"),
    [
        (VLESS, Address("198.51.100.7", 443), "01bb01c6336407"),
        (VLESS, Address("a.test", 80), "00500206612e74657374"),
        (VLESS, Address("2001:db8::7", 443), "01bb0320010db8000000000000000000000007"),
        (SOCKS, Address("198.51.100.7", 443), "01c633640701bb"),
        (SOCKS, Address("a.test", 80), "0306612e746573740050"),
        (SOCKS, Address("2001:db8::7", 443), "0420010db800000000000000000000000701bb"),
    ],
)
def test_octets_are_those_of_the_protocols(form, address, octets):
    assert form.render(address).hex() == octets


def test_a_name_that_spells_an_ip_address_is_one():
    assert VLESS.parse(b"\0\x50\2\x07" + b"1.2.3.4") == (Address("1.2.3.4", 80), 11)
    assert VLESS.parse(b"\0\x50\2\x03" + b"::1") == (Address("::1", 80), 7)


@pytest.mark.parametrize("name", [b"", b"a b", b"a\nb", b"\xff", b"a/b", b"[::1]", b"fe80::1%eth0", b"-a"])
def test_a_name_that_no_resolver_knows_is_refused(name):
    with pytest.raises(RemoteProtocolError, match="not a domain name"):
        VLESS.parse(b"\0\x50\2" + bytes((len(name),)) + name)


def test_an_unknown_type_and_port_0_are_refused():
    with pytest.raises(UnknownAddressTypeError, match="9 is no type of address"):
        SOCKS.parse(b"\x09")
    with pytest.raises(RemoteProtocolError, match="port 0"):
        VLESS.parse(b"\0\0\1\1\2\3\4")


@pytest.mark.parametrize(("host", "port"), [("a.test", 0), ("a.test", 65536), ("", 80), ("::0", 80), ("a b", 80)])
def test_we_make_no_address_that_a_peer_would_refuse(host, port):
    with pytest.raises(LocalProtocolError):
        Address(host, port)


def test_an_address_is_written_as_people_write_it():
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("a.test", 80)) == "a.test:80"
    assert canonical_host("0:0::1") == "::1"
