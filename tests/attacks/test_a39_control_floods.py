"""Row 39. Position: any peer. Wants: our processor, and our memory by answers that it never reads.

Countermeasure: 200 control frames at once and 100 a second, but for WINDOW_UPDATEs that data earned; unsent output is
capped (tests/wire/rpc/test_h2conn.py, test_peer_that_asks_without_reading_is_dropped).
"""

import struct

import pytest

from pharos.wire.rpc import limits
from tests.support.floods import (
    ACK,
    CALM,
    DATA,
    END_STREAM,
    PING,
    PRIORITY,
    SETTINGS,
    WINDOW_UPDATE,
    forever,
    raw,
    request,
    target,
)

ONE = struct.pack(">L", 1)
FLOODS = {
    "ping": raw(PING, 0, 0, bytes(8)),
    "ping acknowledgements": raw(PING, ACK, 0, bytes(8)),
    "settings": raw(SETTINGS, 0, 0),
    "settings that change": raw(SETTINGS, 0, 0, struct.pack(">HL", 4, 70_000)),
    "window updates": raw(WINDOW_UPDATE, 0, 0, ONE),
    "window updates of a stream": raw(WINDOW_UPDATE, 0, 1, ONE),
    "priorities": raw(PRIORITY, 0, 5, ONE + b"\x10"),
    "empty data": raw(DATA, 0, 1),
    "frames nobody knows": raw(0xEE, 0, 0, b"what?"),
}


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS)
@pytest.mark.red_inside
async def test_a39_control_flood_ends_its_connection(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = [request(1, "Collect"), frame * 2000, raw(DATA, END_STREAM, 1)]
    async with target() as server:
        outcome = await server.attack(flood)
        assert (outcome.survived, outcome.goaway) == (False, CALM)
    forever(monkeypatch, "CONTROL_BURST")
    monkeypatch.setattr(limits, "OUTPUT_CAP", 2**40)
    async with target() as weakened:
        assert (await weakened.attack(flood)).survived


async def test_a39_busy_but_honest_peer_is_borne() -> None:
    flood = [request(1, "Collect"), raw(PING, 0, 0, bytes(8)) * (int(limits.CONTROL_BURST) - 20)]
    async with target() as server:
        assert (await server.attack(flood)).survived
