"""Row 38 (class of CVE-2024-27316). Position: any peer. Wants: memory, by a header block that never ends.

Countermeasure: 16 KiB of block, 64 frames of it, and the frames count as control frames.
"""

import h2.frame_buffer
import pytest

from pharos.wire.rpc.hotpath import HotMachine
from tests.support.floods import CALM, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, block, forever, raw, target
from tests.support.rpc import request_headers

FIRST = raw(HEADERS, END_STREAM, 1, block(request_headers("Collect")))
LAST = raw(CONTINUATION, END_HEADERS, 1)
# A field that nobody has to remember, 1,000 octets of it.
FILLER = block([("x-filler", "f" * 1000)])
SMALL = [raw(CONTINUATION, 0, 1) for _ in range(1000)]
LARGE = [raw(CONTINUATION, 0, 1, FILLER * 15) for _ in range(60)]


@pytest.mark.parametrize("frames", [SMALL, LARGE], ids=["empty", "large"])
@pytest.mark.red_inside
async def test_a38_endless_header_block_ends_its_connection(
    frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = b"".join([FIRST, *frames, LAST])
    kept: list[int] = []

    def parse(machine: HotMachine, data: bytes) -> object:
        try:
            return receive(machine, data)
        finally:
            kept.append(sum(len(frame.data) for frame in machine.incoming_buffer._headers_buffer))

    receive = HotMachine.receive_data
    monkeypatch.setattr(HotMachine, "receive_data", parse)
    async with target() as server:
        outcome = await server.attack([flood])
        assert not outcome.survived
        # h2's own bound is a plain protocol error; ours says why.
        assert outcome.goaway in (1, CALM)
        assert max(kept) <= 32 * 1024
    forever(monkeypatch, "MAX_HEADER_BLOCK", "MAX_HEADER_LIST", "MAX_HEADER_FIELDS", "CONTROL_BURST")
    monkeypatch.setattr(h2.frame_buffer, "CONTINUATION_BACKLOG", 10**6)
    async with target() as weakened:
        kept.clear()
        outcome = await weakened.attack([flood])
        assert outcome.survived
        assert max(kept) > 500 * 1024 or frames is SMALL
