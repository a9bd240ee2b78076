"""Row 70. Position: whoever runs a registry, a mirror or a cache, or the way there. Wants: code of theirs in a build.

Countermeasures: every lock has the hash of each file that may be installed, only wheels are taken, and the hashes are
looked at again when a package is packed. (Known faults of what was pinned: `make audit`; what is inside: `make sbom`.)
Cost: ten seconds; the registry is a folder, or a server on this machine's loopback.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from deb.errors import PackagingError
from deb.wheels import Lock, fetch_wheels
from packaging.requirements import Requirement
from spa import find_node

from tests.packaging.test_wheels import TARGET, cache_folder, write_lock

HONEST, HOSTILE = "print('honest')\n", "print('hostile')\n"
WHEEL = "lantern-1.0-py3-none-any.whl"
REFUSES = "do not match the hashes"


def make_wheel(path: Path, code: str) -> str:
    """Write a wheel of one module, and return its hash."""
    files = {
        "lantern.py": code,
        "lantern-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: lantern\nVersion: 1.0\n",
        "lantern-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "lantern-1.0.dist-info/RECORD": "",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pip(target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Install as the Makefile does, but from the place that the options name."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir"]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        environment.pop(name, None)
    words = [*command, "--target", str(target), *options]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Have a registry on loopback; give its address and the folder of its files."""
    folder = tmp_path / "index"
    (folder / "lantern").mkdir(parents=True)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder)))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder / "lantern"
    server.shutdown()
    serving.join()
    server.server_close()


def lock_of(tmp_path: Path) -> Path:
    """Return a lock of the honest wheel."""
    honest = make_wheel(tmp_path / "honest" / WHEEL, HONEST)
    path = tmp_path / "lock.txt"
    path.write_text(f"lantern==1.0 --hash=sha256:{honest}\n")
    return path


def ran(target: Path) -> str:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import lantern"
    done = subprocess.run([sys.executable, "-I", "-c", script, str(target)], capture_output=True, text=True, check=True)
    return done.stdout


def test_a70_without_hashes_a_swapped_wheel_is_taken_which_turns_red(index: tuple[str, Path], tmp_path: Path) -> None:
    address, files = index
    make_wheel(files / WHEEL, HOSTILE)
    done = pip(tmp_path / "site", "--only-binary", ":all:", "--index-url", address, "lantern==1.0")
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path / "site") == "hostile\n"


def test_a70_a_registry_that_serves_another_wheel_of_that_version_is_refused(
    index: tuple[str, Path], tmp_path: Path
) -> None:
    address, files = index
    lock = lock_of(tmp_path)
    options = ("--only-binary", ":all:", "--require-hashes", "--index-url", address, "-r", str(lock))
    make_wheel(files / WHEEL, HOSTILE)
    done = pip(tmp_path / "site", *options)
    assert done.returncode != 0
    assert REFUSES in done.stderr.lower()
    assert not (tmp_path / "site/lantern.py").exists()
    # The same registry, honest again: nothing else stood in the way.
    make_wheel(files / WHEEL, HONEST)
    done = pip(tmp_path / "site", *options)
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path / "site") == "honest\n"


def test_a70_a_requirement_that_nobody_locked_is_not_installed(tmp_path: Path) -> None:
    """A locked package cannot draw in another one."""
    lock = lock_of(tmp_path)
    lock.write_text(lock.read_text() + "stowaway==1.0\n")
    make_wheel(tmp_path / "honest" / WHEEL.replace("lantern", "stowaway"), HOSTILE)
    options = ("--no-index", "--only-binary", ":all:", "--find-links", str(tmp_path / "honest"))
    done = pip(tmp_path / "site", *options, "--require-hashes", "-r", str(lock))
    assert done.returncode != 0
    assert "hashes are required" in done.stderr.lower()


SETUP = """
import pathlib
from setuptools import setup
pathlib.Path({path!r}).touch()
setup(name="lantern", version="1.0")
"""


def make_sdist(path: Path, canary: Path) -> str:
    """Write a source package that runs code when it is looked at, and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("setup.py", SETUP.format(path=str(canary))), ("PKG-INFO", "Name: lantern\nVersion: 1.0\n")):
            entry = tarfile.TarInfo(f"lantern-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install_source_package(tmp_path: Path, *options: str) -> tuple[bool, bool]:
    """Install by a lock that names a source package; return whether its code was run, and whether pip refused it."""
    canary = tmp_path / "canary"
    digest = make_sdist(tmp_path / "index/lantern-1.0.tar.gz", canary)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"lantern==1.0 --hash=sha256:{digest}\n")
    where = ("--no-index", "--find-links", str(tmp_path / "index"))
    done = pip(tmp_path / "site", *where, "--require-hashes", "-r", str(lock), *options)
    return canary.exists(), done.returncode != 0


def test_a70_code_of_a_source_package_is_run_where_wheels_alone_are_not_asked_for_turns_red(tmp_path: Path) -> None:
    # Without a registry there is no build tool to fetch, so pip takes the one that is here.
    ran_code, _ = install_source_package(tmp_path, "--no-build-isolation")
    assert ran_code


def test_a70_code_of_a_source_package_is_not_run_even_if_it_is_what_was_locked(tmp_path: Path) -> None:
    assert install_source_package(tmp_path, "--only-binary", ":all:") == (False, True)


def test_a70_a_packer_that_trusts_its_cache_takes_a_swapped_wheel_which_turns_red(tmp_path: Path) -> None:
    lock, folder = cached_swap(tmp_path)
    swapped = hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    trusting = attrs.evolve(lock, pins=((Requirement("lantern==1.0"), frozenset({swapped})),))
    assert fetch_wheels(trusting, TARGET, cache=tmp_path, offline=True) == {"lantern": folder / WHEEL}


def test_a70_a_wheel_that_was_swapped_in_the_cache_of_packages_is_not_packed(tmp_path: Path) -> None:
    lock, _ = cached_swap(tmp_path)
    with pytest.raises(PackagingError, match="not the wheel that was locked"):
        fetch_wheels(lock, TARGET, cache=tmp_path, offline=True)


def cached_swap(tmp_path: Path) -> tuple[Lock, Path]:
    """Return a lock of the honest wheel, and the folder of the cache in which another one lies."""
    lock = write_lock(tmp_path, f"lantern==1.0 --hash=sha256:{make_wheel(tmp_path / WHEEL, HONEST)}")
    make_wheel(cache_folder(tmp_path, lock) / WHEEL, HOSTILE)
    return lock, cache_folder(tmp_path, lock)


# -- npm


def pack(path: Path, code: str) -> str:
    """Write a package of npm's, and return its integrity."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {"package.json": json.dumps({"name": "lantern", "version": "1.0.0"}), "index.js": code}
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def npm_ci(folder: Path, integrity: str | None) -> subprocess.CompletedProcess[str]:
    """Install by a lock from a package in this folder."""
    node = find_node()
    if node is None:
        pytest.skip("there is no Node here")
    wanted = {"lantern": "file:lantern.tgz"}
    entry = {"version": "1.0.0", "resolved": "file:lantern.tgz"} | ({"integrity": integrity} if integrity else {})
    packages = {"": {"name": "app", "version": "1.0.0", "dependencies": wanted}, "node_modules/lantern": entry}
    lock = {"name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": packages}
    (folder / "package.json").write_text(json.dumps(packages[""]))
    (folder / "package-lock.json").write_text(json.dumps(lock))
    return subprocess.run(
        # With a cache that is new each time: of an old one it would take the honest package, by its hash.
        [*node.npm, "ci", "--offline", "--cache", tempfile.mkdtemp(dir=folder)],
        cwd=folder,
        env={**os.environ, "PATH": f"{node.program.parent}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a70_a_swapped_package_of_the_front_end_is_refused(tmp_path: Path) -> None:
    honest = pack(tmp_path / "lantern.tgz", HONEST)
    assert npm_ci(tmp_path, honest).returncode == 0
    pack(tmp_path / "lantern.tgz", HOSTILE)
    done = npm_ci(tmp_path, honest)
    assert done.returncode != 0
    assert "EINTEGRITY" in done.stderr
    assert not (tmp_path / "node_modules/lantern/index.js").exists()


def test_a70_without_its_integrity_a_swapped_package_is_taken_which_turns_red(tmp_path: Path) -> None:
    pack(tmp_path / "lantern.tgz", HOSTILE)
    done = npm_ci(tmp_path, None)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "node_modules/lantern/index.js").read_text() == HOSTILE
