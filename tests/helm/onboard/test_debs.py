"""helm finds the package for a machine, and takes no other."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.errors import InvalidRequestError, NotFoundError
from pharos.helm.onboard import debs
from pharos.helm.onboard.debs import MAX_CONTROL, Deb, find_deb, read_deb


def make_tar(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def make_ar(**members: bytes) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        name = name.replace("__", "-").replace("_", ".")
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def make_control(package: str = "pharos-buoy", arch: str = "amd64") -> bytes:
    return f"Package: {package}\nVersion: 0.1.0~rc1\nArchitecture: {arch}\nDescription: a node\n of a fleet\n".encode()


def make_deb(package: str = "pharos-buoy", arch: str = "amd64") -> bytes:
    control = lzma.compress(make_tar(md5sums=b"0", control=make_control(package, arch)))
    return make_ar(debian__binary=b"2.0\n", control_tar_xz=control, data_tar_xz=lzma.compress(make_tar(x=b"y" * 999)))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the folders of a wheel's packages and of a checkout's, empty."""
    carried, root = tmp_path / "site/_debs", tmp_path / "checkout"
    for folder in (carried, root / "dist", root / "packaging"):
        folder.mkdir(parents=True)
    (root / "packaging/build_deb.py").touch()
    monkeypatch.setattr(debs, "CARRIED", carried)
    monkeypatch.setattr(debs, "ROOT", root)
    return carried, root / "dist"


def put(folder: Path, package: str, arch: str, *, version: str = "0.1.0~rc1", at: int = 0) -> Path:
    path = folder / f"{package}_{version}_{arch}.deb"
    path.write_bytes(make_deb(package, arch))
    os.utime(path, (at, at))
    return path


def test_package_that_came_along_is_found_for_each_machine(places: tuple[Path, Path]) -> None:
    carried, _ = places
    for package in ("pharos-buoy", "pharos-beacon"):
        for arch in ("amd64", "arm64"):
            path = put(carried, package, arch)
            assert find_deb(package, arch) == Deb(path=path, package=package, version="0.1.0~rc1", arch=arch)


def test_package_that_was_built_last_is_taken(places: tuple[Path, Path]) -> None:
    carried, built = places
    put(carried, "pharos-buoy", "amd64", at=1)
    put(built, "pharos-buoy", "amd64", version="0.9", at=2)
    newest = put(built, "pharos-buoy", "amd64", version="0.10", at=3)
    assert find_deb("pharos-buoy", "amd64").path == newest


def test_folder_beside_an_installed_helm_is_not_taken_for_a_checkouts(places: tuple[Path, Path]) -> None:
    _, built = places
    put(built, "pharos-buoy", "amd64")
    (built.parent / "packaging/build_deb.py").unlink()
    with pytest.raises(NotFoundError):
        find_deb("pharos-buoy", "amd64")


def test_operator_names_another(places: tuple[Path, Path], tmp_path: Path) -> None:
    put(places[0], "pharos-buoy", "amd64")
    own = put(tmp_path, "pharos-buoy", "amd64")
    assert find_deb("pharos-buoy", "amd64", own).path == own


def test_where_there_is_none_the_error_says_how_to_get_one(places: tuple[Path, Path]) -> None:
    put(places[0], "pharos-buoy", "amd64")
    with pytest.raises(
        NotFoundError, match=re.escape('pharos-buoy for arm64: build it with `make deb ARGS="--arch arm64"`')
    ):
        find_deb("pharos-buoy", "arm64")
    with pytest.raises(NotFoundError, match="--deb FILE"):
        find_deb("pharos-beacon", "amd64")


def test_package_for_another_machine_is_refused(places: tuple[Path, Path], tmp_path: Path) -> None:
    own = put(tmp_path, "pharos-buoy", "arm64")
    with pytest.raises(InvalidRequestError, match=f"{own} is for arm64, and the machine is amd64"):
        find_deb("pharos-buoy", "amd64", own)
    # Not its name decides, but what it says inside.
    lying = own.rename(tmp_path / "pharos-buoy_0.1.0_amd64.deb")
    with pytest.raises(InvalidRequestError, match="is for arm64"):
        find_deb("pharos-buoy", "amd64", lying)
    shutil.copy(lying, places[0])
    with pytest.raises(InvalidRequestError, match="is for arm64"):
        find_deb("pharos-buoy", "amd64")


def test_another_package_is_refused(tmp_path: Path) -> None:
    own = put(tmp_path, "pharos-beacon", "amd64")
    with pytest.raises(
        InvalidRequestError, match="is the package pharos-beacon, and the machine is to get pharos-buoy"
    ):
        find_deb("pharos-buoy", "amd64", own)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.deb cannot be read: No such file"):
        find_deb("pharos-buoy", "amd64", tmp_path / "none.deb")
    with pytest.raises(NotFoundError, match="cannot be read: Is a directory"):
        find_deb("pharos-buoy", "amd64", tmp_path)


CONTROL = make_tar(control=make_control())
BOMB = make_tar(control=b" " * (MAX_CONTROL + 1))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a .deb"),
        (b"PK\x03\x04" + bytes(200), "not a .deb"),
        (b"!<arch>\n", "cut short"),
        (b"!<arch>\n" + b"x" * 60, "not a .deb"),
        (make_ar(debian__binary=b"3.0\n", control_tar=CONTROL, data_tar=b""), "format 2"),
        (make_ar(debian__binary=b"2.0\n", data_tar=b""), "no control.tar"),
        (make_ar(debian__binary=b"2.0\n", control_tar=CONTROL), "cut short"),
        (make_ar(debian__binary=b"2.0\n", **{f"more{n}": b"" for n in range(9)}), "no data.tar"),
        (make_ar(debian__binary=b"2.0\n", control_tar_zst=b"", data_tar=b""), "has a control.tar.zst"),
        (make_ar(debian__binary=b"2.0\n", control_tar_xz=b"x" * 99, data_tar=b""), "control.tar.xz does not unpack"),
        (make_ar(debian__binary=b"2.0\n", control_tar_gz=gzip.compress(CONTROL)[:-9], data_tar=b""), "does not unpack"),
        (make_ar(debian__binary=b"2.0\n", control_tar=b"x" * 999, data_tar=b""), "does not read"),
        (make_ar(debian__binary=b"2.0\n", control_tar=make_tar(md5sums=b""), data_tar=b""), "no control file"),
        (make_ar(debian__binary=b"2.0\n", control_tar=make_tar(control=b"\xff"), data_tar=b""), "does not read"),
        (make_ar(debian__binary=b"2.0\n", control_tar=make_tar(control=b"Package: x"), data_tar=b""), "which it is"),
        (make_ar(debian__binary=b"2.0\n", control_tar_xz=lzma.compress(BOMB, preset=1), data_tar=b""), "more than"),
        (make_ar(debian__binary=b"2.0\n", control_tar_gz=gzip.compress(BOMB, 1), data_tar=b""), "more than"),
        (make_ar(debian__binary=b"2.0\n", control_tar=BOMB, data_tar=b""), r"control.tar has \d+ octets"),
    ],
)
def test_what_is_no_package_is_refused_with_the_reason(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "own.deb").write_bytes(content)
    with pytest.raises(InvalidRequestError, match=f"own.deb is no package that can be installed: .*{says}"):
        read_deb(tmp_path / "own.deb")


def test_package_that_was_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = make_deb()
    for length in range(len(whole) - 1):
        (tmp_path / "own.deb").write_bytes(whole[:length])
        with pytest.raises(InvalidRequestError):
            read_deb(tmp_path / "own.deb")


@given(junk=st.binary(max_size=2000), at=st.integers(0, 1500))
def test_whatever_the_file_holds_only_a_refusal_comes_out(
    junk: bytes, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    control = bytearray(CONTROL)
    control[at : at + len(junk)] = junk
    path = tmp_path_factory.getbasetemp() / "junk.deb"
    for content in (junk, make_ar(debian__binary=b"2.0\n", control_tar=bytes(control[: len(CONTROL)]), data_tar=b"")):
        path.write_bytes(content)
        with contextlib.suppress(InvalidRequestError):
            read_deb(path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here to build a package")
@pytest.mark.parametrize("kind", ["xz", "gzip", "none"])
def test_what_dpkg_builds_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "tree/DEBIAN").mkdir(parents=True)
    control = make_control() + b"Maintainer: nobody <nobody@pharosvpn.invalid>\n"
    (tmp_path / "tree/DEBIAN/control").write_bytes(control)
    built = tmp_path / "own.deb"
    command = ["dpkg-deb", f"-Z{kind}", "--uniform-compression", "--build", str(tmp_path / "tree"), str(built)]
    subprocess.run(command, capture_output=True, check=True)
    assert find_deb("pharos-buoy", "amd64", built).version == "0.1.0~rc1"
