import base64
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.connect import MAX_HEAD, ConnectServer
from pharos.wire.reality.socks import Credentials
from tests.support.strategies import quick
from tests.wire.reality.proxied import addresses, rechunked

ADA = Credentials(b"ada", b"sec:ret")


def request(target: str = "example.test:443", *headers: str, method: str = "CONNECT") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: example.test", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def basic(pair: bytes) -> str:
    return f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}"


@quick
@given(addresses, st.lists(st.integers(1, 40)))
def test_a_request_is_read_however_it_is_cut(address, sizes):
    machine = ConnectServer()
    pieces = rechunked(request(str(address)), sizes)
    assert [found for piece in pieces if (found := machine.receive_data(piece))] == [address]
    assert machine.succeed() == b"HTTP/1.1 200 Connection established\r\n\r\n"


@quick
@given(st.lists(st.binary(max_size=60), max_size=6), st.sampled_from([b"", b"CONNECT ", request()[:-2], b"GET / "]))
def test_any_octets_are_taken_or_refused_with_an_answer(pieces, begin):
    machine = ConnectServer(ADA)
    try:
        for piece in [begin, *pieces]:
            machine.receive_data(piece)
    except RemoteProtocolError:
        assert machine.take_output().startswith(b"HTTP/1.1 4")


def test_what_a_client_says_early_is_kept_for_the_tunnel():
    machine = ConnectServer()
    assert machine.receive_data(request() + b"\x16\3\1 hello") == Address("example.test", 443)
    assert machine.take_early() == b"\x16\3\1 hello"
    assert machine.succeed().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("data", "status", "what"),
    [
        (b"\x16\3\1\0\5hello\r\n\r\n", 400, "illegal"),
        (b"CONNECT a.test:1 HTTP/1.1\r\n\r\n", 400, "Host"),
        (request("/", method="GET"), 405, "only CONNECT"),
        (request("http://a.test/", "Content-Length: 3", method="POST"), 405, "only CONNECT"),
        (request("a.test"), 400, "host and a port"),
        (request("a.test:0"), 400, "host and a port"),
        (request("a.test:65536"), 400, "host and a port"),
        (request("a.test:+1"), 400, "host and a port"),
        (request("a.test:1 1"), 400, "illegal"),
        (request("http://a.test:1"), 400, "host and a port"),
        (request("::1:443"), 400, "host and a port"),
        (request("[a.test]:443"), 400, "host and a port"),
        (request("[fe80::1%25eth0]:443"), 400, "host and a port"),
        (request(":443"), 400, "host and a port"),
        (b"CONNECT a.test:1 HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, 431, "long"),
    ],
)
def test_a_refusal_has_its_own_status_and_reason(data, status, what):
    machine = ConnectServer()
    with pytest.raises(RemoteProtocolError, match=what):
        machine.receive_data(data)
    output = machine.take_output()
    assert output.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nConnection: close\r\n" in output
    assert (b"Allow: CONNECT" in output) == (status == 405)
    with pytest.raises(LocalProtocolError, match="no request"):
        machine.succeed()


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Proxy-Authorization: Basic",),
        ("Proxy-Authorization: Basic ###",),
        ("Proxy-Authorization: Bearer YWRhOnNlYzpyZXQ=",),
        (basic(b"ada"),),
        (basic(b"ada:wrong"),),
        (basic(b"eve:sec:ret"),),
        (basic(b"ada:sec:ret"), basic(b"ada:sec:ret")),
        (basic(b"ada:sec:ret").replace("Proxy-", ""),),
    ],
)
def test_whoever_lacks_the_password_is_asked_for_it(headers):
    machine = ConnectServer(ADA)
    with pytest.raises(RemoteProtocolError, match="credentials"):
        machine.receive_data(request("a.test:1", *headers))
    output = machine.take_output()
    assert output.startswith(b"HTTP/1.1 407 ")
    assert b'Proxy-Authenticate: Basic realm="pharos"' in output


def test_whoever_has_the_password_comes_in():
    for header in (basic(b"ada:sec:ret"), basic(b"ada:sec:ret").replace("Basic", "bASIC")):
        assert ConnectServer(ADA).receive_data(request("a.test:1", header)) == Address("a.test", 1)


def test_one_request_gets_one_answer():
    machine = ConnectServer()
    with pytest.raises(LocalProtocolError, match="no request"):
        machine.fail(HTTPStatus.BAD_GATEWAY)
    machine.receive_data(request())
    output = machine.fail(HTTPStatus.BAD_GATEWAY)
    assert output.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert output.endswith(b"\r\n\r\n502 Bad Gateway\n")
    with pytest.raises(LocalProtocolError, match="no request"):
        machine.succeed()
