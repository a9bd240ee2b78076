"""Xray's unit: low ports, one directory that it shares with the agent, and nothing else; Xray itself is not ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pharos.buoy.roothelper.acts import Unit
from pharos.buoy.roothelper.perform import REALITY_USERS
from pharos.buoy.xray.model import CONFIG_NAME
from tests.packaging.built import ROOT
from tests.packaging.test_units import analyze, unit_settings

UNIT = ROOT / "packaging/systemd/pharos-xray.service"
RUNTIME = "/run/pharos-xray"
CAPABILITIES = "CAP_NET_BIND_SERVICE"
EXPOSURE = 1.9
"""The capability and AF_NETLINK are what it scores."""


def test_xray_has_one_capability_and_no_device() -> None:
    said = unit_settings(UNIT)
    assert said["AmbientCapabilities"] == said["CapabilityBoundingSet"] == [CAPABILITIES]
    assert said["PrivateDevices"] == said["NoNewPrivileges"] == ["yes"]
    assert said["LimitCORE"] == ["0"]


def test_xray_reads_what_the_agent_wrote_and_shares_its_directory_with_nobody_else() -> None:
    said = unit_settings(UNIT)
    config = f"{RUNTIME}/{CONFIG_NAME}"
    assert said["ExecStart"] == [f"xray run -c {config}"]
    assert said["ConditionPathExists"] == [config]
    assert said["ReadWritePaths"] == [RUNTIME]
    assert said["UMask"] == ["0007"]
    *_, folder = (ROOT / "packaging/tmpfiles.d/pharos-buoy.conf").read_text().splitlines()
    # The group sticks to what is written there, so that each may read what the other has written.
    assert folder.split() == ["d", RUNTIME, "2770", "pharos-xray", "pharos-xray", "-"]
    assert f"-{RUNTIME}" in unit_settings(ROOT / "packaging/systemd/pharos-buoy.service")["ReadWritePaths"]


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


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    command = tmp_path / "xray"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("ExecStart=xray", f"ExecStart={command}"))
    done: subprocess.CompletedProcess[str] = analyze("verify", "--man=no", str(copy))
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_unit_exposes_little() -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(UNIT))
    assert done.returncode == 0, done.stdout + done.stderr
