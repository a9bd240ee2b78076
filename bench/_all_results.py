"""What a bench said, and of which machine and which state of the code: kept as ``.cache/bench/NAME.json``."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final, Self

import attrs
import psutil

ROOT: Final = Path(__file__).resolve().parents[1]
KEPT: Final = ROOT / ".cache" / "bench"


@attrs.frozen(kw_only=True)
class Machine:
    """Where it was measured."""

    cpu: str
    cores: int
    memory_gb: int
    kernel: str
    python: str

    def __str__(self) -> str:
        return f"{self.cores} cores of {self.cpu}, {self.memory_gb} GB, Linux {self.kernel}, CPython {self.python}"


@attrs.frozen(kw_only=True)
class Moment:
    """When it was measured, beside what, and of which state of the code."""

    date: str
    """UTC, to the minute: ``2027-01-31 18:05``."""
    commit: str
    """Short, with ``+`` where files differed from it; empty outside a checkout."""
    load: float
    """Processes that wanted to run in the minute before: what else the machine had to do."""


@attrs.frozen(kw_only=True)
class Result:
    """One run of one bench."""

    bench: str
    quick: bool
    figures: dict[str, float]
    error: str = ""
    """Why it could not measure, in a line; empty: it could."""
    seconds: float
    machine: Machine
    moment: Moment

    def to_json(self) -> str:
        """Return it as it is kept."""
        return json.dumps(attrs.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read one that was kept. Raises: ValueError, TypeError, KeyError — it is none."""
        entry: dict[str, Any] = json.loads(text)
        return cls(**{**entry, "machine": Machine(**entry["machine"]), "moment": Moment(**entry["moment"])})


def this_machine() -> Machine:
    """Describe the machine that this runs on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return Machine(
        cpu=model,
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9),
        kernel=platform.release().partition("-")[0],
        python=platform.python_version(),
    )


def this_moment() -> Moment:
    """Say when it is, how busy the machine is, and what is checked out."""
    now = datetime.datetime.now(datetime.UTC)
    return Moment(date=f"{now:%Y-%m-%d %H:%M}", commit=_commit(), load=round(os.getloadavg()[0], 1))


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # What the benches themselves write is no difference.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def keep(result: Result, *, folder: Path = KEPT) -> None:
    """Put a result in the place of that bench's last one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.bench}.json").write_text(result.to_json())


def kept(*, folder: Path = KEPT) -> dict[str, Result]:
    """Return the last result of each bench that has one; what cannot be read is none."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            result = Result.from_json(file.read_text())
        except (ValueError, TypeError, KeyError):
            continue
        found[result.bench] = result
    return found
