"""Buckets, tallies and what is charged to them (security.md rows 36-39)."""

import struct

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.rpc import limits
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE, Allowance, Guard, Tally, TokenBucket
from pharos.wire.rpc.limits import TUNNEL_STREAMS
from tests.support.machines import move, pair
from tests.support.rpc import request_headers

RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113 §4.1)."""
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 255, kind, flags, stream_id) + payload


# -- buckets


def test_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(burst=3, rate=2)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    # However long it is quiet, there is one burst and no more.
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_refused_take_costs_nothing() -> None:
    bucket = TokenBucket(burst=3, rate=1)
    assert not bucket.take(0.0, 4)
    assert bucket.take(0.0, 3)


def test_reward_never_exceeds_a_burst() -> None:
    bucket = TokenBucket(burst=3, rate=0)
    assert bucket.take(0.0, 2)
    bucket.put(100)
    assert bucket.take(0.0, 3)
    assert not bucket.take(0.0, 1)


@given(
    st.lists(
        st.tuples(st.floats(min_value=0, max_value=5), st.floats(min_value=0.1, max_value=5)), min_size=1, max_size=50
    )
)
def test_bucket_never_gives_more_than_burst_and_rate_allow(steps: list[tuple[float, float]]) -> None:
    bucket = TokenBucket(burst=10, rate=3)
    now = taken = 0.0
    for wait, amount in steps:
        now += wait
        taken += amount if bucket.take(now, amount) else 0.0
        assert taken <= 10 + 3 * now + 1e-6


# -- the guard


def test_resets_and_control_frames_are_charged_apart() -> None:
    guard = Guard(Allowance(reset_burst=2, reset_rate=1, control_burst=4, control_rate=1))
    guard.charge(Tally(resets=2, control=4), 0.0)
    with pytest.raises(DenialOfServiceError, match="resets"):
        guard.charge(Tally(resets=1), 0.0)
    with pytest.raises(DenialOfServiceError, match="control"):
        guard.charge(Tally(control=1), 0.0)
    guard.charge(Tally(resets=1, control=1), 1.0)


def test_data_earns_the_updates_that_answer_it() -> None:
    guard = Guard(Allowance(control_burst=4, control_rate=0))
    tally = Tally()
    for _ in range(100):
        tally.sent += limits.DATA_PER_CONTROL
        guard.charge(tally, 0.0)
        tally.control += 1
        guard.charge(tally, 0.0)
    assert (tally.control, tally.sent) == (0, 0)


def test_tunnel_bears_what_a_relay_lets_strangers_do() -> None:
    # All its streams at once, and 400 passages a second opened and given up (pharos.beacon).
    # All its streams at once and all that it lets in (pharos.beacon.limiter), each perhaps counted twice.
    assert TUNNEL_ALLOWANCE.reset_burst >= 2 * (TUNNEL_STREAMS + 1000)
    assert TUNNEL_ALLOWANCE.reset_rate >= 2 * 400


# -- what the machine counts


def open_stream(client: object, server: object, stream_id: int = 1) -> None:
    client.send_headers(stream_id, request_headers("Echo"))  # type: ignore[attr-defined]
    move(client, server)


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("PING", raw(6, 0, 0, bytes(8))),
        ("PING acknowledgement", raw(6, 1, 0, bytes(8))),
        ("SETTINGS", raw(4, 0, 0)),
        ("WINDOW_UPDATE", raw(8, 0, 0, b"\0\0\0\1")),
        ("WINDOW_UPDATE of a stream", raw(8, 0, 1, b"\0\0\0\1")),
        ("PRIORITY", raw(2, 0, 1, b"\0\0\0\3\x10")),
        ("empty DATA", raw(0, 0, 1)),
        ("an unknown frame", raw(0xEE, 0, 1, b"?")),
    ],
)
def test_frames_that_carry_no_work_are_counted(name: str, frame: bytes) -> None:
    client, server = pair()
    open_stream(client, server)
    before = server.tally.control
    server.receive_data(frame * 3)
    assert server.tally.control - before == 3, name


def test_steps_of_a_call_are_not_counted() -> None:
    client, server = pair()
    before = server.tally.control
    for stream_id in (1, 3, 5):
        open_stream(client, server, stream_id)
        client.send_data(stream_id, b"x" * 100)
        client.send_data(stream_id, b"", end_stream=True)
        move(client, server)
    assert server.tally.control == before
    assert server.tally.resets == 0
    assert client.tally.sent == 300


def test_resets_of_the_peer_and_those_it_provokes_are_counted() -> None:
    client, server = pair()
    open_stream(client, server, 1)
    client.reset_stream(1)
    move(client, server)
    assert server.tally.resets == 1
    open_stream(client, server, 3)
    # MadeYouReset: a window beyond 2^31 - 1 is a stream error, and the server resets (RFC 9113 §6.9.1).
    server.receive_data(raw(8, 0, 3, b"\x7f\xff\xff\xff"))
    assert server.tally.resets == 2
    open_stream(client, server, 5)
    server.reset(5, ErrorCodes.CANCEL)
    assert server.tally.resets == 3


def test_client_does_not_count_resets() -> None:
    client, server = pair()
    open_stream(client, server)
    server.reset(1, ErrorCodes.CANCEL)
    move(server, client)
    client.send_headers(3, request_headers("Echo"))
    client.reset(3, ErrorCodes.CANCEL)
    assert client.tally.resets == 0


def test_what_was_in_flight_when_we_reset_is_ignored() -> None:
    client, server = pair()
    open_stream(client, server)
    for _ in range(50):
        client.send_data(1, b"x")
        client._last_data = (0, 0, 0)
    server.reset(1, ErrorCodes.CANCEL)
    server.data_to_send()
    resets = server.tally.resets
    move(client, server)
    assert server.tally.resets == resets
    assert not server.data_to_send()


def test_interim_responses_are_counted() -> None:
    client, server = pair()
    open_stream(client, server)
    before = client.tally.control
    for _ in range(3):
        server.send_headers(1, [(":status", "103")])
    move(server, client)
    assert client.tally.control - before == 3


def test_header_block_is_bounded_before_it_is_decoded() -> None:
    client, server = pair()
    server.receive_data(raw(1, 0, 1, b"\0" * 8000))
    server.receive_data(raw(9, 0, 1, b"\0" * 8000))
    with pytest.raises(DenialOfServiceError, match="header block"):
        server.receive_data(raw(9, 0, 1, b"\0" * 1000))
    assert client is not server


def test_empty_continuations_are_counted() -> None:
    _client, server = pair()
    before = server.tally.control
    server.receive_data(raw(1, 0, 1, b""))
    server.receive_data(raw(9, 0, 1) * 20)
    assert server.tally.control - before == 20
