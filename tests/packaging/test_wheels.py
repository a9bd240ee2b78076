"""A package holds only wheels that the lock names, hash by hash."""

from __future__ import annotations

import hashlib
import re
import tomllib
import zipfile
from pathlib import Path

import attrs
import pytest
from deb.errors import NotCachedError, PackagingError
from deb.values import debian_version
from deb.wheels import Lock, Target, fetch_wheels, unpack_wheel
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.built import ROOT

TARGET = Target("3.11", "amd64")


def make_wheel(path: Path, *names: str) -> str:
    """Write a wheel of files with no content and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_lock(folder: Path, *lines: str) -> Lock:
    (folder / "lock.txt").write_text("".join(f"{line}\n" for line in lines))
    return Lock.read(folder / "lock.txt")


def cache_folder(cache: Path, lock: Lock) -> Path:
    return cache / f"amd64-cp311-{lock.digest[:16]}"


def test_cached_wheel_with_a_locked_hash_is_taken(tmp_path: Path) -> None:
    digest = make_wheel(tmp_path / "a-1.0-py3-none-any.whl", "a.py")
    lock = write_lock(tmp_path, "a==1.0 \\", f"    --hash=sha256:{'0' * 64} \\", f"    --hash=sha256:{digest}")
    folder = cache_folder(tmp_path, lock)
    folder.mkdir()
    wheel = (tmp_path / "a-1.0-py3-none-any.whl").rename(folder / "a-1.0-py3-none-any.whl")
    assert fetch_wheels(lock, TARGET, cache=tmp_path, offline=True) == {"a": wheel}
    # The same file, one byte longer: what the lock does not name is not packed.
    wheel.write_bytes(wheel.read_bytes() + b"!")
    with pytest.raises(PackagingError, match="not the wheel that was locked"):
        fetch_wheels(lock, TARGET, cache=tmp_path, offline=True)
    # Nothing but the hash stood in its way.
    careless = attrs.evolve(
        lock, pins=((Requirement("a==1.0"), frozenset({hashlib.sha256(wheel.read_bytes()).hexdigest()})),)
    )
    assert fetch_wheels(careless, TARGET, cache=tmp_path, offline=True) == {"a": wheel}


def test_wheel_that_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, f"a==1.0 --hash=sha256:{'0' * 64}")
    make_wheel(cache_folder(tmp_path, lock) / "b-1.0-py3-none-any.whl", "b.py")
    with pytest.raises(PackagingError, match=r"b-1\.0-py3"):
        fetch_wheels(lock, TARGET, cache=tmp_path, offline=True)


def test_missing_wheel_is_named(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, f"a==1.0 --hash=sha256:{'0' * 64}")
    cache_folder(tmp_path, lock).mkdir()
    with pytest.raises(PackagingError, match="no wheel of a"):
        fetch_wheels(lock, TARGET, cache=tmp_path, offline=True)


def test_offline_build_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotCachedError, match="run `make deb`"):
        fetch_wheels(write_lock(tmp_path, "a==1.0 --hash=sha256:0"), TARGET, cache=tmp_path, offline=True)


@pytest.mark.parametrize("line", ["a==1.0", "a>=1.0 --hash=sha256:0", "a==1.* --hash=sha256:0", "a --hash=sha256:0"])
def test_lock_without_an_exact_version_and_hash_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(PackagingError, match="compile the file anew"):
        write_lock(tmp_path, line)


def test_markers_are_those_of_the_target_and_not_of_this_python(tmp_path: Path) -> None:
    lock = write_lock(
        tmp_path,
        "a==1.0 ; python_full_version < '3.13' --hash=sha256:0",
        "b==1.0 ; platform_machine == 'aarch64' --hash=sha256:0",
        "c==1.0 ; sys_platform == 'win32' --hash=sha256:0",
    )
    assert set(lock.pins_for(TARGET)) == {"a"}
    assert set(lock.pins_for(Target("3.14", "arm64"))) == {"b"}


@pytest.mark.parametrize("name", ["../a.py", "/a.py", "a-1.0.data/scripts/a", "a/../../b.py"])
def test_wheel_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    make_wheel(tmp_path / "a-1.0-py3-none-any.whl", "a/__init__.py", name)
    with pytest.raises(PackagingError, match="wants to put a file"):
        unpack_wheel(tmp_path / "a-1.0-py3-none-any.whl", tmp_path / "site")
    assert {path.name for path in tmp_path.iterdir()} == {"a-1.0-py3-none-any.whl", "site"}


def test_wheel_is_unpacked_without_what_is_never_run(tmp_path: Path) -> None:
    names = ("a/__init__.py", "a/_b.abi3.so", "a/_b.c", "a/a.pyi", "a/tests/test_a.py", "_c.cpython-311.so")
    info = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "LICENSE.MIT", "sboms/a.json")
    beside = "a-1.0.data/data/share/man/man1/a.1"
    make_wheel(tmp_path / "a-1.0-py3-none-any.whl", *names, beside, *(f"a-1.0.dist-info/{name}" for name in info))
    assert unpack_wheel(tmp_path / "a-1.0-py3-none-any.whl", tmp_path / "site") == {"a", "_c"}
    assert {str(p.relative_to(tmp_path / "site")) for p in (tmp_path / "site").rglob("*") if p.is_file()} == {
        "a/__init__.py",
        "a/_b.abi3.so",
        "_c.cpython-311.so",
        "a-1.0.dist-info/METADATA",
        "a-1.0.dist-info/licenses/LICENSE",
        "a-1.0.dist-info/LICENSE.MIT",
    }


@pytest.mark.parametrize("which", ["agent", "caravel"])
def test_lock_of_a_package_is_a_part_of_the_projects_pins(which: str) -> None:
    wanted = {line for line in (ROOT / f"requirements/{which}.in").read_text().split("\n") if re.match(r"\w", line)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wanted <= {Requirement(text).name for text in project["dependencies"]}

    pins, runtime = (Lock.read(ROOT / f"requirements/{name}.txt").pins_for(TARGET) for name in (which, "runtime"))
    assert {canonicalize_name(name) for name in wanted} <= pins.keys() <= runtime.keys()
    for name, (requirement, hashes) in pins.items():
        assert requirement.specifier == runtime[name][0].specifier, f"compile requirements/{which}.txt anew"
        assert hashes == runtime[name][1]


@given(st.integers(0, 3), st.sampled_from(["", "a1", "b2", "rc3"]), st.sampled_from(["", ".dev4"]))
def test_version_sorts_in_debian_as_in_python(minor: int, pre: str, dev: str) -> None:
    said = debian_version(f"1.{minor}{pre}{dev}")
    assert said.startswith(f"1.{minor}")
    # A tilde sorts before the end of the string (deb-version(7)).
    assert ("~" in said) is bool(pre or dev)
    assert said.count("~") == bool(pre) + bool(dev)
