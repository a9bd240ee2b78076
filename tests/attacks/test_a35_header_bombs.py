"""Row 35. Position: any peer. Wants: our memory and processor, by headers that are many, large, or grow when decoded.

Countermeasure: a block of at most 16 KiB as it comes, a list of at most 16 KiB decoded, 64 fields.
"""

import pytest

from tests.support.floods import CALM, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, block, forever, raw, target
from tests.support.rpc import request_headers

KIB = 1024


def in_pieces(stream_id: int, encoded: bytes) -> bytes:
    """A header block over as many frames as it takes."""
    parts = [encoded[start : start + 16 * KIB] for start in range(0, len(encoded), 16 * KIB)]
    frames = [raw(HEADERS, END_STREAM, stream_id, parts[0])]
    frames += [raw(CONTINUATION, 0, stream_id, part) for part in parts[1:]]
    return b"".join([*frames, raw(CONTINUATION, END_HEADERS, stream_id)])


MANY_FIELDS = block(request_headers("Collect") + [(f"x-{n}", "") for n in range(10_000)])
LARGE_FIELD = block([*request_headers("Collect"), ("x-large", "v" * 64 * KIB)])
# RFC 7541: one field of 3,900 octets goes into the table, and each further octet names it again.
BOMB = block(request_headers("Collect")) + b"\x40\x05x-big\x7f\xbd\x1d" + b"v" * 3900 + b"\xbe" * 1500
ONE_TOO_MANY = block(request_headers("Collect") + [(f"x-{n}", "") for n in range(60)])


@pytest.mark.parametrize(
    "encoded", [MANY_FIELDS, LARGE_FIELD, BOMB, ONE_TOO_MANY], ids=["fields", "large", "bomb", "65"]
)
@pytest.mark.red_inside
async def test_a35_header_bomb_ends_its_connection(encoded: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with target() as server:
        outcome = await server.attack([in_pieces(1, encoded)])
        assert (outcome.survived, outcome.goaway) == (False, CALM)
        assert server.service.most_running == 1, "only the good client's handler ran"
    forever(monkeypatch, "MAX_HEADER_LIST", "MAX_HEADER_FIELDS", "MAX_HEADER_BLOCK")
    # Weakened: it is decoded, and the call runs.
    async with target() as weakened:
        outcome = await weakened.attack([in_pieces(1, encoded)])
        assert (outcome.survived, outcome.goaway) == (True, None)


def test_a35_bomb_is_one() -> None:
    assert len(BOMB) < 9 * KIB
    assert 900 * 16 * KIB < 4000 * 3900
