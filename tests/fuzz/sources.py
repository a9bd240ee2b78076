"""Targets: what people hand to caravel, whatever it is, and what an organisation writes."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import tempfile
import zlib
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from pharos.caravel.errors import ImageError, SourceError
from pharos.caravel.managed import Managed
from pharos.caravel.managedfile import check_file
from pharos.caravel.sources.base import Preview
from pharos.caravel.sources.deeplink import parse_deep_link
from pharos.caravel.sources.image import read_codes
from pharos.caravel.sources.imageheader import MAX_PIXELS, read_image_header
from pharos.caravel.sources.read import read_source
from pharos.wire.errors import BundleError, ConfigError, LinkFormatError, ParameterError, WireError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.filecontent import decode_content, encode_content
from pharos.wire.seal.pharosfile import open_file, seal_file
from tests.support.sources import CONF, SUBSCRIPTION, code_image, encoded, qr_png
from tests.wire.reality.test_sharelink import LINK
from tests.wire.seal.test_pharosfile import COLLECTION
from tests.wire.seal.test_pharosfile import device as file_device
from tests.wire.seal.test_ticket import FLEET_TEXT, TEXT, TICKET

KEY = KeyPair.from_private_bytes(b"k" * 32)
MAX_SENTENCE = 1000
MANAGED = b"""organisation = "Example"
sources = ["ticket", "conf"]
always_on = true
floor = "reality"
[enrolment]
ticket_file = "/etc/pharos/ticket"
[split]
mode = "exclude"
routes = ["192.168.0.0/16"]
"""


def source(data: bytes) -> None:
    """Anything is a source that can be shown, or refused in a sentence of our own errors."""
    refused: WireError | None = None
    try:
        shown(read_source(data).preview())
    except (SourceError, LinkFormatError, ParameterError, BundleError) as error:
        refused = error
    if refused is not None:
        assert 0 < len(str(refused)) < MAX_SENTENCE
        assert str(refused).isprintable()


def deep_link(data: bytes) -> None:
    """What a browser hands over joins a fleet, keeps links, or is refused; it is never a file's name."""
    try:
        found = parse_deep_link(data.decode("utf-8", "replace"))
    except (SourceError, LinkFormatError):
        return
    shown(found.preview())
    assert found.kind.value in ("ticket", "login", "links")


def shown(preview: Preview) -> None:
    """Nothing in a preview moves a cursor."""
    for line in (preview.title, preview.does, preview.fleet, preview.words, *preview.items, *preview.warnings):
        assert line.isprintable()


def image(data: bytes) -> None:
    """An image has codes or is refused, and none is decoded that is larger than it may be."""
    for candidate in (data, patched(data)):
        try:
            header = read_image_header(candidate)
        except ImageError:
            continue
        assert 0 < header.width * header.height <= MAX_PIXELS
        with contextlib.suppress(ImageError):
            read_codes(candidate)


def patched(data: bytes) -> bytes:
    """Return a good image with some octets of ``data`` in it, and sums that fit: chance alone makes no image."""
    if len(data) < 4:
        return b""
    seeds = images()
    seed = bytearray(seeds[data[0] % len(seeds)])
    at, patch = int.from_bytes(data[1:3], "big") % len(seed), data[3:35]
    seed[at : at + len(patch)] = patch
    return with_sums(bytes(seed)) if seed.startswith(b"\x89PNG") else bytes(seed)


def with_sums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the check sums that they should, as far as they go."""
    made, at = bytearray(data), 8
    while at + 12 <= len(made):
        length = int.from_bytes(made[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(made):
            break
        made[end : end + 4] = zlib.crc32(made[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(made)


def pharos_file(data: bytes) -> None:
    """A file opens to what was closed in it, or is refused as a bundle is; so is its content alone."""
    for content in (data, _opened(data)):
        try:
            found = decode_content(content)
        except BundleError:
            continue
        assert encode_content(found) == content


def _opened(data: bytes) -> bytes:
    try:
        return open_file(data, passphrase="x", sealing_key=KEY)
    except BundleError:
        return b""


def managed_file(data: bytes) -> None:
    """What an organisation writes is understood whole or refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "managed.toml"
        path.write_bytes(data)
        try:
            found = check_file(path)
        except ConfigError:
            return
    assert isinstance(found, Managed)
    assert found.organisation.isprintable()


def sources() -> tuple[bytes, ...]:
    texts = (TEXT, FLEET_TEXT, LINK, CONF, f"# x\n{LINK}\nss://x\n")
    return (*(text.encode() for text in texts), SUBSCRIPTION, *files(), qr_png(LINK))


def links() -> tuple[bytes, ...]:
    return TEXT.encode(), FLEET_TEXT.encode(), LINK.encode()


@functools.cache
def images() -> tuple[bytes, ...]:
    drawn = code_image(TEXT, scale=2)
    return (
        encoded(drawn, "PNG"),
        encoded(drawn, "JPEG"),
        encoded(drawn.convert("RGB"), "JPEG", progressive=True),
        encoded(drawn.convert("RGB"), "WEBP", lossless=True),
        encoded(drawn.convert("RGB"), "WEBP"),
        encoded(drawn.convert("RGBA"), "WEBP", lossless=True, exif=b"Exif\0\0x"),
        encoded(drawn.convert("I;16"), "PNG"),
        encoded(drawn, "PNG", pnginfo=_texts()),
        encoded(drawn.convert("P"), "PNG", transparency=0),
    )


def _texts() -> PngInfo:
    texts = PngInfo()
    texts.add_text("Comment", "a" * 100, zip=True)
    texts.add_itxt("Title", "b", "en", "c", zip=True)
    return texts


def files() -> tuple[bytes, ...]:
    # None with a passphrase: what it costs would be all that is fuzzed.
    contents = [encode_content(content) for content in (TICKET, COLLECTION, file_device())]
    return (
        *contents,
        *(seal_file(content, made=1) for content in contents),
        seal_file(contents[0], made=1, recipient_key=KEY.public),
    )


def words() -> tuple[bytes, ...]:
    keys = ("ticket", "device", "links", "confs", "name", "v", "enc", "salt", "passes", "octets")
    return (*(json.dumps(key).encode() for key in keys), b"null", b"true", b"1e9", base64.b64encode(bytes(32)))
