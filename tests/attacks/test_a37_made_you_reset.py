"""Row 37 (CVE-2025-8671). Position: any peer. Wants: that *we* reset its streams, uncounted, while their handlers run.

Countermeasure: resets that we send are counted with those of the peer.
"""

import struct

import pytest

from pharos.wire.rpc.machine import Machine
from tests.support.floods import CALM, WINDOW_UPDATE, forever, raw, request, target

STREAMS = 1000
# RFC 9113 §6.9.1: a window beyond 2^31 - 1 is an error of the stream, and the receiver resets it.
TOO_MUCH = struct.pack(">L", 2**31 - 1)


def provoke(count: int) -> bytes:
    return b"".join(
        request(stream_id) + raw(WINDOW_UPDATE, 0, stream_id, TOO_MUCH) for stream_id in range(1, 2 * count, 2)
    )


@pytest.mark.red_inside
async def test_a37_provoked_resets_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # The updates are control frames, too: what counts here is the other bucket.
    forever(monkeypatch, "CONTROL_BURST")
    async with target() as server:
        outcome = await server.attack([provoke(STREAMS)])
        assert (outcome.survived, outcome.goaway) == (False, CALM)
        assert outcome.resets < STREAMS / 4
    # Weakened: only the peer's own resets count.
    monkeypatch.setattr(Machine, "_prepare_for_sending", Machine.__mro__[1]._prepare_for_sending)  # type: ignore[attr-defined]
    async with target() as weakened:
        outcome = await weakened.attack([provoke(STREAMS)])
        assert (outcome.survived, outcome.resets) == (True, STREAMS)
