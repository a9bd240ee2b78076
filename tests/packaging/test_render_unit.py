"""The unit that writes what engines read: once a boot, before them, without a right, into runtime directories alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

from click.testing import CliRunner

from pharos.buoy.cli import main
from tests.packaging.built import ROOT
from tests.packaging.test_units import analyze, unit_settings

UNIT = ROOT / "packaging/systemd/pharos-buoy-render.service"
READERS = {"awg-quick@awg0.service", "pharos-xray.service"}
EXPOSURE = 1.5


def test_files_are_there_before_whoever_reads_them_and_once_a_boot() -> None:
    said = unit_settings(UNIT)
    assert (said["Type"], said["RemainAfterExit"]) == (["oneshot"], ["yes"])
    assert set(said["Before"][0].split()) == {*READERS, "pharos-buoy.service"}
    assert said["WantedBy"] == ["multi-user.target"]
    assert said["ConditionPathExists"] == ["/var/lib/pharos-buoy/identity.json"]


def test_it_runs_as_the_agent_and_may_do_no_more() -> None:
    said = unit_settings(UNIT)
    assert said["User"] == said["Group"] == ["pharos-buoy"]
    assert said["CapabilityBoundingSet"] == [""]
    assert said["NoNewPrivileges"] == said["PrivateDevices"] == ["yes"]
    assert said["LimitCORE"] == ["0"]


def test_what_is_secret_is_written_to_runtime_directories_alone() -> None:
    said = unit_settings(UNIT)
    (command,) = said["ExecStart"]
    program, verb, *options = command.split()
    files = dict(zip(options[::2], options[1::2], strict=True))
    assert (program, verb) == ("/usr/bin/buoy", "render")
    assert files.pop("--config") == "/etc/pharos/buoy.toml"
    assert {str(Path(file).parent) for file in files.values()} == {"/run/pharos-buoy", "/run/pharos-xray"}
    assert (said["RuntimeDirectory"], said["RuntimeDirectoryMode"]) == (["pharos-buoy"], ["0700"])
    # Everything else is read-only to it; the state directory, too.
    assert (said["ProtectSystem"], said["ReadWritePaths"]) == (["strict"], ["-/run/pharos-xray"])
    assert "StateDirectory" not in said
    shown = CliRunner().invoke(main, ["render", "--help"]).output
    assert all(option in shown for option in options[::2])


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    command = tmp_path / "buoy"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/buoy", str(command)))
    done: subprocess.CompletedProcess[str] = analyze("verify", "--man=no", str(copy))
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_unit_exposes_little() -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(UNIT))
    assert done.returncode == 0, done.stdout + done.stderr
