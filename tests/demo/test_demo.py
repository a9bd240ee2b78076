"""The demo is the product in small: it has to hold, and to clean up behind itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

STEPS = [
    "ca",
    "enrol-nodes",
    "enrol-beacon",
    "links-up",
    "ticket",
    "enrol-device",
    "bundle",
    "tunnel-a",
    "live-event",
    "tunnel-b",
    "http-a",
    "http-b",
    "reality-a",
    "reality-b",
    "revoke",
    "helm-stopped",
    "http-helm-stopped",
    "reality-helm-stopped",
    "cold-start",
]


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pharos", "demo", *arguments], capture_output=True, text=True, timeout=150, check=False
    )


@pytest.mark.journey
def test_every_step_holds_and_nothing_is_left_running(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    done = run_demo("--once", "--json", "--dir", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ok"] is True
    assert [step["name"] for step in report["steps"]] == STEPS
    assert all(step["ok"] and step["seconds"] >= 0 for step in report["steps"])
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])] == []
    for log in (folder / "logs").iterdir():
        text = log.read_text()
        assert "Traceback" not in text, text
        assert " ERROR " not in text, text


def test_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep me")
    done = run_demo("--once", "--dir", str(tmp_path))
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["precious"]
