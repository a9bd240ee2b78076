import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.vless import (
    MAX_REQUEST,
    Command,
    Flow,
    Request,
    parse_request,
    parse_response,
    render_response,
)
from tests.support.strategies import quick
from tests.wire.reality.proxied import TARGET, USER_ID, addresses

ids = st.binary(min_size=16, max_size=16)
requests = st.one_of(
    st.builds(Request, user_id=ids, command=st.just(Command.TCP), target=addresses, flow=st.sampled_from(Flow)),
    st.builds(Request, user_id=ids, command=st.just(Command.UDP), target=addresses, flow=st.just(Flow.NONE)),
    st.builds(Request, user_id=ids, command=st.just(Command.MUX), target=st.none(), flow=st.sampled_from(Flow)),
)


def request_with(addons: bytes, rest: bytes = b"\3") -> bytes:
    return b"\0" + USER_ID + bytes((len(addons),)) + addons + rest


@quick
@given(requests, st.binary(max_size=20))
def test_a_request_survives_its_way_and_its_payload_is_left(request, payload):
    data = request.render()
    assert parse_request(data + payload) == (request, len(data))
    assert all(parse_request(data[:size]) is None for size in range(len(data)))
    assert len(data) <= MAX_REQUEST


@quick
@given(st.binary(max_size=600), st.booleans())
def test_any_octets_are_a_request_the_beginning_of_one_or_refused(data, plausible):
    data = b"\0" + data if plausible else data
    for parse in (parse_request, parse_response):
        try:
            found = parse(data)
        except RemoteProtocolError:
            continue
        assert found is not None or len(data) < MAX_REQUEST


@pytest.mark.parametrize(
    ("request_", "octets"),
    [
        # As Xray was seen to take them.
        (
            Request(user_id=USER_ID, command=Command.TCP, target=Address("127.77.0.1", 44380), flow=Flow.NONE),
            f"00{USER_ID.hex()}0001ad5c017f4d0001",
        ),
        (
            Request(user_id=USER_ID, command=Command.MUX, target=None, flow=Flow.VISION),
            f"00{USER_ID.hex()}120a10{b'xtls-rprx-vision'.hex()}03",
        ),
        (
            Request(user_id=USER_ID, command=Command.UDP, target=Address("a.test", 53), flow=Flow.NONE),
            f"00{USER_ID.hex()}000200350206{b'a.test'.hex()}",
        ),
    ],
)
def test_octets_of_a_request_are_those_of_the_protocol(request_, octets):
    assert request_.render().hex() == octets


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\1", "version 1"),
        (request_with(b"", b"\4"), "no command 4"),
        (request_with(b"", b"\0"), "no command 0"),
        (request_with(b"", b"\1\0\x50\7"), "7 is no type of address"),
        (request_with(b"\x0a\x03abc"), "no flow b'abc'"),
        (request_with(b"\x0a\x05abc"), "field 1 of the addons is cut off"),
        (request_with(b"\x0a"), "cut off or too long"),
        (request_with(b"\x08\x01"), "the flow is a text"),
        (request_with(b"\x0b"), "field 1 of the addons is of no type"),
        (request_with(b"\x02\x00"), "a field 0"),
        (request_with(b"\x19" + bytes(7)), "field 3 of the addons is cut off"),
        (request_with(b"\x80" * 11), "cut off or too long"),
        (request_with(b"\x0a\x10xtls-rprx-vision", b"\2\0\x50\1\1\1\1\1"), "Vision carries no UDP"),
    ],
)
def test_a_refusal_says_what_is_wrong(data, what):
    with pytest.raises(RemoteProtocolError, match=what):
        parse_request(data)


def test_addons_we_do_not_know_are_passed_over_and_the_last_flow_counts():
    vision = b"\x0a\x10xtls-rprx-vision"
    # A varint of 64 bits, eight octets, four octets, and the seed that Vision once had.
    others = b"\x18" + b"\xff" * 9 + b"\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4) + b"\x12\x02se"
    found = parse_request(request_with(others + b"\x0a\x00" + vision))
    assert found is not None
    assert found[0].flow is Flow.VISION
    found = parse_request(request_with(vision + b"\x0a\x00"))
    assert found is not None
    assert found[0].flow is Flow.NONE


def test_a_response_is_read_to_its_end_and_its_addons_are_passed_over():
    assert render_response() == b"\0\0"
    assert parse_response(b"\0\0payload") == 2
    assert parse_response(b"\0\2\x12\0x") == 4
    assert [parse_response(data) for data in (b"", b"\0", b"\0\2\x12")] == [None] * 3
    with pytest.raises(RemoteProtocolError, match="version 72"):
        parse_response(b"HTTP/1.1 400 Bad Request\r\n")


def test_we_make_no_request_that_contradicts_itself():
    for wrong in (
        {"command": Command.MUX, "target": TARGET, "flow": Flow.NONE},
        {"command": Command.TCP, "target": None, "flow": Flow.NONE},
        {"command": Command.UDP, "target": TARGET, "flow": Flow.VISION},
        {"user_id": b"short", "command": Command.TCP, "target": TARGET, "flow": Flow.NONE},
    ):
        with pytest.raises(LocalProtocolError):
            Request(**{"user_id": USER_ID} | wrong)


def test_a_request_does_not_show_its_user_id():
    request = Request(user_id=USER_ID, command=Command.TCP, target=TARGET, flow=Flow.NONE)
    assert "user_id" not in repr(request)
