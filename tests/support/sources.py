"""What people hand over: images of codes, configurations, and the bombs among them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import segno
from PIL import Image

from tests.wire.reality.test_sharelink import LINK

CONF = (
    "[Interface]\n"
    "PrivateKey = kAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEE=\n"
    "Address = 10.7.0.2/32, fd00::2/128\n"
    "DNS = 10.7.0.1\n"
    "Jc = 4\nJmin = 8\nJmax = 80\nS1 = 15\nS2 = 20\nH1 = 5\nH2 = 6\nH3 = 7\nH4 = 8\n"
    "\n[Peer]\n"
    "PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"
    "AllowedIPs = 0.0.0.0/0, ::/0\n"
    "Endpoint = node.example:51820\n"
    "PersistentKeepalive = 25\n"
)
PRIVATE_KEY = "kAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEE="
OTHER_LINK = LINK.replace("203.0.113.7", "203.0.113.8").replace("Amsterdam", "Berlin")
SUBSCRIPTION = base64.b64encode(f"{LINK}\ntrojan://hunter2@x:1\n{OTHER_LINK}\n{OTHER_LINK}x\n".encode())


def code_image(*texts: str, scale: int = 4) -> Image.Image:
    """Draw QR codes below each other, from the top."""
    codes = []
    for text in texts:
        out = io.BytesIO()
        segno.make_qr(text, error="l").save(out, kind="png", scale=scale, border=6)
        codes.append(Image.open(io.BytesIO(out.getvalue())).convert("L"))
    sheet = Image.new("L", (max(code.width for code in codes), sum(code.height for code in codes)), 255)
    at = 0
    for code in codes:
        sheet.paste(code, (0, at))
        at += code.height
    return sheet


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def qr_png(*texts: str) -> bytes:
    return encoded(code_image(*texts), "PNG")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few kilobytes whose pixels, all white, would fill width × height octets."""
    squeezed = zlib.compressobj(9)
    row = b"\0" + b"\xff" * width
    content = b"".join(squeezed.compress(row) for _ in range(height)) + squeezed.flush()
    return png_of(width, height, content)


def png_of(width: int, height: int, content: bytes, *before: bytes) -> bytes:
    """Return a grey PNG with that content, whatever it is."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")


def png_with_texts(count: int, size: int) -> bytes:
    """Return a PNG with compressed texts of ``size`` octets each before its one pixel."""
    text = zlib.compress(bytes(size), 9)
    chunks = [png_chunk(b"zTXt", b"Comment %d\0\0" % number + text) for number in range(count)]
    return png_of(1, 1, zlib.compress(b"\0\xff"), *chunks)


def jpeg_scans(image: Image.Image, count: int) -> bytes:
    """Return a progressive JPEG with its last scan ``count`` times: each costs a pass over all pixels."""
    data = encoded(image.convert("RGB"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]
