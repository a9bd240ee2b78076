"""Write the bills of materials of what a release hands out: ``make sbom``. One file for each, CycloneDX 1.6 as JSON.

The wheel's lists every library of `requirements/runtime.txt` and what the page is made of; a .deb's lists the wheels
that are in it. Equal sources and an equal SOURCE_DATE_EPOCH (default: the time of the last commit) give equal bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from deb.agents import AGENTS
from deb.errors import PackagingError
from deb.locked import Wheels, read_version, wheels_for
from deb.package import Package
from deb.programs import PACKAGES
from deb.values import debian_version
from deb.wheels import MACHINES
from epoch import read_epoch
from supply.bill import Subject, render
from supply.parts import page_parts, python_parts

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"
WHEEL = "pharos.cdx.json"
LOCKS = ("runtime", *sorted({package.lock for package in PACKAGES} - {"runtime"}))


def files_of(wheels: Wheels, left_out: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Give the wheels that a package holds, of all its interpreters."""
    for of_target in wheels.values():
        yield from (path for name, path in of_target.items() if name not in left_out)


def deb_subject(package: Package, version: str, arch: str) -> Subject:
    """Return what a .deb is in a bill."""
    return Subject(kind="deb", name=package.package, version=debian_version(version), arch=arch)


def bills(version: str, epoch: int, locked: dict[tuple[str, str], Wheels]) -> Iterator[tuple[str, str]]:
    """Give the name and the text of each bill; ``locked`` has the wheels by lock and architecture.

    Raises: PackagingError.
    """
    page = page_parts(FRONTEND)
    libraries = python_parts(path for arch in MACHINES for path in files_of(locked["runtime", arch]))
    carried = [deb_subject(agent, version, arch) for agent in AGENTS for arch in MACHINES]
    yield (
        WHEEL,
        render(Subject(kind="pypi", name="pharosvpn", version=version), [*libraries, *page], epoch, inside=carried),
    )
    for package in PACKAGES:
        for arch in MACHINES:
            held = python_parts(files_of(locked[package.lock, arch], package.left_out))
            subject = deb_subject(package, version, arch)
            parts = [*held, *(page if package.carries_page else ())]
            inside = carried if package.carries_agents else ()
            yield f"{package.package}_{subject.version}_{arch}.cdx.json", render(subject, parts, epoch, inside=inside)


def write_all(out: Path, *, cache: Path, offline: bool) -> Sequence[Path]:
    """Write every bill into ``out`` and return their paths. Raises: PackagingError."""
    locked = {
        (lock, arch): wheels_for(ROOT, lock, arch, cache=cache, offline=offline) for lock in LOCKS for arch in MACHINES
    }
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in bills(read_version(ROOT), read_epoch(ROOT), locked):
        (out / name).write_text(text, encoding="utf-8")
        written.append(out / name)
    return written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the bills (default: dist)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/deb", help="folder that keeps the wheels")
    parser.add_argument("--offline", action="store_true", help="ask no registry: fail if a wheel is not in the cache")
    args = parser.parse_args()
    try:
        written = write_all(args.out, cache=args.cache, offline=args.offline)
    except PackagingError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    print(f"sbom: {len(written)} bills are in {args.out}, the wheel's is {WHEEL}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
