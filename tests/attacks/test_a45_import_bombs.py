"""Row 45. Position: whoever hands somebody an image, an archive or a file. Wants: their memory, or an hour of it.

A few kilobytes can say that they are gigabytes of pixels, of text beside them, or thousands of layers of them.
Countermeasure: size, pixels, chunks and scans are read from the first octets and capped before any library decodes.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pharos.caravel.errors import ImageError, SourceError
from pharos.caravel.sources import image as decoder
from pharos.caravel.sources import imageheader
from pharos.caravel.sources.image import read_codes
from pharos.caravel.sources.imageheader import MAX_IMAGE_FILE, MAX_PIXELS, read_image_header
from pharos.caravel.sources.read import read_source
from tests.support.sources import (
    code_image,
    encoded,
    jpeg_scans,
    png_bomb,
    png_chunk,
    png_of,
    png_with_texts,
)

MIB = 1 << 20
SIDE = 14_000
PIXELS = SIDE * SIDE
# Peak of the memory of a process that reads one image; weakened: nobody looks at its header first.
READER = """
import re, sys
from pharos.caravel.errors import ImageError
from pharos.caravel.sources import image, imageheader
import zxingcpp
from PIL import Image
data = open(sys.argv[1], "rb").read()
if sys.argv[2] == "weakened":
    Image.MAX_IMAGE_PIXELS = None
    imageheader.MAX_PIXELS = imageheader.MAX_SIDE = 1 << 40
    imageheader._MAX_CHUNKS = 1 << 20
    from PIL import PngImagePlugin
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 40
def high():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = high()
try:
    image.read_codes(data)
except ImageError:
    pass
print((high() - before) // 1024)
"""


def peak(data: bytes, folder: Path, *, weakened: bool) -> int:
    """Return by how many MiB reading an image makes a process grow."""
    file = folder / "image"
    file.write_bytes(data)
    how = "weakened" if weakened else "ours"
    done = subprocess.run(
        [sys.executable, "-c", READER, str(file), how], capture_output=True, text=True, timeout=120, check=True
    )
    return int(done.stdout)


def webp_bomb() -> bytes:
    return encoded(Image.new("L", (SIDE, SIDE), 255).convert("RGB"), "WEBP", lossless=True, quality=0, method=0)


def jpeg_bomb() -> bytes:
    """Return a JPEG of eight pixels a side that says it has sixty thousand."""
    data = bytearray(encoded(Image.new("L", (8, 8), 255), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    return bytes(data)


def test_a45_turns_red_where_nobody_bounds_the_pixels(tmp_path: Path) -> None:
    bomb = png_bomb(SIDE, SIDE)
    assert len(bomb) < MIB
    assert peak(bomb, tmp_path, weakened=True) > PIXELS / MIB * 0.9


@pytest.mark.parametrize("bomb", [lambda: png_bomb(SIDE, SIDE), webp_bomb, jpeg_bomb], ids=["png", "webp", "jpeg"])
def test_a45_it_is_refused_by_its_first_octets(bomb: Callable[[], bytes], tmp_path: Path) -> None:
    data = bomb()
    assert len(data) < MAX_IMAGE_FILE
    with pytest.raises(ImageError, match="pixels"):
        read_source(data)
    assert peak(data, tmp_path, weakened=False) < 20


@pytest.mark.red_inside
def test_a45_texts_beside_the_pixels_would_do_so_too(tmp_path: Path) -> None:
    texts = png_with_texts(100, 4 * MIB)
    assert len(texts) < MIB
    assert peak(texts, tmp_path, weakened=True) > 300
    for data in (texts, png_with_texts(60, MIB), png_with_texts(1, 64 * MIB)):
        with pytest.raises(ImageError):
            read_codes(data)
        assert peak(data, tmp_path, weakened=False) < 100


@pytest.mark.red_inside
def test_a45_layers_of_a_photograph_would_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    layered = jpeg_scans(code_image("x", scale=40), 3000)
    assert len(layered) < MAX_IMAGE_FILE
    began = time.process_time()
    with pytest.raises(ImageError, match="layers"):
        read_codes(layered)
    refused = time.process_time() - began
    monkeypatch.setattr(imageheader, "_MAX_SCANS", 1 << 40)
    began = time.process_time()
    read_codes(layered)
    assert time.process_time() - began > 10 * refused


def test_a45_nothing_is_decoded_that_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes, header: imageheader.ImageHeader) -> tuple[bytes, ...]:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(decoder, "_decode", decode)
    for width, height in ((MAX_PIXELS + 1, 1), (20_001, 1), (1, 20_001), (6400, 6400), (0, 5), (2**31, 2**31)):
        with pytest.raises(ImageError):
            read_codes(png_of(width, height, zlib.compress(b"\0")))
    with pytest.raises(AssertionError, match="decoded"):
        read_codes(png_of(6000, 6000, zlib.compress(b"\0")))


def test_a45_the_largest_that_is_read_fits_a_small_machine(tmp_path: Path) -> None:
    for image, kind in (
        (Image.new("RGBA", (8000, 5000), "white"), "PNG"),
        (Image.new("RGB", (8000, 5000), "white"), "JPEG"),
        (Image.new("RGB", (4000, 4000), "white"), "WEBP"),
    ):
        assert peak(encoded(image, kind), tmp_path, weakened=False) < 400, kind


def test_a45_two_readers_that_disagree_on_a_size_refuse_it() -> None:
    # WebP says its canvas in one place and its picture in another.
    good = encoded(code_image("x").convert("RGB"), "WEBP", exif=b"Exif\0\0x")
    assert good[12:16] == b"VP8X"
    assert read_codes(good) == (b"x",)
    bad = good[:24] + (7).to_bytes(3, "little") + good[27:]
    with pytest.raises(ImageError):
        read_codes(bad)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a45_an_animation_is_refused_by_its_first_octets(kind: str) -> None:
    frames = [code_image("x").convert("RGB"), code_image("y").convert("RGB")]
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animated"):
        read_image_header(out.getvalue())
    late = encoded(frames[0], "PNG")
    at = late.index(b"IDAT") - 4
    with pytest.raises(ImageError, match="animated"):
        read_codes(late[:at] + png_chunk(b"acTL", bytes(8)) + late[at:])


def test_a45_an_archive_is_never_unpacked() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("profile.conf", bytes(100 * MIB))
    assert len(out.getvalue()) < MIB
    with pytest.raises(SourceError, match="unpack it"):
        read_source(out.getvalue())


def test_a45_a_code_in_a_code_is_not_read_again() -> None:
    # What stands in a code is a text: an image in it would be another, and so on.
    with pytest.raises(SourceError, match="no image"):
        read_source(_code_of_octets(encoded(Image.new("1", (8, 8)), "PNG")))


def _code_of_octets(octets: bytes) -> bytes:
    import segno

    out = io.BytesIO()
    segno.make_qr(octets, mode="byte").save(out, kind="png", scale=4)
    return out.getvalue()
