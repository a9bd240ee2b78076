"""What a manager writes is what a node reads, and what it answers is understood."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.control import Change, UserChange, render_errno, render_event, render_state
from pharos.wire.reality.controlread import ControlReader
from pharos.wire.reality.controlwrite import END, parse_errno, parse_event, parse_state, render_change
from pharos.wire.reality.engine import RealityEngine
from pharos.wire.reality.events import UserConnected, UserDisconnected
from pharos.wire.reality.serving import RealityServer
from pharos.wire.reality.vless import Flow
from tests.support.strategies import quick

octets = st.binary(min_size=32, max_size=32)
networks = st.lists(st.sampled_from(["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]), unique=True).map(
    lambda found: tuple(map(ipaddress.ip_network, found))
)
users = st.builds(
    UserChange,
    name=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    remove=st.booleans(),
    kick=st.booleans(),
    user_id=st.none() | st.binary(min_size=16, max_size=16),
    flow=st.none() | st.sampled_from(list(Flow)),
    send_rate=st.none() | st.integers(0, 2**53),
    receive_rate=st.none() | st.integers(0, 2**53),
)
changes = st.builds(
    Change,
    private_key=st.none() | octets,
    mldsa65_seed=st.none() | st.just(b"") | octets,
    target=st.none() | st.just("www.site.test:443"),
    server_names=st.none() | st.just(("www.site.test", "site.test")),
    short_ids=st.none() | st.just(("", "ab")),
    max_time_difference=st.none() | st.integers(0, 86_400),
    oldest_version=st.none() | st.just((26, 3, 27)),
    listen=st.none() | st.just(()) | st.just((("127.0.0.1", 443), ("::1", 0))),
    allowed_networks=st.none() | networks,
    closed_networks=st.none() | networks,
    internet=st.none() | st.booleans(),
    replace_users=st.booleans(),
    users=st.lists(users, max_size=3).map(tuple),
)


@quick
@given(changes)
def test_change_is_read_as_it_was_written(change: Change) -> None:
    assert ControlReader().receive_data(render_change(change)) == [change]


@pytest.mark.parametrize(
    "event",
    [
        UserConnected(name="phone", session=3, source="192.0.2.7", at_ns=17),
        UserDisconnected(name="phone", session=3, received_bytes=5, sent_bytes=7, kicked=True, at_ns=18),
    ],
)
def test_event_is_read_as_it_was_written(event: UserConnected | UserDisconnected) -> None:
    assert parse_event(render_event(event).encode().removesuffix(END)) == event


def test_event_of_a_newer_node_is_passed_over() -> None:
    assert parse_event(b"event=promoted\nuser=phone") is None
    assert parse_event(b"errno=0") is None


@pytest.mark.parametrize("text", [b"event=connected", b"event=connected\nuser=a\nsession=x\nsource=b\nat_ns=1"])
def test_event_that_does_not_fit_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_event(text)


def test_errno_is_read_as_it_was_written() -> None:
    assert parse_errno(render_errno(22).encode()) == 22
    for reply in (b"", b"errno=\n\n", b"errno=x\n\n", b"listen=\n\n"):
        with pytest.raises(RemoteProtocolError):
            parse_errno(reply)


async def test_state_is_read_as_it_was_written() -> None:
    engine = RealityEngine(RealityServer())
    change = Change(users=(UserChange(name="phone", user_id=bytes(16), flow=Flow.VISION),))
    assert engine.apply(change) == 0
    seen = parse_state(render_state(engine.state()).encode())
    (user,) = seen.users
    assert (user.name, user.sessions, user.received_bytes, user.sent_bytes) == ("phone", 0, 0, 0)
    with pytest.raises(RemoteProtocolError):
        parse_state(b"user=phone\nsessions=x\n")
