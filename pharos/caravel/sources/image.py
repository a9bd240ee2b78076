"""QR codes in an image. Pillow and zxing-cpp decode it, loaded when the first image comes, after our own limits."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Final

from pharos.caravel.errors import ImageError
from pharos.caravel.sources.imageheader import ImageHeader, read_image_header

if TYPE_CHECKING:
    from PIL import Image as PillowImage

MAX_CODES: Final = 16
"""In one image; nobody shows more to choose from."""

# What Pillow raises at a damaged image: it has no error of its own for it, and its plugins let Python's through.
_DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,
    MemoryError,
    AssertionError,
    struct.error,
    zlib.error,
)


def read_codes(data: bytes) -> tuple[bytes, ...]:
    """Return what the QR codes in an image say, each once, from the top.

    Blocks, for a second at the most.

    Raises: ImageError — there is none, or the image is too large, damaged or animated.
    """
    header = read_image_header(data)
    codes = _decode(data, header)
    if not codes:
        raise ImageError("no QR code is seen in this image; take it from nearer, straight and sharp, or paste the link")
    if len(codes) > MAX_CODES:
        raise ImageError(f"there are more than {MAX_CODES} QR codes in this image; crop it to one")
    return codes


def _decode(data: bytes, header: ImageHeader) -> tuple[bytes, ...]:
    try:
        import zxingcpp
        from PIL import Image
    except ImportError:
        raise ImageError("images are not read here; install zxing-cpp and pillow, or paste the link") from None
    try:
        with Image.open(io.BytesIO(data), formats=(header.format,)) as image:
            # Two readers that disagree on a header are what a bomb is made for.
            if image.size != (header.width, header.height):
                raise ImageError("this image says two things of its size; save it again")
            # A JPEG has its greys apart from its colours.
            image.draft("L", None)
            grey = _greys(image)
        found = zxingcpp.read_barcodes(grey, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    except (*_DAMAGE, Image.DecompressionBombError):
        raise ImageError("this image is damaged; save it again") from None
    ordered = sorted(found, key=lambda code: (code.position.top_left.y, code.position.top_left.x))
    return tuple(dict.fromkeys(bytes(code.bytes) for code in ordered if code.bytes))


def _greys(image: PillowImage.Image) -> PillowImage.Image:
    """Decode an image to greys, on white where it is transparent."""
    if "transparency" in image.info:
        image = image.convert("RGBA")
    grey = image.convert("L")
    if "A" not in image.getbands():
        return grey
    white = grey.point(lambda _: 255)
    white.paste(grey, mask=image.getchannel("A"))
    return white
