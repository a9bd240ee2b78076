"""Xray's unit: low ports, one directory that it shares with the agent, and nothing else; Xray itself is not ours."""

from __future__ import annotations

import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from pharos.buoy.roothelper.acts import Unit
from pharos.buoy.roothelper.perform import REALITY_USERS
from pharos.buoy.xray.model import ACCESS_LOG_NAME, API_NAME, CONFIG_NAME
from tests.packaging.built import ROOT
from tests.packaging.test_units import analyze, unit_settings

UNIT = ROOT / "packaging/systemd/pharos-xray.service"
RUNTIME = "/run/pharos-xray"
CAPABILITIES = "CAP_NET_BIND_SERVICE"
EXPOSURE = 1.9
"""The capability and AF_NETLINK are what it scores."""


@pytest.mark.row(61)
def test_xray_has_one_capability_and_no_device() -> None:
    said = unit_settings(UNIT)
    assert said["AmbientCapabilities"] == said["CapabilityBoundingSet"] == [CAPABILITIES]
    assert said["PrivateDevices"] == said["NoNewPrivileges"] == ["yes"]
    assert said["LimitCORE"] == ["0"]


def test_xray_reads_what_the_agent_wrote_and_shares_its_directory_with_nobody_else() -> None:
    said = unit_settings(UNIT)
    config = f"{RUNTIME}/{CONFIG_NAME}"
    (start,) = said["ExecStart"]
    shell, flag, script = shlex.split(start)
    assert (shell, flag) == ("/bin/sh", "-c")
    # The shell is gone when Xray runs: what systemd signals is Xray.
    assert script.endswith(f"; exec xray run -c {config}")
    assert said["ConditionPathExists"] == [config]
    assert said["ReadWritePaths"] == [RUNTIME]
    assert said["UMask"] == ["0007"]
    *_, folder = (ROOT / "packaging/tmpfiles.d/pharos-buoy.conf").read_text().splitlines()
    # The group sticks to what is written there, so that each may read what the other has written.
    assert folder.split() == ["d", RUNTIME, "2770", "pharos-xray", "pharos-xray", "-"]
    assert f"-{RUNTIME}" in unit_settings(ROOT / "packaging/systemd/pharos-buoy.service")["ReadWritePaths"]


@pytest.mark.row(61)
def test_xray_has_a_user_of_its_own_whom_agent_and_helper_know() -> None:
    user, _, member = (ROOT / "packaging/sysusers.d/pharos-xray.conf").read_text().splitlines()
    assert user.split()[:3] == ["u", "pharos-xray", "-"]
    assert member.split() == ["m", "pharos-buoy", "pharos-xray"]
    assert unit_settings(UNIT)["User"] == ["pharos-xray"]
    assert "pharos-xray" in REALITY_USERS
    assert Unit.XRAY.value == UNIT.name


def test_every_unit_that_the_helper_may_touch_is_there() -> None:
    for unit in Unit:
        name = unit.value if "@" not in unit.value else f"{unit.value.partition('@')[0]}@.service"
        assert (ROOT / "packaging/systemd" / name).is_file(), unit


def test_nothing_that_stops_stops_xray_and_nothing_starts_it_but_the_agent() -> None:
    assert not {"Requires", "BindsTo", "PartOf", "Requisite", "WantedBy"} & unit_settings(UNIT).keys()


def begin(runtime: Path, xray: str) -> str:
    """Do what systemd does to start the unit, in another directory and with another program; return what that says."""
    programs = runtime.parent / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "xray").write_text(f"#!/bin/sh\n{xray}\n")
    (programs / "xray").chmod(0o755)
    said = unit_settings(UNIT)
    for line in [*said["ExecStartPre"], *said["ExecStart"]]:
        words = shlex.split(line.replace(RUNTIME, str(runtime)))
        done = subprocess.run(
            words,
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
            umask=int(said["UMask"][0], 8),
            env={"PATH": f"{programs}:/usr/bin:/bin"},
        )
    return done.stdout.strip()


def test_xray_starts_while_nobody_reads_its_access_log(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    pipe = runtime / ACCESS_LOG_NAME
    # Opened to write, a pipe without a reader would keep it waiting for ever; and what it does is not kept.
    writes = f"echo someone >{pipe} && echo $#: $*"
    for _ in range(2):
        assert begin(runtime, writes) == f"3: run -c {runtime / CONFIG_NAME}"
        assert stat.filemode(pipe.stat().st_mode) == "prw-rw----"


def test_what_an_xray_that_was_killed_left_is_no_obstacle(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    (runtime / API_NAME).touch()
    # A log that is a file would be a diary of where devices go.
    (runtime / ACCESS_LOG_NAME).write_text("accepted tcp:example.org:443")
    assert begin(runtime, f"[ -e {runtime / API_NAME} ] || echo none") == "none"
    assert stat.S_ISFIFO((runtime / ACCESS_LOG_NAME).stat().st_mode)


def test_systemd_understands_the_unit() -> None:
    done: subprocess.CompletedProcess[str] = analyze("verify", "--man=no", str(UNIT))
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_unit_exposes_little() -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(UNIT))
    assert done.returncode == 0, done.stdout + done.stderr
