"""What an image says of itself in its first octets, read before any library decodes it: sans-IO, and allocates nothing.

PNG (third edition, §5 and §11.2.1), JPEG (ITU-T T.81 §B.1 and B.2.2) and WebP (RFC 9649 §2.5 to 2.7). Whatever is
animated, or cannot say how large it is before its content begins, is refused.
"""

from __future__ import annotations

from typing import Final

import attrs

from pharos.caravel.errors import ImageError
from pharos.wire.units import MIB

MAX_IMAGE_FILE: Final = 8 * MIB
"""A photograph of a telephone's camera has 3 to 6."""
MAX_PIXELS: Final = 40_000_000
"""Of a camera with 40 megapixels: 40 MB as greys, and up to 270 MiB for a moment while a PNG in colours is decoded."""
MAX_WEBP_PIXELS: Final = 16_000_000
"""libwebp knows no greys and is held three times: 250 MiB at its peak. No camera writes it, and no screen is larger."""
MAX_SIDE: Final = 20_000
"""Pixels: a line of an image is held several times over."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_MAX_CHUNKS: Final = 64
"""Before a PNG's content; editors write ten."""
_MAX_SEGMENTS: Final = 200
"""Before a JPEG's frame; a colour profile and EXIF take up to a hundred."""
_MAX_SCANS: Final = 40
"""Of a JPEG: a progressive one has ten and its preview as many, each costs a pass over all pixels (libjpeg-turbo)."""
_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
_ANIMATED: Final = 0x02


@attrs.frozen
class ImageHeader:
    """A format by the name that Pillow gives it, and pixels."""

    format: str
    width: int
    height: int


def is_image(data: bytes) -> bool:
    """Whether this begins as one of the formats does that are read."""
    return data.startswith((_PNG, _JPEG)) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def read_image_header(data: bytes) -> ImageHeader:
    """Return what an image is and how large, within the limits of what is decoded.

    Raises: ImageError — it is damaged, animated, or too large.
    """
    if len(data) > MAX_IMAGE_FILE:
        raise ImageError(f"this image has {len(data) / MIB:.0f} MiB; at most {MAX_IMAGE_FILE // MIB} are read: crop it")
    if data.startswith(_PNG):
        header = _png(data)
    elif data.startswith(_JPEG):
        header = _jpeg(data)
    elif is_image(data):
        header = _webp(data)
    else:
        raise ImageError("only PNG, JPEG and WebP images are read; take a screenshot of the code")
    width, height = header.width, header.height
    most = MAX_WEBP_PIXELS if header.format == "WEBP" else MAX_PIXELS
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= most):
        raise ImageError(
            f"this image has {width} × {height} pixels; at most {most // 1_000_000} million are read, and"
            f" {MAX_SIDE} a side: crop it"
        )
    return header


def _png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise _damaged()
    header = ImageHeader("PNG", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    at = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"acTL":
            raise _animated()
        if kind == b"IDAT":
            return header
        at += 12 + length
        if at + 8 > len(data):
            break
    raise _damaged()


def _jpeg(data: bytes) -> ImageHeader:
    # Within a scan an octet of 255 is followed by zero or by a marker that is no scan's (§B.1.1.5).
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise ImageError("this image has more layers than a camera's; save it again")
    at = 2
    for _ in range(_MAX_SEGMENTS):
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        marker, length = data[at : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if len(marker) < 2 or marker[0] != 0xFF or length < 2:
            break
        if marker[1] in _FRAMES:
            if at + 9 > len(data):
                break
            height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            return ImageHeader("JPEG", width, height)
        at += 2 + length
    raise _damaged()


def _webp(data: bytes) -> ImageHeader:
    kind, content = data[12:16], data[20:30]
    if len(content) < 10:
        raise _damaged()
    if kind == b"VP8X":
        if content[0] & _ANIMATED:
            raise _animated()
        width, height = int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1
    elif kind == b"VP8L" and content[0] == 0x2F:
        bits = int.from_bytes(content[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and content[3:6] == b"\x9d\x01\x2a":
        width = int.from_bytes(content[6:8], "little") & 0x3FFF
        height = int.from_bytes(content[8:10], "little") & 0x3FFF
    else:
        raise _damaged()
    return ImageHeader("WEBP", width, height)


def _damaged() -> ImageError:
    return ImageError("this image is damaged; save it again")


def _animated() -> ImageError:
    return ImageError("this image is animated; take a screenshot of the code")
