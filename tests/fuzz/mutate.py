"""A mutator for where atheris is not: blind to coverage, but it runs everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator

# As long as the largest datagram, so that every limit below it is passed.
MAX_BYTES = 70_000
MAX_CHANGES = 5


def mutations(seeds: tuple[bytes, ...], tokens: tuple[bytes, ...], seed: int) -> Iterator[bytes]:
    """Yield the seeds and then what becomes of them, without end; the same for the same ``seed``."""
    source = random.Random(seed)
    pool = [*seeds, b""]
    yield from pool
    while True:
        data = bytearray(source.choice(pool))
        for _ in range(source.randint(1, MAX_CHANGES)):
            change(data, pool, tokens, source)
        yield bytes(data[:MAX_BYTES])
        if source.random() < 0.05:
            # What chance has made is begun with again, so that changes add up.
            pool[source.randrange(len(pool))] = bytes(data[:MAX_BYTES])


def change(data: bytearray, pool: list[bytes], tokens: tuple[bytes, ...], source: random.Random) -> None:
    """Change ``data`` in one of the ways that find bugs."""
    at = source.randint(0, len(data))
    end = source.randint(at, min(len(data), at + 32))
    match source.randrange(7):
        case 0:
            data[at:end] = source.randbytes(source.randint(0, 32))
        case 1:
            del data[at:end]
        case 2:
            data[at:at] = data[at:end] * source.randint(1, 4)
        case 3 if tokens:
            data[at:at] = source.choice(tokens)
        case 4:
            other = source.choice(pool)
            data[at:] = other[source.randint(0, len(other)) :]
        case 5 if data:
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        case _:
            data[at:end] = source.choice((b"\0", b"\xff" * 4, b"0", b"-1", b"4294967296", b"9" * 30))
