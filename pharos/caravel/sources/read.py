"""Tells by its content what somebody was given, whatever it is called. No network is asked, and nothing is changed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from pharos.caravel.errors import SeveralSourcesError, SourceError
from pharos.caravel.profiles.links import SCHEME, check_name
from pharos.caravel.sources.base import Source
from pharos.caravel.sources.conf import read_conf
from pharos.caravel.sources.image import read_codes
from pharos.caravel.sources.imageheader import MAX_IMAGE_FILE, is_image
from pharos.caravel.sources.loginlink import LoginSource
from pharos.caravel.sources.pharosfile import read_pharos_file
from pharos.caravel.sources.ticket import TicketSource
from pharos.caravel.sources.vless import looks_like_links, read_links, subscription_text
from pharos.wire.errors import LinkFormatError, WireError
from pharos.wire.seal.pharosfile import is_pharos_file
from pharos.wire.seal.ticket import FleetLink, TicketLink
from pharos.wire.units import KIB, MIB

MAX_SOURCE: Final = MAX_IMAGE_FILE
MAX_TEXT: Final = 4 * MIB
"""Of a list of a thousand links of the longest kind."""
TICKET: Final = "pharosvpn://enroll?"
FLEET: Final = "pharosvpn://fleet?"
_OURS: Final = "pharosvpn:"
_SECTION: Final = re.compile(r"^[ \t]*\[[ \t]*(?:interface|peer)[ \t]*\]", re.IGNORECASE | re.MULTILINE | re.ASCII)

_PAGE: Final = "this is a web page; save what is behind its link instead"
# What people try as well, and what they should do.
_STRANGERS: Final = (
    (b"PK\x03\x04", "this is a ZIP archive; unpack it, and import what is in it"),
    (b"PK\x05\x06", "this is an empty ZIP archive"),
    (b"\x1f\x8b", "this is a gzip archive; unpack it, and import what is in it"),
    (b"7z\xbc\xaf\x27\x1c", "this is a 7z archive; unpack it, and import what is in it"),
    (b"Rar!", "this is a RAR archive; unpack it, and import what is in it"),
    (b"%PDF", "this is a PDF; take a screenshot of the code in it"),
    (b"GIF8", "GIF images are not read; save it as PNG"),
    (b"BM", "BMP images are not read; save it as PNG"),
    (b"II*\0", "TIFF images are not read; save it as PNG"),
    (b"MM\0*", "TIFF images are not read; save it as PNG"),
    (b"<svg", "SVG images are not read; take a screenshot of the code"),
    (b"<?xml", "SVG images are not read; take a screenshot of the code"),
    (b"<!DOCTYPE", _PAGE),
    (b"<!doctype", _PAGE),
    (b"<html", _PAGE),
    (b"vpn://", "this is Amnezia's own format; export the connection there as a .conf for AmneziaWG"),
    (b"{", "this is JSON, perhaps of Xray's; ask for a vless:// link instead"),
)
_HEIF: Final = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif", b"hevc"})


def read_source(what: bytes | str | Path, *, pick: int | None = None) -> Source:
    """Return what ``what`` is: octets, a text, or the file of a path.

    ``pick`` chooses one of several QR codes in an image, from 1. Blocks for a second at the most.

    Raises: SourceError — it is nothing that caravel reads; ImageError, SeveralSourcesError among them. LinkFormatError,
    ParameterError, BundleError — it is, and is damaged. OSError — the file cannot be read.
    """
    if isinstance(what, Path):
        return _read(read_bounded(what), name=_name_of(what), pick=pick)
    if isinstance(what, str):
        what = what.encode("utf-8", "surrogateescape")
    return _read(what, pick=pick)


def read_bounded(path: Path) -> bytes:
    """Return a regular file, of a size that a source may have.

    A name may lead anywhere: a device, a pipe that nobody writes to, a link that somebody else has put there.

    Raises: SourceError, OSError.
    """
    if "\0" in str(path):
        raise SourceError("a file's name has no zero octet in it")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    if path.is_symlink():
        raise SourceError(f"{path} is a symbolic link; name the file itself")
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SourceError(f"{path} is no file; use - to read standard input")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return check_size(file.read(MAX_SOURCE + 1))
    finally:
        os.close(descriptor)


def check_size(data: bytes) -> bytes:
    """Return what is not too large. Raises: SourceError."""
    if len(data) > MAX_SOURCE:
        raise SourceError(f"at most {MAX_SOURCE // MIB} MiB are read; this is something else")
    return data


def _read(data: bytes, *, name: str = "", pick: int | None = None, in_image: bool = False) -> Source:
    check_size(data)
    if is_pharos_file(data):
        return read_pharos_file(data)
    if is_image(data) and not in_image:
        return _from_image(data, pick)
    text = _text(data)
    if text.startswith(TICKET):
        return TicketSource(TicketLink.parse(text))
    if text.startswith(FLEET):
        return LoginSource(FleetLink.parse(text))
    if text.startswith(_OURS):
        raise LinkFormatError("this link wants something that this program does not know; upgrade it")
    if _SECTION.search(text):
        return read_conf(text, name=name)
    if text.startswith(SCHEME) or looks_like_links(text):
        return read_links(text)
    hidden = subscription_text(text.encode())
    if hidden is not None:
        return read_links(hidden, subscribed=True)
    if not text:
        raise SourceError("there is nothing in it")
    raise SourceError(
        "this is nothing that caravel reads; it takes links, images with a QR code, .pharos files and configurations"
        " of AmneziaWG"
    )


def _text(data: bytes) -> str:
    head = data[:16].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, why in _STRANGERS:
        if head.startswith(magic):
            raise SourceError(why)
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        raise SourceError("HEIC and AVIF images are not read; take a screenshot of the code, or save it as JPEG")
    if len(data) > MAX_TEXT:
        raise SourceError(f"a text has at most {MAX_TEXT // KIB} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError("this is no text, no image and no .pharos file") from None
    if "\0" in text:
        raise SourceError("this is no text, no image and no .pharos file")
    return text.replace("\r\n", "\n").strip()


def _from_image(data: bytes, pick: int | None) -> Source:
    codes = read_codes(data)
    if len(codes) == 1:
        return _read(codes[0], in_image=True)
    if pick is None:
        found = tuple(map(_title_of, codes))
        listed = "; ".join(f"{number}: {title}" for number, title in enumerate(found, 1))
        raise SeveralSourcesError(f"there are {len(codes)} codes in this image, choose one ({listed})", found)
    if not 0 < pick <= len(codes):
        raise SourceError(f"there are {len(codes)} codes in this image, and no number {pick}")
    return _read(codes[pick - 1], in_image=True)


def _title_of(code: bytes) -> str:
    try:
        preview = _read(code, in_image=True).preview()
    except WireError:
        return "something else"
    # Of one link its place as well: two links look alike.
    return f"{preview.title}: {preview.items[0]}" if len(preview.items) == 1 else preview.title


def _name_of(path: Path) -> str:
    """Return what a configuration in this file is called; a name that could not be shown gives none."""
    try:
        return check_name(path.stem.strip())
    except LinkFormatError:
        return ""
