"""Row 40. Position: any peer. Wants: our memory, by answers that it asks for and does not take.

Countermeasure: a sender keeps one message and waits; after 30 s without credit its stream is reset. Credit octet by
octet is a flood of control frames (row 39). A transport that does not move is dropped for its output (row 39) and
by TCP itself (tests/wire/rpc/test_transport.py); what a relay keeps for all who do not read is bounded
(tests/wire/rpc/test_stalls.py, tests/beacon).
"""

import math
import struct

import pytest
import trio

from pharos.wire.rpc import limits
from tests.support.floods import CALM, DATA, END_STREAM, SETTINGS, WINDOW_UPDATE, attack, raw, request, target
from tests.support.gen.pharos_test.v1.echo_pb2 import WatchRequest
from tests.support.rpc import dial, frame

# A stream may begin with no credit at all (RFC 9113 §6.9.2).
SHUT = raw(SETTINGS, 0, 0, struct.pack(">HL", 4, 0))
BULK = frame(WatchRequest(size=1000))
TINY = struct.pack(">L", 1)


def ask_for_bulk(streams: int) -> bytes:
    ids = range(1, 2 * streams, 2)
    return b"".join(request(n, "Watch") + raw(DATA, END_STREAM, n, BULK) for n in ids)


@pytest.mark.red_inside
async def test_a40_streams_without_a_window_are_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROGRESS_TIMEOUT", 0.3)
    async with target() as server:
        stream = await dial(server.ca, server.address)
        outcome = await attack(stream, [ask_for_bulk(50)], settings=SHUT)
        assert outcome.survived
        # The peer stays, and its handlers go.
        with trio.fail_after(20):
            await server.service.wait_idle()
        assert server.service.cancelled == 50
        await trio.aclose_forcefully(stream)
    monkeypatch.setattr(limits, "PROGRESS_TIMEOUT", math.inf)
    async with target() as weakened:
        stream = await dial(weakened.ca, weakened.address)
        await attack(stream, [ask_for_bulk(50)], settings=SHUT)
        with trio.move_on_after(1.0):
            await weakened.service.wait_idle()
        assert weakened.service.running == 50
        await trio.aclose_forcefully(stream)


@pytest.mark.red_inside
async def test_a40_window_opened_octet_by_octet_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    crumbs = [ask_for_bulk(1), *[raw(WINDOW_UPDATE, 0, 1, TINY) for _ in range(1500)]]
    async with target() as server:
        outcome = await server.attack(crumbs, settings=SHUT)
        assert (outcome.survived, outcome.goaway) == (False, CALM)
    monkeypatch.setattr(limits, "CONTROL_BURST", 1e9)
    async with target() as weakened:
        assert (await weakened.attack(crumbs, settings=SHUT)).survived
