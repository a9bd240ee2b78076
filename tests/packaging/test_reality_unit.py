"""The REALITY server's unit: low ports, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pharos.wire.reality.carrying import CarryLimits
from pharos.wire.reality.controlserver import SOCKET
from pharos.wire.reality.relaying import RelayLimits
from tests.packaging.built import ROOT
from tests.packaging.test_units import analyze, unit_settings

UNIT = ROOT / "packaging/systemd/pharos-reality.service"
CAPABILITIES = "CAP_NET_BIND_SERVICE"
EXPOSURE = 1.9
"""The capability, and AF_NETLINK for glibc, are what it scores."""


def test_server_has_one_capability_and_no_device() -> None:
    said = unit_settings(UNIT)
    assert said["AmbientCapabilities"] == said["CapabilityBoundingSet"] == [CAPABILITIES]
    assert said["PrivateDevices"] == said["NoNewPrivileges"] == ["yes"]
    assert said["LimitCORE"] == ["0"]


def test_server_is_told_in_its_own_directory_by_the_agent() -> None:
    said = unit_settings(UNIT)
    assert [f"/run/{name}" for name in said["RuntimeDirectory"]] == [str(SOCKET.parent)]
    user, _, member = (ROOT / "packaging/sysusers.d/pharos-reality.conf").read_text().splitlines()
    assert user.split()[:3] == ["u", "pharos-reality", "-"]
    assert member.split() == ["m", "pharos-buoy", "pharos-reality"]
    assert said["User"] == ["pharos-reality"]


def test_nothing_secret_is_in_the_command() -> None:
    assert unit_settings(UNIT)["ExecStart"] == ["/usr/bin/pharos-reality"]


def test_nothing_that_stops_stops_the_server() -> None:
    assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & unit_settings(UNIT).keys()


def test_descriptors_suffice_for_the_limits() -> None:
    # A session has a client, a target or two sockets for datagrams; a stranger has a client and the target.
    assert CarryLimits().at_once * 3 + RelayLimits().at_once * 2 < int(unit_settings(UNIT)["LimitNOFILE"][0])


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    command = tmp_path / "pharos-reality"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/pharos-reality", str(command)))
    done: subprocess.CompletedProcess[str] = analyze("verify", "--man=no", str(copy))
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_unit_exposes_little() -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(UNIT))
    assert done.returncode == 0, done.stdout + done.stderr
