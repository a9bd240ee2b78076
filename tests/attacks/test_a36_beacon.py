"""Rows 35 to 39 at a beacon's client port. Position: a stranger, a device, or a visitor of the decoy.

Wants: the beacon's processor and memory, by HTTP/2 frames that cost more to take than to send. The countermeasures are
those of every connection (test_a35 to test_a39); here it is seen that each face of the port has them, and that a good
device's words go on coming back beside the flood.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.wire.pki.roles import Role
from tests.attacks.test_a35_header_bombs import BOMB, MANY_FIELDS, in_pieces
from tests.attacks.test_a38_continuation_flood import FIRST, LAST, SMALL
from tests.support.decoy import WholeBeacon, visit, whole_beacon
from tests.support.floods import (
    CALM,
    END_HEADERS,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    attack,
    block,
    forever,
    raw,
)

CANCEL = b"\0\0\0\x08"
# A request that the fleet's side refuses and the decoy's answers: what matters is that it is one.
OPEN = block([(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")])
FLOODS = {
    "rapid reset": b"".join(
        raw(HEADERS, END_HEADERS, n, OPEN) + raw(RST_STREAM, 0, n, CANCEL) for n in range(1, 2_000, 2)
    ),
    "pings": raw(PING, 0, 0, bytes(8)) * 2_000,
    "settings": raw(SETTINGS, 0, 0) * 2_000,
    "header bomb": in_pieces(1, BOMB),
    "many fields": in_pieces(1, MANY_FIELDS),
    "endless headers": b"".join([FIRST, *SMALL, LAST]),
}
LIMITS = ("RESET_BURST", "CONTROL_BURST", "MAX_HEADER_LIST", "MAX_HEADER_FIELDS", "MAX_HEADER_BLOCK", "OUTPUT_CAP")
FACES = ("stranger", "device", "visitor")


@asynccontextmanager
async def connected(beacon: WholeBeacon, face: str) -> AsyncIterator[trio.abc.Stream]:
    stream: trio.abc.Stream
    if face == "visitor":
        stream = await visit(beacon.ingress, "h2")
    else:
        stream = await beacon.open_tls(beacon.ingress, Role.DEVICE if face == "device" else None, "greedy")
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


@pytest.mark.row(35, 38, 39)
@pytest.mark.parametrize("face", FACES)
@pytest.mark.red_inside
async def test_a36_flood_at_a_beacon_ends_its_connection(
    tmp_path: Path, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with whole_beacon(tmp_path / "s") as beacon:
        await beacon.come_as_helm()
        good = await beacon.open_passage("good")
        await good.recv_headers()
        for what, flood in FLOODS.items():
            async with connected(beacon, face) as stream:
                outcome = await attack(stream, [flood])
            assert not outcome.survived, what
            assert outcome.goaway in {1, CALM}, what
            await good.send_data(b"hello")
            assert await good.recv_data(5) == b"hello"
        good.close()
        # Weakened: these limits are none.
        forever(monkeypatch, *LIMITS)
        monkeypatch.setattr("h2.frame_buffer.CONTINUATION_BACKLOG", 10**6)
        for what in FLOODS:
            async with connected(beacon, face) as stream:
                assert (await attack(stream, [FLOODS[what]])).survived, what
