"""Ask the advisory services of PyPI and npm about what is pinned, by pip-audit and npm.

A service that cannot be reached is said in one line and is no failure: nobody is told that all is well, and nobody
without a network is kept from building.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

TIMEOUT = 300.0
"""Seconds for one question; each package is asked about by itself."""
_UNREACHED = ("ConnectionError", "Max retries exceeded", "NameResolutionError", "ServiceError", "timed out", "Timeout")


@attrs.frozen(kw_only=True)
class Answer:
    """What a service said of one lock."""

    lock: str
    findings: tuple[str, ...] = ()
    """A line for each advisory."""
    asked: int = 0
    """How many packages the service knew."""
    unreached: str = ""
    """Why it was not asked; empty: it was."""

    def line(self) -> str:
        """Return it in one line."""
        if self.unreached:
            return f"audit: {self.lock}: nothing was audited: {self.unreached}"
        return f"audit: {self.lock}: {self.asked} packages, {len(self.findings)} advisories"


def ask_python(lock: Path) -> Answer:
    """Ask about a requirements file, every line of which has its hash; no pip resolves anything."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
    return read_python(lock.name, _run([*command, "--format", "json", "--progress-spinner", "off"], lock.parent))


def read_python(lock: str, done: subprocess.CompletedProcess[str]) -> Answer:
    """Read what pip-audit has said: it ends with 1 when it has found something, and when it has asked nobody."""
    try:
        listed: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return Answer(lock=lock, unreached=_why(done))
    known = [one for one in listed if "vulns" in one]
    if listed and not known:
        return Answer(lock=lock, unreached="the advisory service knows none of these packages, so it is not there")
    findings = [f"{one['name']} {one['version']}: {found['id']}" for one in known for found in one["vulns"]]
    return Answer(lock=lock, findings=tuple(findings), asked=len(known))


def ask_node(frontend: Path, npm: tuple[str, ...] | None) -> Answer:
    """Ask about the front end's lock; nothing is installed."""
    lock = "package-lock.json"
    if npm is None:
        return Answer(lock=lock, unreached="there is no npm here")
    return read_node(lock, _run([*npm, "audit", "--package-lock-only", "--json"], frontend))


def read_node(lock: str, done: subprocess.CompletedProcess[str]) -> Answer:
    """Read what npm has said."""
    try:
        said = json.loads(done.stdout)
        found, total = said["vulnerabilities"], said["metadata"]["dependencies"]["total"]
    except (ValueError, KeyError, TypeError):
        return Answer(lock=lock, unreached=_why(done))
    return Answer(lock=lock, findings=tuple(f"{name}: {one['severity']}" for name, one in found.items()), asked=total)


def find_npm() -> tuple[str, ...] | None:
    """Return the words that start npm, if there is one."""
    program = shutil.which("npm")
    return None if program is None else (program,)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "timed out")


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if any(word in done.stderr for word in _UNREACHED) or "audit endpoint" in done.stderr + done.stdout:
        return "the advisory service could not be reached"
    last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
    return f"the tool failed: {last}"
