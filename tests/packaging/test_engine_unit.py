"""The engine's unit: the interface's device, two capabilities, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.packaging.built import ROOT
from tests.packaging.test_units import analyze, unit_settings

UNIT = ROOT / "packaging/systemd/pharos-awg@.service"
CAPABILITIES = "CAP_NET_ADMIN CAP_NET_BIND_SERVICE"
EXPOSURE = 2.1
"""The two capabilities and the device are what it scores above an agent (test_units)."""


def test_engine_has_its_device_and_two_capabilities_and_nothing_else() -> None:
    said = unit_settings(UNIT)
    assert said["AmbientCapabilities"] == said["CapabilityBoundingSet"] == [CAPABILITIES]
    assert (said["DevicePolicy"], said["DeviceAllow"]) == (["closed"], ["/dev/net/tun rw"])
    assert said["NoNewPrivileges"] == ["yes"]
    assert said["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6 AF_NETLINK"]


def test_nothing_that_stops_stops_the_engine() -> None:
    said = unit_settings(UNIT)
    assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & said.keys()


def test_engine_has_a_user_of_its_own_and_the_agent_may_speak_to_it() -> None:
    user, _, member = (ROOT / "packaging/sysusers.d/pharos-awg.conf").read_text().splitlines()
    assert user.split()[:3] == ["u", "pharos-awg", "-"]
    assert member.split() == ["m", "pharos-buoy", "pharos-awg"]
    assert unit_settings(UNIT)["User"] == ["pharos-awg"]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    command = tmp_path / "pharos-awg"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copy = tmp_path / "pharos-awg@wg0.service"
    copy.write_text(UNIT.read_text().replace("/usr/bin/pharos-awg", str(command)))
    done: subprocess.CompletedProcess[str] = analyze("verify", "--man=no", str(copy))
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_unit_exposes_little() -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(UNIT))
    assert done.returncode == 0, done.stdout + done.stderr
