"""Fetch the wheels that an agent's package carries, and unpack them, each checked against the hashes of the lock.

pip does the choosing and the downloading, once for every interpreter of the target systems; the wheels are kept, and
a later build with the same lock asks no registry. No code of a wheel is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

import attrs
from deb.errors import NotCachedError, PackagingError
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename

MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""The machine as wheels and markers call it, by the name that Debian has for it."""
GLIBC: Final = (2, 28)
"""Wheels that ask for more are not taken; Debian 12, the oldest target, has 2.36."""
FIRST_MANYLINUX: Final = 17
"""glibc 2.17 is the oldest that wheels for both machines are made for (PEP 599)."""

# Tests, and what serves only to compile or to check against a package.
DEAD_FOLDERS: Final = frozenset({"tests", "_tests"})
DEAD_SUFFIXES: Final = frozenset({".c", ".cpp", ".h", ".hpp", ".pyi", ".pyx", ".pxd", ".typed", ".rst"})
# METADATA, because a library may look up its own version there; the licences ask to come along.
LIVE_METADATA: Final = re.compile(r"METADATA|(LICEN[CS]E|COPYING|NOTICE|AUTHORS).*|licenses", re.IGNORECASE)


@attrs.frozen
class Target:
    """One interpreter on one kind of machine."""

    python: str
    """``3.11``"""
    arch: str
    """Debian's name: amd64, arm64."""

    @property
    def tag(self) -> str:
        """Return the wheel tag of the interpreter, ``cp311``."""
        return "cp" + self.python.replace(".", "")

    def environment(self) -> dict[str, str]:
        """Return what markers are evaluated against (PEP 508): the target's, where pip takes its own."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": MACHINES[self.arch],
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }

    def pip_options(self) -> list[str]:
        """Return what makes pip choose for this target and not for the machine it runs on."""
        machine = MACHINES[self.arch]
        major, newest = GLIBC
        platforms = [f"manylinux_{major}_{minor}_{machine}" for minor in range(newest, FIRST_MANYLINUX - 1, -1)]
        platforms.append(f"manylinux2014_{machine}")
        return ["--python-version", self.python, *(f"--platform={platform}" for platform in platforms)]


@attrs.frozen(kw_only=True)
class Lock:
    """A requirements file of exact versions with hashes, as ``uv pip compile --generate-hashes`` writes it."""

    digest: str
    """SHA-256 of the file."""
    pins: tuple[tuple[Requirement, frozenset[str]], ...]
    """Each with the SHA-256 hashes of the files that may stand for it."""

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Parse a lock. Raises: PackagingError — a line is no exact version, or has no hash."""
        raw = path.read_bytes()
        pins = []
        for line in raw.decode().replace("\\\n", " ").splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            spec, *options = line.split(" --hash=")
            hashes = frozenset(option.strip().removeprefix("sha256:") for option in options)
            requirement = Requirement(spec.strip())
            if not hashes or not re.fullmatch(r"==[^,*]+", str(requirement.specifier)):
                raise PackagingError(f"{path}: {spec.strip()} has no exact version and hash; compile the file anew")
            pins.append((requirement, hashes))
        return cls(digest=hashlib.sha256(raw).hexdigest(), pins=tuple(pins))

    def pins_for(self, target: Target) -> dict[NormalizedName, tuple[Requirement, frozenset[str]]]:
        """Return what applies to a target."""
        environment = target.environment()
        return {
            canonicalize_name(requirement.name): (requirement, hashes)
            for requirement, hashes in self.pins
            if requirement.marker is None or requirement.marker.evaluate(environment)
        }


def fetch_wheels(lock: Lock, target: Target, *, cache: Path, offline: bool) -> dict[NormalizedName, Path]:
    """Return the wheels of a target by distribution, out of ``cache`` or, the first time, from the package registry.

    Raises: NotCachedError — ``offline``, and they are not there. PackagingError — the download failed, or a wheel is
    not what the lock says.
    """
    pins = lock.pins_for(target)
    folder = cache / f"{target.arch}-{target.tag}-{lock.digest[:16]}"
    if not folder.is_dir():
        if offline:
            raise NotCachedError(f"the wheels for {target.tag} on {target.arch} are not in {cache}: run `make deb`")
        _download(pins, target, folder)
    wheels: dict[NormalizedName, Path] = {}
    for path in sorted(folder.glob("*.whl")):
        name = parse_wheel_filename(path.name)[0]
        if name not in pins or hashlib.sha256(path.read_bytes()).hexdigest() not in pins[name][1]:
            raise PackagingError(f"{path} is not the wheel that was locked; remove {folder} and build again")
        wheels[name] = path
    missing = pins.keys() - wheels.keys()
    if missing:
        raise PackagingError(f"{folder} has no wheel of {min(missing)}; remove that folder and build again")
    return wheels


def _download(pins: dict[NormalizedName, tuple[Requirement, frozenset[str]]], target: Target, folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise PackagingError(f"{sys.executable} has no pip to download wheels with: python -m ensurepip")
    print(f"deb: fetching wheels for {target.tag} on {target.arch} (once)", flush=True)
    # A download that was cut short must not pass for a whole one, nor two at once for each other's: each has a
    # folder of its own, which gets the name last.
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    lines = (
        " ".join([requirement.name + str(requirement.specifier), *(f"--hash=sha256:{h}" for h in sorted(hashes))])
        for requirement, hashes in pins.values()
    )
    (scratch / "pins.txt").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", *target.pip_options()]
    command += ["--requirement", str(scratch / "pins.txt"), "--dest", str(scratch)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackagingError(f"{done.stderr}\npip could not download the wheels for {target.tag}, see above")
    try:
        scratch.rename(folder)
    except OSError:
        # Somebody else was faster, with the same wheels: every build checks their hashes.
        if not folder.is_dir():
            raise
        shutil.rmtree(scratch)


def unpack_wheel(wheel: Path, into: Path) -> set[str]:
    """Lay a wheel's modules, its metadata and its licences below ``into``; return its top-level module names.

    Raises: PackagingError — it holds what has no place in a package.
    """
    modules = set()
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = PurePosixPath(entry.filename)
            if entry.is_dir() or not _is_wanted(path):
                continue
            if path.is_absolute() or ".." in path.parts or path.parts[0].endswith(".data"):
                raise PackagingError(f"{wheel.name} wants to put a file at {path}, which no agent's wheel has to")
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
            if not path.parts[0].endswith(".dist-info"):
                modules.add(path.parts[0].partition(".")[0])
    return modules


def _is_wanted(path: PurePosixPath) -> bool:
    if path.parts[0].endswith(".data") and path.parts[1:2] == ("data",):
        # What a library would put beside a Python, such as a man page of a command that is not here.
        return False
    if path.parts[0].endswith(".dist-info"):
        return len(path.parts) > 1 and LIVE_METADATA.fullmatch(path.parts[1]) is not None
    return DEAD_FOLDERS.isdisjoint(path.parts) and path.suffix not in DEAD_SUFFIXES
