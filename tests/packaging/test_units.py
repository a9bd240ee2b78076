"""The units, users and folders that the packages bring, as systemd sees them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pharos.wire.agent import AgentKeys
from pharos.wire.pki.roles import Role
from tests.packaging.built import AGENTS, ROOT
from tests.support.agents import grant_for
from tests.support.pki import utc_now

DAEMONS = (*AGENTS, "helm")
EXPOSURE = {"buoy": 1.5, "beacon": 1.6, "helm": 1.3}
"""On the scale of systemd-analyze from 0 (nothing to lose) to 10; a running service scores 0.2 lower than its file."""


def unit(command: str) -> Path:
    return ROOT / f"packaging/systemd/pharos-{command}.service"


def settings(command: str) -> dict[str, list[str]]:
    """Return the settings of a unit; a name may be set more than once, so each has a list."""
    found: dict[str, list[str]] = {}
    for line in unit(command).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_beacon_may_bind_low_ports_and_nothing_else() -> None:
    said = settings("beacon")
    assert said["AmbientCapabilities"] == said["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]


@pytest.mark.parametrize("command", ["buoy", "helm"])
def test_buoy_and_helm_have_no_right_at_all(command: str) -> None:
    said = settings(command)
    assert "AmbientCapabilities" not in said
    assert said["CapabilityBoundingSet"] == [""]


@pytest.mark.parametrize("command", DAEMONS)
def test_daemon_has_a_user_of_its_own_and_gets_no_right_later(command: str) -> None:
    said = settings(command)
    assert said["NoNewPrivileges"] == ["yes"]
    assert said["User"] == [f"pharos-{command}"]


def test_engines_and_helper_come_along_with_the_buoy_and_do_not_go_with_it() -> None:
    said = settings("buoy")
    (wants,), (after,) = said["Wants"], said["After"]
    assert wants == after
    assert set(wants.split()) > {"pharos-buoy-helper.socket", "pharos-awg@awg0.service", "pharos-reality.service"}
    assert not {"Requires", "BindsTo"} & said.keys()


@pytest.mark.parametrize("command", DAEMONS)
def test_daemon_waits_for_an_identity_and_comes_back_whatever_happens(command: str) -> None:
    said = settings(command)
    first = "core.db" if command == "helm" else "identity.json"
    assert said["ConditionPathExists"] == [f"/var/lib/pharos-{command}/{first}"]
    assert (said["Type"], said["Restart"], said["StartLimitIntervalSec"]) == (["notify"], ["always"], ["0"])
    assert (said["StateDirectory"], said["StateDirectoryMode"]) == ([f"pharos-{command}"], ["0700"])


@pytest.mark.parametrize("command", AGENTS)
def test_agent_with_keys_and_no_grant_is_left_in_peace(command: str, tmp_path: Path) -> None:
    (line,) = settings(command)["ExecCondition"]
    words = shlex.split(line.replace(f"/var/lib/pharos-{command}", str(tmp_path)))
    role = {"buoy": Role.NODE, "beacon": Role.RELAY}[command]
    keys = AgentKeys(tmp_path, role)
    request = keys.make_request()
    # systemd.service(5): a status from 1 to 254 skips the start, and is no failure.
    assert subprocess.run(words, check=False).returncode == 1
    keys.install(grant_for(request), now=utc_now())
    assert subprocess.run(words, check=False).returncode == 0
    # A file that is damaged or of another time is the agent's to judge, aloud.
    (tmp_path / "identity.json").write_text("{")
    assert subprocess.run(words, check=False).returncode == 0


def test_every_service_of_ours_that_stays_is_watched() -> None:
    for unit in sorted((ROOT / "packaging/systemd").glob("*.service")):
        said = unit_settings(unit)
        # Xray is not ours and speaks no word to systemd; `buoy render` ends by itself.
        if said["Type"] not in (["oneshot"], ["exec"]):
            assert (said["Type"], said["WatchdogSec"]) == (["notify"], ["30"]), unit.name


@pytest.mark.parametrize("command", DAEMONS)
def test_user_and_folder_are_the_units_own(command: str) -> None:
    (user,) = (ROOT / f"packaging/sysusers.d/pharos-{command}.conf").read_text().splitlines()
    assert user.split()[:3] == ["u", f"pharos-{command}", "-"]
    _, folder, contents, *_ = (ROOT / f"packaging/tmpfiles.d/pharos-{command}.conf").read_text().splitlines()
    name = f"pharos-{command}"
    assert folder.split() == ["d", f"/var/lib/{name}", "0700", name, name, "-"]
    assert contents.split() == ["Z", f"/var/lib/{name}", "-", name, name, "-"]
    assert settings(command)["ExecStartPre"] == [f"+/usr/bin/systemd-tmpfiles --create {name}.conf"]


def unit_settings(unit: Path) -> dict[str, list[str]]:
    """What a unit says, by the names of its settings."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here to check the units")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", DAEMONS)
def test_systemd_understands_the_unit(command: str, tmp_path: Path) -> None:
    # systemd asks whether the command is there.
    program = tmp_path / command
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit(command).name
    copy.write_text(unit(command).read_text().replace(f"ExecStart=/usr/bin/{command}", f"ExecStart={program}"))
    done = analyze("verify", "--man=no", str(copy))
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, complaints) == (0, [])


@pytest.mark.parametrize("command", DAEMONS)
def test_unit_exposes_little(command: str) -> None:
    done = analyze(
        "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE[command] * 10:.0f}", str(unit(command))
    )
    assert done.returncode == 0, done.stdout + done.stderr
