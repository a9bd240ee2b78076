"""What a QR code on a page says, read from its modules (ISO/IEC 18004); the layout of each version is segno's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import segno
from playwright.sync_api import Locator
from segno import consts

QUIET: Final = 4
"""Modules of white around a code (§9.1)."""
BYTES: Final = 0b0100
"""The mode in which a link is written (§7.4.5)."""
DATA: Final = (consts.TYPE_DATA_DARK, consts.TYPE_DATA_LIGHT)
DARK: Final = 8
"""Bits by which segno's types of dark modules begin."""
LEVELS: Final = ("l", "m", "q", "h")
# §7.8.2, of row y and column x.
MASKS: Final[tuple[Callable[[int, int], bool], ...]] = (
    lambda y, x: (y + x) % 2 == 0,
    lambda y, _: y % 2 == 0,
    lambda _, x: x % 3 == 0,
    lambda y, x: (y + x) % 3 == 0,
    lambda y, x: (y // 2 + x // 3) % 2 == 0,
    lambda y, x: y * x % 2 + y * x % 3 == 0,
    lambda y, x: (y * x % 2 + y * x % 3) % 2 == 0,
    lambda y, x: ((y + x) % 2 + y * x % 3) % 2 == 0,
)
Modules = list[list[bool]]


def read(code: Locator) -> str:
    """Return the text of a code that is drawn as squares of a path; it is one that a scanner would find and read."""
    modules = _modules(code)
    version = (len(modules) - 17) // 4
    for level, mask in itertools.product(LEVELS, range(len(MASKS))):
        types = _layout(version, level, mask)
        if all(
            modules[y][x] == (types[y][x] >> DARK > 0)
            for y, x in itertools.product(range(len(modules)), repeat=2)
            if types[y][x] not in DATA
        ):
            return _text(_data(_codewords(modules, types, mask), version, level), version)
    raise AssertionError("this is no QR code of any level and mask")


def _modules(code: Locator) -> Modules:
    size = int((code.get_attribute("viewBox") or "0 0 0").split()[2])
    dark = {
        (int(x), int(y))
        for path in code.locator("path").all()
        for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path.get_attribute("d") or "")
    }
    edge = range(QUIET, size - QUIET)
    assert dark, "this is no code"
    assert all(x in edge and y in edge for x, y in dark), "the quiet zone is not quiet"
    return [[(x, y) in dark for x in edge] for y in edge]


def _layout(version: int, level: str, mask: int) -> list[list[int]]:
    """Return what each module is for; those of the format say level and mask."""
    sample = segno.make("?", version=version, error=level, mask=mask, micro=False, boost_error=False)
    types = [list(row) for row in sample.matrix_iter(border=0, verbose=True)]
    # segno takes the module left of the format's second half (§7.9.1, eight modules) for a part of it.
    types[8][len(types) - 9] = consts.TYPE_DATA_LIGHT
    return types


def _codewords(modules: Modules, types: list[list[int]], mask: int) -> Iterator[int]:
    """Yield the octets in the order in which they were placed (§7.7.3): up and down, two columns at a time."""
    size, bits = len(modules), []
    right = size - 1
    upwards = True
    while right > 0:
        # The sixth column is the timing pattern's alone.
        right -= right == 6
        for y in reversed(range(size)) if upwards else range(size):
            bits += [modules[y][x] ^ MASKS[mask](y, x) for x in (right, right - 1) if types[y][x] in DATA]
        right -= 2
        upwards = not upwards
    for at in range(0, len(bits) - 7, 8):
        yield int("".join(str(int(bit)) for bit in bits[at : at + 8]), 2)


def _data(codewords: Iterator[int], version: int, level: str) -> bytes:
    """Put the blocks together again, without what corrects errors."""
    table: Any = consts.ECC
    sizes = [
        block.num_data for block in table[version][consts.ERROR_MAPPING[level.upper()]] for _ in range(block.num_blocks)
    ]
    blocks: list[list[int]] = [[] for _ in sizes]
    for row in range(max(sizes)):
        for block, length in zip(blocks, sizes, strict=True):
            if row < length:
                block.append(next(codewords))
    return bytes(itertools.chain(*blocks))


def _text(data: bytes, version: int) -> str:
    bits = "".join(f"{octet:08b}" for octet in data)
    assert int(bits[:4], 2) == BYTES
    # Table 3: versions up to 9 count in 8 bits, the others in 16.
    begin = 4 + (8 if version <= 9 else 16)
    length = int(bits[4:begin], 2)
    return bytes(int(bits[at : at + 8], 2) for at in range(begin, begin + 8 * length, 8)).decode()
