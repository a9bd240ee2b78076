"""What a connection begins and ends with, against the machine that has no shortcuts; from its very first octet."""

from __future__ import annotations

import gc
import struct
import weakref
from typing import Any

import pytest
import trio
import trio.testing
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.flow import CONTROL, INNER, TUNNEL, Windows
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.hotpath import HotMachine
from pharos.wire.rpc.machine import Machine
from pharos.wire.rpc.settings import CompactSettings, parse_settings
from tests.support.machines import move, pair
from tests.support.rpc import request_headers
from tests.wire.rpc.test_hotpath import DATA, HEADERS, REQUESTS, RESET, RESPONSES, SETTINGS, SMALL, WINDOW, outcome, raw

GOAWAY = 7
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def setting(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">HL", *pair) for pair in pairs)


EVERY = setting((1, 100), (2, 0), (3, 7), (4, 70_000), (5, 20_000), (6, 9_000), (8, 0))
BODIES = [
    b"",
    EVERY,
    EVERY + EVERY,
    EVERY[:-1],
    setting((1, 0)),
    setting((1, 2**32 - 1)),
    setting((2, 1)),
    setting((2, 2)),
    setting((3, 0)),
    setting((4, 2**31 - 1)),
    setting((4, 2**31)),
    setting((4, 5), (4, 6)),
    setting((5, 2**14 - 1)),
    setting((5, 2**24)),
    setting((8, 1), (8, 2)),
    setting((9, 1)),
    setting((0x4A4A, 1), (3, 2)),
]
WORDS = [b"\0\0\0\x64", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\1", b"\0\0\0", b"\0\0\0\0\0"]
GOODBYES = [
    bytes(8),
    b"\0\0\0\1" + b"\0\0\0\2",
    b"\x80\0\0\1" + bytes(4),
    bytes(7),
    bytes(8) + b"why",
    b"\0\0\0\1\0\0\1\0",
]

FRAMES = st.one_of(
    st.builds(
        raw, st.just(SETTINGS), st.sampled_from([0, 0, 0, 2]), st.sampled_from([0, 0, 0, 1]), st.sampled_from(BODIES)
    ),
    st.just(raw(SETTINGS, 1, 0, b"")),
    st.builds(
        raw, st.just(WINDOW), st.sampled_from([0, 0, 1]), st.sampled_from([0, 1, 3, 5, 2]), st.sampled_from(WORDS)
    ),
    st.builds(
        raw, st.just(RESET), st.sampled_from([0, 0, 1]), st.sampled_from([0, 1, 3, 5, 2]), st.sampled_from(WORDS)
    ),
    st.builds(
        raw, st.just(GOAWAY), st.sampled_from([0, 0, 1]), st.sampled_from([0, 0, 0, 1]), st.sampled_from(GOODBYES)
    ),
    st.builds(
        raw,
        st.just(HEADERS),
        st.sampled_from([4, 5]),
        st.sampled_from([1, 3, 5]),
        st.sampled_from(REQUESTS + RESPONSES),
    ),
    st.builds(raw, st.just(DATA), st.sampled_from([0, 1]), st.sampled_from([1, 3]), st.just(b"d")),
)
# On a client: requests before the peer says anything, or none at all.
STORIES = st.tuples(st.booleans(), st.booleans(), st.sampled_from(BODIES), st.lists(FRAMES, max_size=12))


def result(machine: Any, frame: bytes, cut: int) -> tuple[Any, ...]:
    return (
        *outcome(machine, frame, cut),
        dict(machine.remote_settings),
        dict(machine.local_settings),
        machine.outbound_flow_control_window,
        {number: stream.outbound_flow_control_window for number, stream in machine.streams.items()},
        machine.max_outbound_frame_size,
        machine.encoder.header_table_size,
        machine.encoder.header_table.resized,
        machine.encoder.table_size_changes,
        machine.state_machine.state,
    )


# The conditions of the shortcuts that chance meets seldom; a client has asked on streams 1 and 3.
TOLD = {
    "window of a stream, too large": [raw(WINDOW, 0, 1, WORDS[2]), raw(WINDOW, 0, 1, WORDS[0])],
    "window of a stream, by nothing": [raw(WINDOW, 0, 1, WORDS[1])],
    "window of a stream that was reset": [raw(RESET, 0, 1, WORDS[0]), raw(WINDOW, 0, 1, WORDS[0])],
    "window of a stream that ended": [raw(HEADERS, 5, 3, RESPONSES[0]), raw(WINDOW, 0, 3, WORDS[0])],
    "window of a stream that nobody opened": [raw(WINDOW, 0, 5, WORDS[0])],
    "stream reset twice": [raw(RESET, 0, 1, WORDS[0]), raw(RESET, 0, 1, WORDS[0])],
    "stream reset after its end": [raw(HEADERS, 5, 3, RESPONSES[0]), raw(RESET, 0, 3, WORDS[0])],
    "reset with an unknown code": [raw(RESET, 0, 1, WORDS[2])],
    "settings while streams are open": [raw(WINDOW, 0, 1, WORDS[0]), raw(SETTINGS, 0, 0, setting((4, 2**31 - 1)))],
    "goodbye with a word": [raw(GOAWAY, 0, 0, GOODBYES[4])],
    "goodbye, and on": [raw(GOAWAY, 0, 0, GOODBYES[1]), raw(HEADERS, 4, 1, RESPONSES[0]), raw(SETTINGS, 1, 0, b"")],
}


@pytest.mark.parametrize("frames", TOLD.values(), ids=TOLD)
def test_every_condition_of_the_shortcuts_is_h2s(frames: list[bytes]) -> None:
    compare([raw(SETTINGS, 0, 0, b""), *frames], client_side=True, asks=True)


@settings(deadline=None, max_examples=300)
@given(story=STORIES, cut=st.sampled_from([5, 10_000]))
def test_any_beginning_means_the_same_to_both(story: tuple[bool, bool, bytes, list[bytes]], cut: int) -> None:
    client_side, asks, first, frames = story
    compare([raw(SETTINGS, 0, 0, first), *frames], client_side=client_side, asks=asks, cut=cut)


def compare(frames: list[bytes], *, client_side: bool, asks: bool, cut: int = 10_000) -> None:
    """Feed both machines from the first octet on, and hold what they make of each frame against each other."""
    machines = [kind(client_side=client_side, windows=SMALL, max_streams=3) for kind in (Machine, HotMachine)]
    for machine in machines:
        machine.initiate_connection()
        if client_side and asks:
            machine.send_headers(1, request_headers("Echo"), end_stream=False)
            machine.send_headers(3, request_headers("Echo"), end_stream=True)
        machine.data_to_send()
    if not client_side:
        frames = [PREFACE, *frames]
    for frame in frames:
        slow, fast = (result(machine, frame, cut) for machine in machines)
        assert fast == slow
        if slow[1] is not None:
            return


@pytest.mark.parametrize("windows", [INNER, CONTROL, TUNNEL, SMALL])
@pytest.mark.parametrize("client_side", [True, False])
def test_connection_begins_with_the_octets_that_h2_would_send(client_side: bool, windows: Windows) -> None:
    machines = [kind(client_side=client_side, windows=windows, max_streams=9) for kind in (Machine, HotMachine)]
    for machine in machines:
        machine.initiate_connection()
    slow, fast = machines
    assert bytes(fast.data_to_send()) == bytes(slow.data_to_send())
    assert fast.inbound_flow_control_window == slow.inbound_flow_control_window == windows.connection
    assert fast.state_machine.state == slow.state_machine.state


@pytest.mark.parametrize("client_side", [True, False])
def test_machines_share_nothing_that_changes(client_side: bool) -> None:
    one, two = (vars(HotMachine(client_side=client_side, windows=INNER, max_streams=9)) for _ in range(2))
    # Settings of a kind, which nobody changes.
    shared = {"config", "_windows", "_opening"}
    for name, value in one.items():
        if not isinstance(value, int | bool | tuple) and name not in shared:
            assert value is not two[name], name
    values = one["remote_settings"]._settings
    assert not any(values[code] is two["remote_settings"]._settings[code] for code in values)


@pytest.mark.parametrize("client_side", [True, False])
def test_machine_has_all_that_h2_gives_its_own(client_side: bool) -> None:
    """Whatever a release of h2 adds to its constructor is there, and like h2's; a mutable part fails the test above."""
    theirs = vars(Machine(client_side=client_side, windows=INNER, max_streams=9))
    ours = vars(HotMachine(client_side=client_side, windows=INNER, max_streams=9))
    del theirs["_frame_dispatch_table"]
    assert theirs.keys() <= ours.keys()
    for name, value in theirs.items():
        if isinstance(value, int | bool | CompactSettings | dict | bytearray):
            assert ours[name] == value, name


def test_every_frame_goes_where_h2_would_send_it() -> None:
    machine = HotMachine(client_side=True, windows=INNER, max_streams=9)
    for kind, method in H2Connection()._frame_dispatch_table.items():
        assert machine._frame_dispatch_table[kind].__name__ == method.__name__
        assert machine._frame_dispatch_table[kind].__self__ is machine


def test_settings_of_their_own_are_not_those_they_were_copied_from() -> None:
    one = CompactSettings(client=True)
    two = one.copy()
    assert two == one
    two.receive({SettingCodes.INITIAL_WINDOW_SIZE: 5})
    assert (one.initial_window_size, two.initial_window_size) == (65_535, 5)


def test_long_settings_are_left_to_h2() -> None:
    assert parse_settings(setting((3, 1)) * len(SettingCodes), client=True) == {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    assert parse_settings(setting((3, 1)) * (len(SettingCodes) + 1), client=True) is None


@pytest.mark.parametrize("kind", [Machine, HotMachine])
@pytest.mark.parametrize("ends", ["client", "server"])
def test_resets_are_sent_and_counted_alike(kind: type[Machine], ends: str) -> None:
    client, server = pair(kind)
    client.send_headers(1, request_headers("Echo"))
    move(client, server)
    sender, receiver = (client, server) if ends == "client" else (server, client)
    server.tally.resets = 0
    sender.reset(1, ErrorCodes.CANCEL)
    sender.reset(1, ErrorCodes.CANCEL)
    assert server.tally.resets == (ends == "server")
    (reset,) = move(sender, receiver)
    assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.CANCEL)
    assert sender.streams[1].closed
    assert receiver.streams[1].closed


async def test_connection_that_ended_is_freed_at_once() -> None:
    """Each holds a TLS object; a cycle would keep it until the collector comes round."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        server = Connection(theirs, client_side=False)
        nursery.start_soon(server.run)
        async with open_channel(ours, authority="x") as channel:
            client = weakref.ref(channel.connection)
            machine = weakref.ref(channel.connection.machine)
            del channel
        gc.disable()
        try:
            await server.wait_closed()
            await trio.testing.wait_all_tasks_blocked()
            assert client() is None
            assert machine() is None
        finally:
            gc.enable()
