"""The root helper's units: the agent's group at the socket, root's name, the network's capability, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pharos.buoy.roothelper.client import SOCKET
from pharos.buoy.roothelper.process import AGENT, STATE
from pharos.wire.units import SECONDS
from tests.packaging.built import ROOT
from tests.packaging.test_units import analyze, unit_settings

UNIT = ROOT / "packaging/systemd/pharos-buoy-helper.service"
SOCKET_UNIT = UNIT.with_suffix(".socket")
EXPOSURE = 1.7
"""Root's name, the one capability and netlink are what it scores."""


def test_helper_has_one_capability_and_no_device_and_no_network() -> None:
    said = unit_settings(UNIT)
    assert said["CapabilityBoundingSet"] == ["CAP_NET_ADMIN"]
    assert not {"AmbientCapabilities", "User", "DeviceAllow"} & said.keys()
    assert said["PrivateDevices"] == said["NoNewPrivileges"] == ["yes"]
    assert said["RestrictAddressFamilies"] == ["AF_UNIX AF_NETLINK"]
    assert said["IPAddressDeny"] == ["any"]
    assert said["LimitCORE"] == ["0"]


def test_helper_can_write_to_its_own_directory_and_to_the_switches_of_the_network_only() -> None:
    said = unit_settings(UNIT)
    assert (said["ProtectSystem"], said["ProtectKernelTunables"]) == (["strict"], ["yes"])
    assert said["ReadWritePaths"] == ["/proc/sys/net"]
    assert [f"/run/{name}" for name in said["RuntimeDirectory"]] == [str(STATE)]
    assert (said["RuntimeDirectoryMode"], said["RuntimeDirectoryPreserve"]) == (["0700"], ["yes"])


def test_agent_and_root_reach_the_socket_and_nobody_else() -> None:
    said = unit_settings(SOCKET_UNIT)
    assert said["ListenStream"] == [str(SOCKET)]
    assert (said["SocketUser"], said["SocketGroup"], said["SocketMode"]) == (["root"], [AGENT], ["0660"])


def test_nothing_of_the_askers_is_in_the_command() -> None:
    assert unit_settings(UNIT)["ExecStart"] == ["/usr/bin/pharos-buoy-helper"]


def test_helper_is_started_by_its_socket_alone() -> None:
    assert "[Install]" not in UNIT.read_text() + SOCKET_UNIT.read_text()
    assert unit_settings(UNIT)["Requires"] == [SOCKET_UNIT.name]


def test_systemd_stops_it_in_time() -> None:
    assert float(unit_settings(UNIT)["TimeoutStopSec"][0]) * SECONDS <= 10


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    command = tmp_path / "pharos-buoy-helper"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    for unit in (UNIT, SOCKET_UNIT):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/pharos-buoy-helper", str(command)))
    copies = [str(tmp_path / unit.name) for unit in (SOCKET_UNIT, UNIT)]
    done: subprocess.CompletedProcess[str] = analyze("verify", "--man=no", *copies)
    complaints = [line for line in done.stderr.splitlines() if UNIT.stem in line]
    assert (done.returncode, complaints) == (0, [])


def test_unit_exposes_little() -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(UNIT))
    assert done.returncode == 0, done.stdout + done.stderr
