"""What dpkg is told of a package: its control files, and the documents that come with it."""

from __future__ import annotations

import email.parser
import email.utils
import gzip
import hashlib
from pathlib import Path
from typing import Final

from deb.package import Package
from deb.values import Build, fill, put, values_of

DAEMON_SCRIPTS: Final = ("postinst", "prerm", "postrm")
PROGRAM_SCRIPTS: Final = ("postinst", "prerm")
"""Those of a package without a daemon; their templates end in ``-program``."""


def scripts_of(package: Package) -> tuple[str, ...]:
    """Return the names of the scripts that dpkg runs."""
    return DAEMON_SCRIPTS if package.daemon else PROGRAM_SCRIPTS


def put_documents(package: Package, build: Build, tree: Path) -> None:
    """Add what Debian wants to be told of a package, and the chapter of the guide that is about it."""
    documents = tree / "usr/share/doc" / package.package
    values = values_of(package, build) | {
        "date": email.utils.formatdate(build.epoch),
        "libraries": _libraries(tree / "usr/lib" / package.package / "site"),
        "licence": (build.root / "LICENSE").read_text(encoding="utf-8").rstrip(),
    }
    changelog = fill(build.templates / "changelog", values)
    put(documents / "changelog.gz", gzip.compress(changelog.encode(), mtime=0))
    put(documents / "copyright", fill(build.templates / "copyright", values))
    put(documents / "packages.md", (build.root / "docs/guide/packages.md").read_bytes())


def _libraries(site: Path) -> str:
    """Return a line for each vendored distribution: its name, its version and its licence."""
    lines = set()
    for path in site.glob("*/*.dist-info/METADATA"):
        metadata = email.parser.Parser().parsestr(path.read_text(encoding="utf-8"), headersonly=True)
        classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier", []) if c.startswith("License")]
        licence = metadata["License-Expression"] or ", ".join(classifiers) or metadata["License"]
        lines.add(f"{metadata['Name']} {metadata['Version']}: {licence}")
    return "\n".join(sorted(lines, key=str.lower))


def put_control(package: Package, build: Build, tree: Path) -> None:
    """Add the control files, for what is in the tree by now."""
    contents = sorted(path for path in tree.rglob("*"))
    # Debian policy 5.6.20: KiB, each file rounded up, one for each folder.
    size = sum(-(-path.stat().st_size // 1024) if path.is_file() else 1 for path in contents)
    sums = "".join(
        # MD5 is what dpkg --verify reads; it guards against accidents only.
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"
        for path in contents
        if path.is_file() and not path.is_relative_to(tree / "etc")
    )
    values = values_of(package, build) | {
        "size": str(size),
        "summary": package.summary,
        "description": "\n".join(f" {line}" for line in package.description),
    }
    put(tree / "DEBIAN/control", fill(build.templates / "control", values))
    put(tree / "DEBIAN/md5sums", sums)
    if package.daemon:
        put(tree / "DEBIAN/conffiles", f"/etc/pharos/{package.command}.toml\n")
    kind = "" if package.daemon else "-program"
    for script in scripts_of(package):
        put(tree / "DEBIAN" / script, fill(build.templates / f"{script}{kind}", values))
