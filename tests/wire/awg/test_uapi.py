import errno

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.events import (
    HandshakeCompleted,
    HandshakeGaveUp,
    PeerCounted,
    PeerEndpointChanged,
    SessionEnded,
)
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.uapi import (
    OFF,
    BadRequest,
    DeviceChange,
    DeviceState,
    FaceChange,
    FaceState,
    GetRequest,
    PeerChange,
    PeerState,
    WatchRequest,
    changed_parameters,
    parameter_changes,
)
from pharos.wire.awg.uapievents import parse_event, render_event
from pharos.wire.awg.uapiread import MAX_LINE_BYTES, UapiReader
from pharos.wire.awg.uapiwrite import parse_reply, render_change, render_errno, render_state
from pharos.wire.errors import ParameterError, RemoteProtocolError
from tests.support.strategies import keys, quick
from tests.wire.awg.confs import all_parameters, keepalives, ports, v4_networks, v6_networks

KEY = "11" * 32
OTHER = "22" * 32

marks = st.integers(0, 2**32 - 1)
counts = st.integers(0, 2**53)
endpoints = st.none() | st.tuples(st.ip_addresses().map(str) | st.just("fe80::1%eth0"), ports)
networks = st.lists(v4_networks | v6_networks, max_size=3).map(tuple)
parameter_sets = st.builds(parameter_changes, all_parameters, all_parameters)

peer_changes = st.builds(
    PeerChange,
    public_key=keys,
    remove=st.booleans(),
    update_only=st.booleans(),
    preshared_key=st.none() | keys,
    endpoint=endpoints,
    persistent_keepalive=keepalives | st.just(OFF),
    replace_allowed_ips=st.booleans(),
    allowed_ips=networks,
    removed_ips=networks,
    send_rate=st.none() | counts,
    receive_rate=st.none() | counts,
)
faces = st.builds(
    FaceChange,
    number=st.integers(1, 255),
    remove=st.booleans(),
    listen_port=st.none() | ports,
    parameters=parameter_sets,
)
changes = st.builds(
    DeviceChange,
    private_key=st.none() | keys,
    listen_port=st.none() | ports,
    fwmark=st.none() | marks,
    parameters=parameter_sets,
    faces=st.lists(faces, max_size=2).map(tuple),
    replace_peers=st.booleans(),
    peers=st.lists(peer_changes, max_size=3).map(tuple),
)
peer_states = st.builds(
    PeerState,
    public_key=keys,
    preshared_key=keys,
    endpoint=endpoints,
    last_handshake_ns=st.integers(0, 2**62),
    sent_bytes=counts,
    received_bytes=counts,
    persistent_keepalive=keepalives,
    allowed_ips=networks,
    send_rate=counts,
    receive_rate=counts,
)
states = st.builds(
    DeviceState,
    private_key=keys,
    listen_port=ports,
    fwmark=marks,
    parameters=all_parameters,
    faces=st.lists(
        st.builds(FaceState, number=st.integers(1, 255), listen_port=ports, parameters=all_parameters), max_size=2
    ).map(tuple),
    peers=st.lists(peer_states, max_size=3).map(tuple),
)


def requests_of(text: str) -> list[object]:
    return list(UapiReader().receive_data(text.encode()))


@quick
@given(changes, st.integers(1, 5000))
def test_a_change_survives_its_request_in_pieces_of_any_size(change, size):
    data = render_change(change, Generation.V3_1, ours=True).encode()
    reader = UapiReader()
    received = [request for at in range(0, len(data), size) for request in reader.receive_data(data[at : at + size])]
    assert received == [change]


@quick
@given(states)
def test_a_state_survives_its_reply(state):
    assert parse_reply(render_state(state)) == (state, 0)


@quick
@given(all_parameters, all_parameters)
def test_the_changes_from_one_set_to_another_make_the_other(old, new):
    change = DeviceChange(parameters=parameter_changes(old, new))
    (received,) = requests_of(render_change(change, Generation.V3_1))
    assert isinstance(received, DeviceChange)
    assert changed_parameters(old, received.parameters) == new


def test_requests_of_one_connection_come_in_order():
    assert requests_of("get=1\n\nset=1\nfwmark=7\n\nwatch=1\n\nset=1\nfwmark=x\n\nget=1\n\nset=1\n") == [
        GetRequest(),
        DeviceChange(fwmark=7),
        WatchRequest(),
        BadRequest(errno.EINVAL, "'fwmark': must be a whole number from 0 to 4294967295"),
        GetRequest(),
    ]


def test_what_the_tools_send_is_understood():
    (change,) = requests_of(
        f"set=1\nprivate_key={KEY}\nlisten_port=0\nreplace_peers=true\njc=4\nh1=5-9\nh2=0\ns4=0\ni1=\ni2=<t>\n"
        f"header_protection_key={'0' * 64}\nrekey_timeout=0\nrandom_trailers=true\ndisable_cookies=0\n"
        f"public_key={KEY}\nremove=true\npublic_key={OTHER}\nupdate_only=true\nprotocol_version=1\n"
        f"endpoint=[::1]:7\npersistent_keepalive_interval=0\nallowed_ip=10.0.0.1/8\nreplace_allowed_ips=true\n"
        f"allowed_ip=10.0.0.5/8\nallowed_ip=+fd00::/64\nallowed_ip=-10.1.0.0/16\n\n"
    )
    assert isinstance(change, DeviceChange)
    assert (change.private_key, change.listen_port, change.replace_peers) == (bytes.fromhex(KEY), 0, True)
    assert changed_parameters(ObfuscationParameters(h2=700, s4=20, i1="<t>"), change.parameters) == (
        ObfuscationParameters(jc=4, h1="5-9", i2="<t>", random_trailers=True)
    )
    assert [peer.remove for peer in change.peers] == [True, False]
    peer = change.peers[1]
    assert (peer.update_only, peer.endpoint, peer.persistent_keepalive) == (True, ("::1", 7), OFF)
    assert [str(network) for network in peer.allowed_ips] == ["10.0.0.0/8", "fd00::/64"]
    assert [str(network) for network in peer.removed_ips] == ["10.1.0.0/16"]


@pytest.mark.parametrize(
    ("lines", "number", "reason"),
    [
        ("bogus=1", errno.EINVAL, "'bogus': no such key here"),
        ("fwmark", errno.EPROTO, "key=value"),
        ("", errno.EPROTO, ""),
        ("listen_port=65536", errno.EINVAL, "from 0 to 65535"),
        ("private_key=00", errno.EINVAL, "64 digits"),
        ("replace_peers=false", errno.EINVAL, "must be true"),
        ("h1=5-", errno.EINVAL, "a range of two"),
        ("i1=<x>", errno.EINVAL, "must be a sequence"),
        ("jc=-1", errno.EINVAL, "whole number"),
        ("random_trailers=maybe", errno.EINVAL, "on or off"),
        ("endpoint=1.2.3.4:5", errno.EINVAL, "no such key here"),
        ("face=0", errno.EINVAL, "from 1 to 255"),
        ("face_listen_port=7", errno.EINVAL, "no such key here"),
        (f"public_key={KEY}\nlisten_port=7", errno.EINVAL, "no such key here"),
        (f"public_key={KEY}\njc=7", errno.EINVAL, "no such key here"),
        (f"public_key={KEY[2:]}", errno.EINVAL, "64 digits"),
        (f"public_key={KEY}\nendpoint=host.example:5", errno.EINVAL, "numeric IP address"),
        (f"public_key={KEY}\nallowed_ip=", errno.EINVAL, "an IP address"),
        (f"public_key={KEY}\nprotocol_version=2", errno.EINVAL, "must be 1"),
        (f"public_key={KEY}\nremove=1", errno.EINVAL, "must be true"),
        (f"public_key={KEY}\nsend_rate=99999999999999999999", errno.EINVAL, "bytes a second"),
        (f"public_key={KEY}\npersistent_keepalive_interval=65536", errno.EINVAL, "seconds from 1"),
        (f"public_key={KEY}\npreshared_key={'é' * 64}", errno.EINVAL, "64 digits"),
    ],
)
def test_nonsense_is_refused_with_an_errno_and_the_connection_goes_on(lines, number, reason):
    if not lines:
        assert requests_of("get=1\nkey=value\n\nget=1\n\n") == [
            BadRequest(errno.EPROTO, "get=1 takes no keys"),
            GetRequest(),
        ]
        return
    refused, after = requests_of(f"set=1\nfwmark=1\n{lines}\nlisten_port=1\n\nget=1\n\n")
    assert isinstance(refused, BadRequest)
    assert refused.errno == number
    assert reason in refused.reason
    assert after == GetRequest()


def test_a_reason_shows_no_value():
    (refused,) = requests_of("set=1\nprivate_key=secret\n\n")
    assert "secret" not in str(refused)
    (change,) = requests_of(f"set=1\nprivate_key={KEY}\nheader_protection_key={KEY}\n\n")
    assert KEY not in repr(change)
    assert bytes.fromhex(KEY) == change.private_key
    assert "\\x11" not in repr(change)


@pytest.mark.parametrize("opening", ["set=2\n", "hello\n", "\n", "get=1 \n", "GET / HTTP/1.1\r\n"])
def test_what_is_no_request_ends_the_connection(opening):
    with pytest.raises(RemoteProtocolError):
        requests_of(opening)


def test_a_line_without_end_ends_the_connection():
    reader = UapiReader()
    reader.receive_data(b"set=1\n")
    with pytest.raises(RemoteProtocolError, match="too long"):
        for _ in range(MAX_LINE_BYTES // 65536 + 2):
            reader.receive_data(b"x" * 65536)


lines = st.sampled_from(
    [*("get=1", "set=1", "", "", "fwmark=1", "face=1", "face_jc=4", "h1=5-9", "allowed_ip=::/0"), f"public_key={KEY}"]
) | st.text(max_size=12)


@quick
@given(st.lists(lines, max_size=15).map("\n".join))
def test_whatever_comes_is_a_request_or_the_end_of_the_connection(text):
    try:
        received = requests_of(text)
    except RemoteProtocolError:
        return
    assert all(isinstance(one, GetRequest | DeviceChange | WatchRequest | BadRequest) for one in received)


@pytest.mark.parametrize(
    ("change", "generation", "message"),
    [
        ({"h1": Range(5, 9)}, Generation.V1_5, "h1 = 5-9: needs AmneziaWG 2.0, and the engine speaks 1.5"),
        ({"jc": 4}, Generation.WIREGUARD, "jc = 4: needs AmneziaWG 1.0, and the engine speaks WireGuard"),
        ({"random_trailers": True}, Generation.V3_0, "random_trailers = True: needs AmneziaWG 3.1"),
        ({"header_protection_key": b"k" * 32}, Generation.V2_0, r"header_protection_key = \(hidden\): needs"),
    ],
)
def test_a_key_that_the_engine_does_not_know_is_never_sent(change, generation, message):
    with pytest.raises(ParameterError, match=message):
        render_change(DeviceChange(parameters=change), generation)


def test_a_default_is_not_sent_to_an_engine_that_knows_nothing_else():
    change = DeviceChange(parameters=parameter_changes(ObfuscationParameters(s4=9, jc=3, random_trailers=True), PLAIN))
    assert render_change(change, Generation.V1_0) == "set=1\njc=0\n\n"
    assert render_change(change, Generation.V3_1) == "set=1\njc=0\ns4=0\nrandom_trailers=false\n\n"


def test_what_only_our_engine_knows_is_sent_to_it_alone():
    peer = PeerChange(public_key=bytes(32), send_rate=5)
    for change in (DeviceChange(faces=(FaceChange(number=1),)), DeviceChange(peers=(peer,))):
        with pytest.raises(ParameterError, match="Pharos's own engine only"):
            render_change(change, Generation.V3_1)
    with pytest.raises(ParameterError, match=r"persistent_keepalive_interval = 20-30: needs AmneziaWG 3\.0"):
        keepalive = attrs.evolve(peer, send_rate=None, persistent_keepalive=Range(20, 30))
        render_change(DeviceChange(peers=(keepalive,)), Generation.V2_0)


def test_a_reply_says_how_it_ended():
    assert render_errno(0) == "errno=0\n\n"
    assert render_errno(errno.EINVAL) == "errno=-22\n\n"
    for text in ("errno=-22\n\n", "errno=22\n\n", "listen_port=0\nfwmark=0\nsomething_new=7\nerrno=-22\n\n"):
        assert parse_reply(text) == (DeviceState(), errno.EINVAL)
    for text in (
        "",
        "errno=0\n",
        "errno=x\n\n",
        "listen_port=7\n\n",
        "public_key=zz\nerrno=0\n\n",
        "s1=x\nerrno=0\n\n",
    ):
        with pytest.raises(RemoteProtocolError):
            parse_reply(text)


@pytest.mark.parametrize(
    "event",
    [
        HandshakeCompleted(peer=bytes(32), endpoint=("192.0.2.1", 7), initiator=True, at_ns=5),
        HandshakeCompleted(peer=b"k" * 32, endpoint=("fe80::1%eth0", 7), initiator=False, at_ns=2**62),
        PeerEndpointChanged(peer=bytes(32), endpoint=("2001:db8::1", 7), previous=None),
        PeerCounted(peer=bytes(32), received_bytes=2**40, sent_bytes=0),
        PeerEndpointChanged(peer=bytes(32), endpoint=("192.0.2.1", 7), previous=("192.0.2.2", 9)),
        SessionEnded(peer=bytes(32)),
        HandshakeGaveUp(peer=bytes(32), attempts=18),
    ],
)
def test_an_event_survives_the_socket(event):
    text = render_event(event)
    assert text.endswith("\n\n")
    assert parse_event(text.removesuffix("\n\n")) == event
    assert parse_event(text.removesuffix("\n\n") + "\nnewer=1") == event


def test_an_event_of_a_newer_engine_is_passed_over_and_a_bad_one_is_not():
    assert parse_event(f"event=else\npublic_key={KEY}") is None
    for text in ("event=handshake", f"event=session_ended\npublic_key={KEY[1:]}", f"event=gave_up\npublic_key={KEY}"):
        with pytest.raises(RemoteProtocolError):
            parse_event(text)
