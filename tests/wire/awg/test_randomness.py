import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg import randomness
from pharos.wire.awg.randomness import POOL_BYTES, RandomPool, uniform


@given(st.lists(st.integers(0, 2 * POOL_BYTES), max_size=20))
def test_a_pool_gives_what_is_asked_for_and_never_the_same(sizes):
    pool = RandomPool(random.Random(1).randbytes)
    drawn = [pool(size) for size in sizes]
    assert [len(piece) for piece in drawn] == sizes
    long_ones = [piece[:16] for piece in drawn if len(piece) >= 16]
    assert len(set(long_ones)) == len(long_ones)


def test_a_pool_is_seeded_from_what_it_is_given():
    seeds = []

    def draw(size):
        seeds.append(size)
        return bytes(size)

    pool = RandomPool(draw)
    # ChaCha20 of a zero key and nonce: https://www.rfc-editor.org/rfc/rfc8439#appendix-A.1
    assert pool(16).hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    pool(100_000)
    assert seeds == [44]


def drawn_beyond_the_end_of_a_seed(monkeypatch, reseed_bytes):
    """Begin a few blocks before the counter's end, as a node does that has sent 256 GiB of padding."""
    monkeypatch.setattr(randomness, "_FIRST_BLOCK", b"\xc0\xff\xff\xff")
    monkeypatch.setattr(randomness, "RESEED_BYTES", reseed_bytes)
    pool = RandomPool(random.Random(1).randbytes)
    return [pool(1000) for _ in range(20)]


def test_a_pool_is_seeded_anew_before_its_counter_ends(monkeypatch):
    assert len(set(drawn_beyond_the_end_of_a_seed(monkeypatch, POOL_BYTES))) == 20
    with pytest.raises(ValueError, match="counter"):  # So the test would notice.
        drawn_beyond_the_end_of_a_seed(monkeypatch, 2**40)


def test_every_number_of_a_range_is_as_likely():
    draw = random.Random(1).randbytes
    counts = Counter(uniform(draw, 5, 7) for _ in range(3000))
    assert counts.keys() == {5, 6, 7}
    assert min(counts.values()) > 900
