"""A glance at an engine sees what reading its state whole sees, and whether anything else has changed."""

from __future__ import annotations

from ipaddress import ip_network

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.dataplane.glance import read_glance
from pharos.wire.awg.params import PLAIN
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.uapi import DeviceState, FaceState, PeerState
from pharos.wire.awg.uapiwrite import parse_reply, render_state
from pharos.wire.errors import RemoteProtocolError
from tests.buoy.dataplane.plans import BEFORE, NODE_KEY, NOW
from tests.support.strategies import keys, quick

peers = st.builds(
    PeerState,
    public_key=keys,
    preshared_key=keys,
    endpoint=st.sampled_from([None, ("198.51.100.7", 700), ("2001:db8::7", 7), ("fe80::1%eth0", 7)]),
    last_handshake_ns=st.integers(0, 2**62),
    sent_bytes=st.integers(0, 2**63),
    received_bytes=st.integers(0, 2**63),
    persistent_keepalive=st.sampled_from([None, Range(25, 25)]),
    allowed_ips=st.sampled_from([(), (ip_network("10.7.0.2"), ip_network("fd07::2"))]),
    send_rate=st.integers(0, 1000),
)
states = st.builds(
    DeviceState,
    private_key=st.sampled_from([bytes(32), NODE_KEY]),
    listen_port=st.integers(0, 65535),
    parameters=st.sampled_from([PLAIN, NOW]),
    faces=st.sampled_from([(), (FaceState(number=1, listen_port=8443, parameters=BEFORE),)]),
    peers=st.lists(peers, max_size=4, unique_by=lambda peer: peer.public_key).map(tuple),
)


@quick
@given(states)
def test_a_glance_sees_what_a_whole_reading_sees(state: DeviceState) -> None:
    text = render_state(state)
    whole, glance = parse_reply(text)[0], read_glance(text)
    assert (glance.errno, glance.has_key) == (0, any(whole.private_key))
    assert [
        (one.public_key, one.endpoint, one.last_handshake_ns, one.received, one.sent) for one in glance.sightings
    ] == [
        (one.public_key, one.endpoint, one.last_handshake_ns, one.received_bytes, one.sent_bytes) for one in whole.peers
    ]


@quick
@given(states, st.data())
def test_the_fingerprint_is_of_what_was_told_in_any_order(state: DeviceState, data: st.DataObject) -> None:
    moved = tuple(
        attrs.evolve(peer, endpoint=("192.0.2.1", 1), last_handshake_ns=7, sent_bytes=1, received_bytes=2)
        for peer in data.draw(st.permutations(state.peers))
    )
    before = read_glance(render_state(state)).fingerprint
    assert read_glance(render_state(attrs.evolve(state, peers=moved))).fingerprint == before
    others = [
        attrs.evolve(state, listen_port=(state.listen_port + 1) % 65536),
        attrs.evolve(state, peers=(*state.peers, PeerState(public_key=bytes(32)))),
    ]
    if state.peers:
        first, *rest = state.peers
        others += [
            attrs.evolve(state, peers=(attrs.evolve(first, **change), *rest))
            for change in (
                {"preshared_key": b"n" * 32},
                {"allowed_ips": (ip_network("10.9.0.0/16"),)},
                {"send_rate": 9999},
            )
        ]
    for other in others:
        assert read_glance(render_state(other)).fingerprint != before


PEER = f"public_key={'07' * 32}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "errno=0\n",
        "public_key=07\n\n",
        "private_key=07\nerrno=zero\n\n",
        "public_key=zz\nerrno=0\n\n",
        f"{PEER}rx_bytes=x\nerrno=0\n\n",
        f"{PEER}endpoint=nowhere\nerrno=0\n\n",
    ],
)
def test_a_reply_that_is_none_is_the_engines_fault(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_glance(text)


def test_the_errno_of_a_reply_is_read() -> None:
    assert read_glance("errno=-5\n\n").errno == 5
