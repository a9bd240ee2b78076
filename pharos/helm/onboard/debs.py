"""The Debian packages that helm puts on nodes and relays: where they lie, and what each says of itself.

A .deb (deb(5)) is an ar archive of ``debian-binary``, ``control.tar.*`` and ``data.tar.*``. It is read here rather than
by dpkg-deb, which a laptop with another system does not have.
"""

from __future__ import annotations

import email.parser
import hashlib
import io
import lzma
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs

from pharos.helm.errors import InvalidRequestError, NotFoundError

CARRIED: Final = Path(__file__).parent / "_debs"
"""A wheel has them with it."""
ROOT: Final = Path(__file__).resolve().parents[3]
"""Of the sources, if this is a checkout."""

AR_MAGIC: Final = b"!<arch>\n"
AR_HEADER: Final = 60
AR_END: Final = b"`\n"
MAX_MEMBERS: Final = 8
"""deb(5) has three; those that begin with an underscore are others' additions, and to be passed over."""
MAX_CONTROL: Final = 4 << 20
"""Octets of control.tar, packed or not. Most of it is a line of some 100 octets for each file of the package; the
largest of ours has some 5,000."""
MAX_MEMORY: Final = 128 << 20
"""Octets that unpacking may take; xz's strongest level takes 65 MiB."""
GZIP: Final = 16 + zlib.MAX_WBITS
"""What zlib calls its decoder of RFC 1952."""


@attrs.frozen(kw_only=True)
class Deb:
    """A package, whole as far as its frame tells."""

    path: Path
    package: str
    version: str
    """As Debian orders it."""
    arch: str

    def digest(self) -> str:
        """Return its SHA-256 in hexadecimal. Blocks."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def find_deb(package: str, arch: str, override: Path | None = None) -> Deb:
    """Return the package for a machine: the one that the operator names, or that came along, or was built last.

    Raises: NotFoundError — there is none. InvalidRequestError — it is no .deb, is cut short, or is another package or
    for another architecture.
    """
    path = override if override is not None else _newest(package, arch)
    if path is None:
        raise NotFoundError(
            f'this helm came without {package} for {arch}: build it with `make deb ARGS="--arch {arch}"` in the'
            " sources, or name one with --deb FILE"
        )
    deb = read_deb(path)
    if deb.package != package:
        raise InvalidRequestError(f"{path} is the package {deb.package}, and the machine is to get {package}")
    if deb.arch != arch:
        raise InvalidRequestError(f"{path} is for {deb.arch}, and the machine is {arch}")
    return deb


def _newest(package: str, arch: str) -> Path | None:
    places = [CARRIED]
    # Of an installed helm's neighbours none is ours.
    if (ROOT / "packaging/build_deb.py").is_file():
        places.append(ROOT / "dist")
    found = [path for place in places for path in place.glob(f"{package}_*_{arch}.deb")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def read_deb(path: Path) -> Deb:
    """Return what a package says of itself. Raises: NotFoundError, InvalidRequestError."""
    try:
        with path.open("rb") as file:
            control = _control(file)
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror or error}") from error
    except _DamagedError as error:
        raise InvalidRequestError(f"{path} is no package that can be installed: {error}") from error
    said = email.parser.HeaderParser().parsestr(control)
    package, version, arch = said["Package"], said["Version"], said["Architecture"]
    if not (package and version and arch):
        raise InvalidRequestError(f"{path} is no package that can be installed: it does not say which it is")
    return Deb(path=path, package=package, version=version, arch=arch)


class _DamagedError(Exception):
    """The file is not what it should be."""


def _control(file: BinaryIO) -> str:
    """Return the text of the control file, having seen that every member is there to its end."""
    if file.read(len(AR_MAGIC)) != AR_MAGIC:
        raise _DamagedError("it is not a .deb")
    end = file.seek(0, io.SEEK_END)
    file.seek(len(AR_MAGIC))
    packed: dict[str, bytes] = {}
    for _ in range(MAX_MEMBERS):
        name, size = _header(file)
        if file.tell() + size > end:
            raise _DamagedError("it is cut short")
        if name.startswith("data.tar"):
            break
        if size > MAX_CONTROL:
            raise _DamagedError(f"its {name} has {size} octets")
        packed[name.partition(".tar")[0]] = _unpack(name, file.read(size))
        # Members begin at even places.
        file.seek(size % 2, io.SEEK_CUR)
    else:
        raise _DamagedError("it has no data.tar")
    if not packed.get("debian-binary", b"").startswith(b"2."):
        raise _DamagedError("it is not a .deb of format 2")
    if "control" not in packed:
        raise _DamagedError("it has no control.tar")
    try:
        with tarfile.open(fileobj=io.BytesIO(packed["control"])) as archive:
            for entry in archive:
                if entry.isfile() and entry.name.removeprefix("./") == "control":
                    content = archive.extractfile(entry)
                    assert content is not None, "a regular file has content"
                    return content.read().decode()
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise _DamagedError("its control.tar does not read") from error
    raise _DamagedError("its control.tar has no control file")


def _header(file: BinaryIO) -> tuple[str, int]:
    header = file.read(AR_HEADER)
    if len(header) < AR_HEADER:
        raise _DamagedError("it is cut short")
    size = header[48:58].strip()
    if not header.endswith(AR_END) or not size.isdigit():
        raise _DamagedError("it is not a .deb")
    return header[:16].decode("ascii", "replace").rstrip(" /"), int(size)


def _unpack(name: str, packed: bytes) -> bytes:
    decoder: Any
    if name.endswith(".xz"):
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_MEMORY)
    elif name.endswith(".gz"):
        decoder = zlib.decompressobj(GZIP)
    elif "." in name.removesuffix(".tar"):
        raise _DamagedError(f"it has a {name}, and packages of Pharos have a control.tar.xz")
    else:
        return packed
    try:
        unpacked: bytes = decoder.decompress(packed, MAX_CONTROL + 1)
    except (lzma.LZMAError, zlib.error) as error:
        raise _DamagedError(f"its {name} does not unpack") from error
    if len(unpacked) > MAX_CONTROL:
        raise _DamagedError(f"its {name} has more than {MAX_CONTROL} octets")
    if not decoder.eof:
        raise _DamagedError(f"its {name} does not unpack")
    return unpacked
