"""Regenerate the committed protobuf stubs: ``make proto``; ``--check`` only compares.

protoc's virtual paths (``-IVIRTUAL=DISK``) give the stubs imports below ``pharos.wire.gen``, so that the proto package
``pharos.buoy.v1`` and the Python package ``pharos.buoy`` never meet.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREES = (
    ("pharos/wire/proto", "pharos/wire/gen"),
    ("pharos/buoy/xray/proto", "pharos/buoy/xray/gen"),
    ("tests/support/proto", "tests/support/gen"),
)


def generate(out: Path) -> list[Path]:
    """Write every stub below ``out`` and return their paths relative to it."""
    # protoc starts its plugins by name.
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for source, virtual in TREES:
        protos = [f"{virtual}/{p.relative_to(ROOT / source)}" for p in sorted((ROOT / source).rglob("*.proto"))]
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"-I{virtual}={source}",
                f"--python_out={out}",
                f"--grpclib_python_out={out}",
                f"--mypy_out=quiet:{out}",
                *protos,
            ],
            cwd=ROOT,
            env=env,
            check=True,
        )
        for folder in {p.parent for p in (out / virtual).rglob("*_pb2.py")}:
            while folder != out / virtual.rpartition("/")[0]:
                (folder / "__init__.py").touch()
                folder = folder.parent
    return sorted(
        p.relative_to(out) for _, v in TREES for p in (out / v).rglob("*.py*") if "__pycache__" not in p.parts
    )


def check() -> list[Path]:
    """Return the stubs that differ from what the protos say now."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch))
        committed = {
            p.relative_to(ROOT) for _, v in TREES for p in (ROOT / v).rglob("*.py*") if "__pycache__" not in p.parts
        }
        stale = committed.symmetric_difference(fresh)
        stale |= {p for p in committed & set(fresh) if not filecmp.cmp(Path(scratch) / p, ROOT / p, shallow=False)}
    return sorted(stale)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a stub is out of date")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    stale = check()
    for path in stale:
        print(f"out of date: {path} (run: make proto)")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
