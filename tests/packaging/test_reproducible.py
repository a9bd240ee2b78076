"""Whoever builds the same sources elsewhere, later, as somebody else, gets the same bytes.

What differs between the two builds: folder, umask, zone, language, the order of sets, the machine's name and the
clock. Cost: half a minute for the page, as much for the wheel.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import carried
import pytest
import spa
from deb.errors import NotCachedError
from deb.package import PYTHONS
from deb.wheels import MACHINES, Lock, Target, fetch_wheels

from tests.packaging.built import EPOCH, ROOT, shared

pytestmark = pytest.mark.system

MUST = os.environ.get("CI") == "true"
SOURCES = ("pharos", "docs", "packaging", "requirements", "frontend")
FILES = ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", ".gitignore")
HERE = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}
ELSEWHERE = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "2"}
YEARS_LATER = "+1200d"


def clock(offset: str) -> dict[str, str]:
    """Return what makes programs believe in another time, where the library for that is."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found and MUST:
        pytest.fail("libfaketime is missing: run .ci/deps")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if found else {}


def elsewhere(command: list[str]) -> list[str]:
    """Run it on a machine of another name, where we may."""
    rename = 'hostname elsewhere.invalid && exec "$@"'
    return ["unshare", "--uts", "sh", "-euc", rename, "sh", *command] if os.geteuid() == 0 else command


def run(command: list[str], folder: Path, environment: dict[str, str], *, umask: int) -> None:
    changed = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **environment}
    done = subprocess.run(
        command, cwd=folder, env=changed, umask=umask, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copy_checkout(to: Path) -> Path:
    """Copy what a wheel is made from; its page comes along, and is shown to be the same by a test of its own."""
    unwanted = shutil.ignore_patterns("node_modules", "build", ".svelte-kit", "__pycache__", "_debs", "_debs.*")
    for name in SOURCES:
        shutil.copytree(ROOT / name, to / name, ignore=unwanted)
    for name in FILES:
        shutil.copy(ROOT / name, to / name)
    (to / ".cache").symlink_to(ROOT / ".cache")
    return to


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have the page, and the packages that it is built with."""
    if not MUST and spa.find_node() is None:
        pytest.skip("the page is built with a Node, which is not here")
    with shared(tmp_path_factory, "page"):
        spa.build()


def test_two_builds_of_the_page_are_the_same_bytes(page: None, tmp_path: Path) -> None:
    """The one that is here, and one in a folder of its own."""
    folder = tmp_path / "some where"
    (folder / "packaging").mkdir(parents=True)
    shutil.copy(ROOT / "packaging/spa.py", folder / "packaging")
    unwanted = shutil.ignore_patterns("node_modules", "build", ".svelte-kit")
    shutil.copytree(ROOT / "frontend", folder / "frontend", ignore=unwanted)
    if not (ROOT / "frontend/node_modules").is_dir():
        run([sys.executable, "packaging/spa.py", "--force"], ROOT, HERE, umask=0o022)
    # Links: its files are many, and only read.
    shutil.copytree(
        ROOT / "frontend/node_modules", folder / "frontend/node_modules", copy_function=os.link, symlinks=True
    )
    run(elsewhere([sys.executable, "packaging/spa.py"]), folder, ELSEWHERE | clock(YEARS_LATER), umask=0o077)
    assert files_of(folder / "pharos/helm/web/_spa") == files_of(spa.OUT)


def test_two_builds_of_the_wheel_are_the_same_bytes(page: None, tmp_path: Path) -> None:
    if not MUST and shutil.which("dpkg-deb") is None:
        pytest.skip("the packages inside a wheel are built with dpkg-deb, which is not here")
    try:
        for target in (Target(python, arch) for python in PYTHONS for arch in MACHINES):
            fetch_wheels(
                Lock.read(ROOT / "requirements/agent.txt"), target, cache=ROOT / ".cache/deb", offline=not MUST
            )
    except NotCachedError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"]
    one, two = copy_checkout(tmp_path / "one"), copy_checkout(tmp_path / "an other")
    run(command, one, {carried.SWITCH: "fast"} | HERE, umask=0o022)
    # The packages inside are built anew there, too.
    run(elsewhere(command), two, {carried.SWITCH: "fast"} | ELSEWHERE | clock(YEARS_LATER), umask=0o077)
    [first], [second] = (one / "out").glob("*.whl"), (two / "out").glob("*.whl")
    assert first.name == second.name
    assert len([name for name in zipfile.ZipFile(first).namelist() if name.endswith(".deb")]) == 4
    assert first.read_bytes() == second.read_bytes(), differing(first, second)


def differing(first: Path, second: Path) -> list[str]:
    """Return the names of the entries that are not alike."""
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as two:
        names = sorted(set(one.namelist()) | set(two.namelist()))
        in_both = set(one.namelist()) & set(two.namelist())
        return [name for name in names if name not in in_both or one.read(name) != two.read(name)] + [
            f"{name}: {one.getinfo(name)} {two.getinfo(name)}"
            for name in sorted(in_both)
            if (one.getinfo(name).external_attr, one.getinfo(name).date_time)
            != (two.getinfo(name).external_attr, two.getinfo(name).date_time)
        ]


_TELL = """
import pathlib, socket, time
told = [socket.gethostname(), list(map(str, {"a", "b", "c", "d", "e", "f"})), time.gmtime().tm_year, time.tzname]
pathlib.Path("told").write_text(repr(told))
"""


def test_the_second_build_has_another_clock_another_name_and_another_order(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TELL]
    run(command, tmp_path, HERE, umask=0o022)
    mode, first = (tmp_path / "told").stat().st_mode, ast.literal_eval((tmp_path / "told").read_text())
    (tmp_path / "told").unlink()
    run(elsewhere(command), tmp_path, ELSEWHERE | clock(YEARS_LATER), umask=0o077)
    second = ast.literal_eval((tmp_path / "told").read_text())
    assert (tmp_path / "told").stat().st_mode != mode
    assert sorted(first[1]) == sorted(second[1])
    wanted = (os.geteuid() == 0, True, bool(clock(YEARS_LATER)), True)
    assert tuple(one != other for one, other in zip(first, second, strict=True)) == wanted
