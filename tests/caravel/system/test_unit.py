"""The units of an always-on tunnel: what they may, and that systemd understands them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system import unit
from pharos.caravel.system.nft import nft_document
from pharos.caravel.system.plan import SystemPlan
from pharos.caravel.system.restore import Places
from tests.packaging.test_units import analyze

PLAN = SystemPlan(addresses=("10.7.0.2/24",), hold=True)
EXPOSURE = 3.0
"""A process that is root by name, has the network's capability, and writes to /etc and to a user's store."""


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return what systemctl is told, of a machine below ``tmp_path`` that systemd runs."""
    said: list[tuple[str, ...]] = []

    async def note(name: str, *words: str, stdin: str = "") -> str:
        said.append((name, *words))
        return ""

    monkeypatch.setattr(unit, "run_command", note)
    monkeypatch.setattr(unit, "find_command", lambda name: f"/usr/sbin/{name}")
    for folder in (unit.UNITS, unit.SYSTEMD):
        (tmp_path / folder).mkdir(parents=True)
    return said


def test_the_journal_outlives_a_restart_of_the_unit() -> None:
    said, places = settings(unit.up_unit(["/usr/bin/caravel", "up"])), Places()
    assert [f"/run/{name}" for name in said["RuntimeDirectory"]] == [str(places.running)]
    assert said["RuntimeDirectoryPreserve"] == ["yes"]
    assert [f"/var/lib/{name}" for name in said["StateDirectory"]] == [str(places.lasting)]
    assert said["Restart"] == ["always"]


def test_it_has_the_networks_rights_and_those_over_files_and_no_others() -> None:
    said = settings(unit.up_unit(["/usr/bin/caravel", "up"], writable=[Path("/home/ann/.local/share/pharos")]))
    assert set(said["CapabilityBoundingSet"][0].split()) == {
        "CAP_NET_ADMIN",
        "CAP_NET_BIND_SERVICE",
        "CAP_DAC_OVERRIDE",
        "CAP_CHOWN",
        "CAP_FOWNER",
    }
    assert said["ReadWritePaths"] == ["/proc/sys/net /etc -/home/ann/.local/share/pharos"]
    assert said["DeviceAllow"] == ["/dev/net/tun rw"]
    assert said["NoNewPrivileges"] == ["yes"]


def test_the_boot_comes_before_any_network_and_takes_nothing_away_when_it_is_stopped() -> None:
    said = settings(unit.boot_unit("/usr/sbin/nft", Path("/var/lib/pharos-caravel/boot.json")))
    assert "network-pre.target" in said["Before"][0].split()
    assert said["DefaultDependencies"] == ["no"]
    assert "ExecStop" not in said


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/usr/bin/caravel", "/usr/bin/caravel"),
        ("a b", '"a b"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('"', '"\\""'),
        ("\\", '"\\\\"'),
        ("", '""'),
    ],
)
def test_a_word_is_written_as_systemd_reads_it(word: str, written: str) -> None:
    assert settings(unit.up_unit(["/x", word]))["ExecStart"] == [f"/x {written}"]


def test_a_word_that_would_begin_a_line_is_refused() -> None:
    with pytest.raises(SystemModeError, match="cannot stand in a unit"):
        unit.up_unit(["/x", "a\nExecStartPre=/bin/evil"])


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    command = tmp_path / "a caravel"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (tmp_path / unit.UP).write_text(unit.up_unit([str(command), "up", "50%"], writable=[tmp_path]))
    (tmp_path / unit.BOOT).write_text(unit.boot_unit(str(command), Path("/var/lib/pharos-caravel/boot.json")))
    copies = [str(tmp_path / name) for name in (unit.UP, unit.BOOT)]
    done: subprocess.CompletedProcess[str] = analyze("verify", "--man=no", *copies)
    complaints = [line for line in done.stderr.splitlines() if "caravel" in line]
    assert (done.returncode, complaints) == (0, [])


def test_units_expose_little(tmp_path: Path) -> None:
    path = tmp_path / unit.UP
    path.write_text(unit.up_unit(["/usr/bin/caravel", "up"]))
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_machine_is_always_on_until_that_is_taken_away(tmp_path: Path, told: list[tuple[str, ...]]) -> None:
    written = await unit.install(["/usr/bin/caravel", "up"], PLAN, boot=True, root=tmp_path)
    assert [path.name for path in written] == [unit.UP, unit.BOOT]
    assert told == [("systemctl", "daemon-reload"), ("systemctl", "enable", unit.UP, unit.BOOT)]
    table = tmp_path / unit.BOOT_TABLE
    assert json.loads(table.read_text()) == nft_document(PLAN)
    assert table.stat().st_mode & 0o777 == 0o600
    # Without the boot's part the next time.
    told.clear()
    await unit.install(["/usr/bin/caravel", "up"], PLAN, boot=False, root=tmp_path)
    assert not table.exists()
    assert told[0] == ("systemctl", "disable", "--now", unit.BOOT)
    told.clear()
    assert [path.name for path in await unit.remove(root=tmp_path)] == [unit.UP]
    assert told == [("systemctl", "disable", "--now", unit.UP), ("systemctl", "daemon-reload")]
    assert await unit.remove(root=tmp_path) == []


async def test_without_systemd_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemModeError, match="needs systemd"):
        await unit.install(["/usr/bin/caravel", "up"], PLAN, boot=False, root=tmp_path)


async def test_a_command_is_named_by_its_path(tmp_path: Path, told: list[tuple[str, ...]]) -> None:
    with pytest.raises(SystemModeError, match="absolute path"):
        await unit.install(["caravel", "up"], PLAN, boot=False, root=tmp_path)
    assert not told
