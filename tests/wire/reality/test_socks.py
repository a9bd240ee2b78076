import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import SOCKS, Address
from pharos.wire.reality.socks import (
    AssociateRequest,
    ConnectRequest,
    Credentials,
    Reply,
    SocksServer,
    parse_datagram,
    render_datagram,
)
from pharos.wire.reality.xudp import Datagram
from tests.support.strategies import quick
from tests.wire.reality.proxied import addresses, rechunked

ADA = Credentials(b"ada", b"secret")
TARGET = Address("example.test", 443)
CONNECT = b"\5\1\0" + SOCKS.render(TARGET)


def feed(machine: SocksServer, data: bytes, sizes: list[int] | None = None):
    found = [request for piece in rechunked(data, sizes or []) if (request := machine.receive_data(piece))]
    return found, machine.take_output()


@quick
@given(addresses, st.booleans(), st.lists(st.integers(1, 9)))
def test_a_request_is_read_however_it_is_cut(address, with_password, sizes):
    machine = SocksServer(ADA if with_password else None)
    password = b"\1\3ada\6secret" if with_password else b""
    found, output = feed(machine, b"\5\2\0\2" + password + b"\5\1\0" + SOCKS.render(address), sizes)
    assert found == [ConnectRequest(address)]
    assert output == (b"\5\2\1\0" if with_password else b"\5\0")
    assert machine.succeed() == b"\5\0\0\1" + bytes(6)


@quick
@given(st.lists(st.binary(max_size=30), max_size=8), st.booleans(), st.integers(0, 2))
def test_any_octets_are_taken_or_refused(pieces, with_password, how_far):
    machine = SocksServer(ADA if with_password else None)
    begin = [b"", b"\5\2\0\2", b"\5\2\0\2" + (b"\1\3ada\6secret" if with_password else b"")][how_far]
    try:
        for piece in [begin, *pieces]:
            machine.receive_data(piece)
    except RemoteProtocolError:
        assert machine.take_output()[:1] in (b"", b"\5", b"\1")


def test_what_a_client_says_early_is_kept_for_the_tunnel():
    machine = SocksServer()
    found, _ = feed(machine, b"\5\1\0" + CONNECT + b"GET /")
    assert found == [ConnectRequest(TARGET)]
    assert machine.take_early() == b"GET /"
    assert machine.take_early() == b""


@pytest.mark.parametrize(
    ("announced", "port"),
    [("0.0.0.0", 0), ("127.0.0.1", 0), ("127.0.0.1", 5353), ("::", 0), ("localhost", 9)],
)
def test_an_association_may_announce_a_port_or_none(announced, port):
    address = SOCKS.render(Address(announced, port or 1))[:-2] + port.to_bytes(2, "big")
    machine = SocksServer()
    found, _ = feed(machine, b"\5\1\0\5\3\0" + address)
    assert found == [AssociateRequest(port)]
    assert machine.succeed(Address("127.0.0.1", 1080)) == b"\5\0\0\1\x7f\0\0\1\x04\x38"


@pytest.mark.parametrize(
    ("data", "output", "what"),
    [
        (b"\4\1\0\x50\1\2\3\4\0", b"", "version 4"),
        (b"GET / HTTP/1.1\r\n", b"", "version 71"),
        (b"\5\0", b"\5\xff", "does not offer to go without"),
        (b"\5\1\2", b"\5\xff", "does not offer to go without"),
        (b"\5\1\0\4", b"\5\0" + b"\5\1\0\1" + bytes(6), "version 4"),
        (b"\5\1\0\5\2\0\1", b"\5\0" + b"\5\7\0\1" + bytes(6), "no command 2"),
        (b"\5\1\0\5\x09", b"\5\0" + b"\5\7\0\1" + bytes(6), "no command 9"),
        (b"\5\1\0\5\1\1", b"\5\0" + b"\5\1\0\1" + bytes(6), "reserved"),
        (b"\5\1\0\5\1\0\2", b"\5\0" + b"\5\x08\0\1" + bytes(6), "2 is no type of address"),
        (b"\5\1\0\5\1\0\3\1 \0\x50", b"\5\0" + b"\5\1\0\1" + bytes(6), "not a domain name"),
        (b"\5\1\0\5\1\0\1\1\2\3\4\0\0", b"\5\0" + b"\5\1\0\1" + bytes(6), "port 0"),
    ],
)
def test_a_refusal_has_its_own_reply_and_reason(data, output, what):
    machine = SocksServer()
    with pytest.raises(RemoteProtocolError, match=what):
        machine.receive_data(data)
    assert machine.take_output() == output
    # Whatever comes now is not looked at any more.
    assert machine.receive_data(b"\5\1\0" + CONNECT) is None
    with pytest.raises(LocalProtocolError, match="no request"):
        machine.succeed()


@pytest.mark.parametrize(
    ("data", "output", "what"),
    [
        (b"\5\1\0", b"\5\xff", "does not offer user name"),
        (b"\5\1\2\1\3ada\5wrong", b"\5\2\1\1", "wrong user name or password"),
        (b"\5\1\2\1\3eve\6secret", b"\5\2\1\1", "wrong user name or password"),
        (b"\5\1\2\1\0\0", b"\5\2\1\1", "wrong user name or password"),
        (b"\5\1\2\5", b"\5\2", "version 5 of passwords"),
    ],
)
def test_whoever_lacks_the_password_comes_no_further(data, output, what):
    machine = SocksServer(ADA)
    with pytest.raises(RemoteProtocolError, match=what):
        machine.receive_data(data + CONNECT)
    assert machine.take_output() == output


def test_one_request_gets_one_answer():
    machine = SocksServer()
    with pytest.raises(LocalProtocolError, match="no request"):
        machine.fail(Reply.NOT_ALLOWED)
    feed(machine, b"\5\1\0" + CONNECT)
    assert machine.fail(Reply.NOT_ALLOWED) == b"\5\2\0\1" + bytes(6)
    with pytest.raises(LocalProtocolError, match="no request"):
        machine.succeed()


@quick
@given(addresses, st.binary(max_size=50))
def test_a_datagram_survives_its_way(address, data):
    datagram = Datagram(address, data)
    assert parse_datagram(render_datagram(datagram)) == datagram


@quick
@given(st.binary(max_size=60), st.booleans())
def test_any_octets_are_a_datagram_or_refused(data, plausible):
    try:
        parse_datagram(bytes(3) + data if plausible else data)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"", "two zeros"), (b"\0\1\0", "two zeros"), (b"\0\0\1", "fragments"), (bytes(3) + b"\1\1", "cut off")],
)
def test_a_damaged_datagram_is_refused_with_its_reason(data, what):
    with pytest.raises(RemoteProtocolError, match=what):
        parse_datagram(data)


def test_credentials_are_whole_and_do_not_show_the_password():
    assert "secret" not in repr(ADA)
    for wrong in ((b"", b"x"), (b"x", b""), (b"x" * 256, b"x")):
        with pytest.raises(LocalProtocolError):
            Credentials(*wrong)
    assert ADA.are(b"ada", b"secret")
    assert not ADA.are(b"ada", b"")
    assert not ADA.are(b"", b"secret")
