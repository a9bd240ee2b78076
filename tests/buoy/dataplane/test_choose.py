"""The best driver that a machine has is taken, or the one that was asked for, and it is said why."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pharos.buoy.config import AWG_DRIVERS, REALITY_DRIVERS
from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.dataplane.choose import Choice, choose
from pharos.buoy.dataplane.probing import probe_awg, probe_reality

RELEASE = "6.1.0-test"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine that has nothing. The path is short, for it has to fit into the address of a socket."""
    return tmp_path


def put(path: Path, text: str = "", *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def listen(path: Path, *, alive: bool = True) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    if alive:
        sock.listen()
    return sock


def awg(machine: Path, asked: str = "auto") -> Choice:
    return choose(asked, probe_awg(root=machine, release=RELEASE))


def reality(machine: Path, asked: str = "auto") -> Choice:
    return choose(asked, probe_reality(root=machine))


def test_a_machine_that_has_nothing_gets_what_is_inside_the_agent(machine: Path) -> None:
    for choice in (awg(machine), reality(machine)):
        assert choice.name == "embedded"
        assert "not userspace, for this is missing" in choice.reason
    assert "not kernel, for this is missing: the kernel module amneziawg, the tool awg" in awg(machine).reason
    assert "not xray, for this is missing: the program xray" in reality(machine).reason


@pytest.mark.parametrize("folder", ["amneziawg", "wireguard"])
def test_an_engine_that_answers_is_taken_before_our_own(machine: Path, folder: str) -> None:
    path = machine / "run" / folder / "awg0.sock"
    with listen(path):
        choice = awg(machine)
        assert choice.name == "userspace"
        assert f"answers at /run/{folder}/awg0.sock" in choice.reason


def test_the_socket_of_an_engine_that_was_killed_is_no_engine(machine: Path) -> None:
    with listen(machine / "run/amneziawg/awg0.sock", alive=False):
        assert awg(machine).name == "embedded"


@pytest.mark.parametrize("unit", ["pharos-awg@awg0.service", "pharos-reality.service"])
def test_an_engine_that_systemd_starts_as_well_is_waited_for(machine: Path, unit: str) -> None:
    # A link to a unit that is elsewhere on this machine.
    folder = machine / "etc/systemd/system/multi-user.target.wants"
    folder.mkdir(parents=True)
    (folder / unit).symlink_to(f"/lib/systemd/system/{unit}")
    if "awg" in unit:
        # Without that, systemd passes the unit over.
        assert awg(machine).name == "embedded"
        put(machine / "dev/net/tun")
    choice = awg(machine) if "awg" in unit else reality(machine)
    assert choice.name == "userspace"
    assert choice.reason.startswith(f"{unit} is enabled")


@pytest.mark.parametrize("loaded", [True, False])
def test_the_kernel_is_taken_where_module_tool_and_helper_are_here(machine: Path, loaded: bool) -> None:
    if loaded:
        (machine / "sys/module/amneziawg").mkdir(parents=True)
    else:
        put(machine / "lib/modules" / RELEASE / "modules.dep", "updates/dkms/amneziawg.ko.xz: net/udp_tunnel.ko\n")
    with listen(machine / "run/pharos-buoy-helper.sock"), listen(machine / "run/amneziawg/awg0.sock"):
        assert awg(machine).name == "userspace"
        put(machine / "usr/bin/awg", mode=0o755)
        choice = awg(machine)
    assert choice.name == "kernel"
    assert "the kernel module amneziawg is here" in choice.reason
    # Without the root helper nobody may tell it anything.
    (machine / "run/pharos-buoy-helper.sock").unlink()
    assert "not kernel, for this is missing: the root helper" in awg(machine).reason


def test_plain_wireguard_in_the_kernel_is_not_enough(machine: Path) -> None:
    put(machine / "lib/modules" / RELEASE / "modules.dep", "kernel/drivers/net/wireguard/wireguard.ko: x.ko\n")
    put(machine / "usr/bin/awg", mode=0o755)
    with listen(machine / "run/pharos-buoy-helper.sock"):
        assert awg(machine).name == "embedded"


def test_xray_is_taken_where_it_is_installed_and_a_server_of_ours_else(machine: Path) -> None:
    with listen(machine / "run/pharos-reality/control.sock"), listen(machine / "run/pharos-buoy-helper.sock"):
        assert reality(machine).name == "userspace"
        put(machine / "usr/local/bin/xray", mode=0o644)
        assert reality(machine).name == "userspace"
        (machine / "usr/local/bin/xray").chmod(0o755)
        assert reality(machine).name == "xray"
        assert reality(machine, "embedded") == Choice(name="embedded", reason="it was asked for")


def test_what_is_asked_for_and_cannot_be_is_an_error_that_says_what_is_missing(machine: Path) -> None:
    with pytest.raises(EngineError, match="kernel was asked for, and this is missing: the kernel module amneziawg"):
        awg(machine, "kernel")
    with pytest.raises(EngineError, match=r"pharos-awg@awg0\.service enabled"):
        awg(machine, "userspace")
    with pytest.raises(EngineError, match="the program xray"):
        reality(machine, "xray")
    with pytest.raises(EngineError, match="no driver 'warp'"):
        awg(machine, "warp")


def test_every_driver_that_can_be_asked_for_is_looked_for(machine: Path) -> None:
    assert tuple(each.name for each in probe_awg(root=machine)) == AWG_DRIVERS[1:]
    assert tuple(each.name for each in probe_reality(root=machine)) == REALITY_DRIVERS[1:]


def test_where_nothing_can_be_used_it_is_said_why(machine: Path) -> None:
    with pytest.raises(EngineError, match="not kernel"):
        choose("auto", probe_awg(root=machine)[:2])
