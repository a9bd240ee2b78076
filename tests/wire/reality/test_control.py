"""The control socket's language: what is told, what is refused, and what never comes back."""

from __future__ import annotations

import errno
import ipaddress
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.control import (
    BadRequest,
    Change,
    GetRequest,
    UserChange,
    WatchRequest,
    read_place,
    render_event,
    write_place,
)
from pharos.wire.reality.controlread import MAX_LINE, ControlReader
from pharos.wire.reality.events import UserConnected, UserDisconnected
from pharos.wire.reality.vless import Flow
from tests.wire.reality.proxied import rechunked

ID = uuid.UUID("dabf1c7a-b0e8-431f-af3b-b7ee860e75ec")
WHOLE = f"""set=1
private_key={"11" * 32}
mldsa65_seed={"22" * 32}
target=www.site.test:443
server_names=www.site.test,site.test
short_ids=,0123456789abcdef
max_time_difference=60
oldest_version=26.3.27
newest_version=255.0.0
listen=0.0.0.0:443,[::]:443
allowed_networks=10.0.0.0/8,fd00::/8
replace_users=true
user=one
id={ID}
flow=xtls-rprx-vision
send_rate=1000
receive_rate=0
user=two
remove=true
user=three
kick=true
flow=none

"""
CHANGE = Change(
    private_key=b"\x11" * 32,
    mldsa65_seed=b"\x22" * 32,
    target="www.site.test:443",
    server_names=("www.site.test", "site.test"),
    short_ids=("", "0123456789abcdef"),
    max_time_difference=60,
    oldest_version=(26, 3, 27),
    newest_version=(255, 0, 0),
    listen=(("0.0.0.0", 443), ("::", 443)),
    allowed_networks=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")),
    replace_users=True,
    users=(
        UserChange(name="one", user_id=ID.bytes, flow=Flow.VISION, send_rate=1000, receive_rate=0),
        UserChange(name="two", remove=True),
        UserChange(name="three", kick=True, flow=Flow.NONE),
    ),
)


@given(st.lists(st.integers(1, 300), max_size=10))
def test_requests_are_read_in_any_pieces(sizes: list[int]) -> None:
    reader = ControlReader()
    found = []
    for piece in rechunked(b"get=1\n\n" + WHOLE.encode() + b"watch=1\n\n", sizes):
        found += reader.receive_data(piece)
    assert found == [GetRequest(), CHANGE, WatchRequest()]


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("private_key=11", errno.EINVAL),
        ("private_key=" + "zz" * 32, errno.EINVAL),
        ("mldsa65_seed=" + "11" * 31, errno.EINVAL),
        ("target=www.site.test", errno.EINVAL),
        ("server_names=*.site.test", errno.EINVAL),
        ("server_names=", errno.EINVAL),
        ("short_ids=abc", errno.EINVAL),
        ("short_ids=ab,ab00", errno.EINVAL),
        ("max_time_difference=-1", errno.EINVAL),
        ("max_time_difference=86401", errno.EINVAL),
        ("oldest_version=26.3", errno.EINVAL),
        ("oldest_version=26.3.256", errno.EINVAL),
        ("listen=www.site.test:443", errno.EINVAL),
        ("listen=1.2.3.4:65536", errno.EINVAL),
        ("listen=1.2.3.4:1,1.2.3.4:1", errno.EINVAL),
        ("allowed_networks=10.0.0.1/8", errno.EINVAL),
        ("replace_users=false", errno.EINVAL),
        ("user=", errno.EINVAL),
        ("user=two words", errno.EINVAL),
        ("user=a\nid=1", errno.EINVAL),
        ("user=a\nflow=", errno.EINVAL),
        ("user=a\nsend_rate=x", errno.EINVAL),
        ("user=a\ntarget=www.site.test:443", errno.EPROTO),
        ("id=1", errno.EPROTO),
        ("nonsense", errno.EPROTO),
        ("other=1", errno.EPROTO),
    ],
)
def test_a_value_that_breaks_its_rule_refuses_the_whole_request_and_is_not_quoted(line: str, number: int) -> None:
    [found] = ControlReader().receive_data(f"set=1\n{line}\nmax_time_difference=1\n\n".encode())
    assert isinstance(found, BadRequest)
    assert found.errno == number
    value = line.rpartition("=")[2]
    assert len(value) < 8 or value not in found.reason


def test_get_and_watch_take_no_keys() -> None:
    for operation in ("get=1", "watch=1"):
        [found] = ControlReader().receive_data(f"{operation}\ntarget=a.test:1\n\n".encode())
        assert isinstance(found, BadRequest)


def test_what_is_no_request_or_too_long_ends_the_connection() -> None:
    for data in (b"hello\n", b"set=1\n" + b"a" * (MAX_LINE + 1)):
        with pytest.raises(RemoteProtocolError):
            ControlReader().receive_data(data)


def test_a_later_request_changes_what_it_names_and_nothing_else() -> None:
    later = CHANGE.merged(Change(target="other.test:1", mldsa65_seed=b""))
    assert (later.target, later.mldsa65_seed) == ("other.test:1", b"")
    assert (later.private_key, later.listen) == (CHANGE.private_key, CHANGE.listen)


def test_no_secret_shows_in_a_change() -> None:
    shown = repr(CHANGE)
    for secret in (b"\x11" * 4, b"\x22" * 4, ID.bytes):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("text", ["1.2.3.4:0", "[2001:db8::1]:65535"])
def test_places_are_written_as_they_are_read(text: str) -> None:
    assert write_place(read_place(text)) == text


def test_events_are_lines_and_an_empty_one() -> None:
    connected = UserConnected(name="one", session=7, source="192.0.2.1", at_ns=5)
    assert render_event(connected) == "event=connected\nuser=one\nsession=7\nsource=192.0.2.1\nat_ns=5\n\n"
    ended = UserDisconnected(name="one", session=7, received_bytes=1, sent_bytes=2, kicked=True, at_ns=6)
    assert render_event(ended) == (
        "event=disconnected\nuser=one\nsession=7\nrx_bytes=1\ntx_bytes=2\nkicked=true\nat_ns=6\n\n"
    )
