"""Machines boot whole, answer, obey, and go."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from tests.system.lab.commands import run_command
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.owner import running_owner
from tests.system.machines import BOOT_TIMEOUT, open_machine
from tests.system.needs import missing_for_machines
from tests.system.trees import RELEASES, ensure_tree

pytestmark = pytest.mark.system

PORT = 7000
GREETER = f"""
import os, socket
listener = socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    stream, _ = listener.accept()
    with stream:
        stream.sendall(b"ahoy")
"""
UNIT = """
[Service]
Type=notify
ExecStart=/usr/bin/python3 /usr/local/lib/greeter.py
Restart=always
RestartSec=0
"""
OWNER = """
import trio
from pathlib import Path
from tests.system.lab.network import open_lab
from tests.system.machines import open_machine

async def main(folder, release):
    async with open_lab(Path(folder)) as lab, open_machine(lab, "buoya", release):
        print("booted", flush=True)
        await trio.sleep_forever()
"""


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


async def greeting(lab: Lab, address: str) -> bytes:
    async with await lab.namespace("clienta").connect(address, PORT) as stream:
        return b"".join([part async for part in stream])


@pytest.mark.parametrize("release", RELEASES)
async def test_machine_boots_answers_and_runs_units(tmp_path: Path, release: str) -> None:
    await ensure_tree(release)
    key = tmp_path / "key"
    await run_command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    with trio.fail_after(2 * BOOT_TIMEOUT):
        async with open_lab(tmp_path) as lab, open_machine(lab, "buoya", release) as machine:
            assert await machine.state() == "running"
            assert f"VERSION_CODENAME={release}" in await machine.run("cat", "/etc/os-release")

            await machine.put("/root/.ssh/authorized_keys", key.with_suffix(".pub").read_text(), mode=0o600)
            ssh = [
                *["ssh", "-F", "none", "-i", str(key), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"],
                *["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={tmp_path}/known_hosts"],
            ]
            buoy = lab.host("buoya")
            for address in (buoy.address4, buoy.address6):
                assert await lab.run("clienta", *ssh, f"root@{address}", "hostname") == "buoya\n"

            await machine.put("/usr/local/lib/greeter.py", GREETER)
            await machine.put("/etc/systemd/system/greeter.service", UNIT)
            await machine.run("systemctl", "daemon-reload")
            await machine.run("systemctl", "start", "greeter")
            for address in (buoy.address4, buoy.address6):
                assert await greeting(lab, address) == b"ahoy"
            await machine.run("systemctl", "stop", "greeter")
            with pytest.raises(ConnectionRefusedError):
                await greeting(lab, buoy.address4)
            assert await machine.state() == "running"


async def test_machine_forgets_what_it_wrote(tmp_path: Path) -> None:
    await ensure_tree(RELEASES[0])
    with trio.fail_after(2 * BOOT_TIMEOUT):
        async with open_lab(tmp_path) as lab:
            async with open_machine(lab, "buoya", RELEASES[0]) as machine:
                await machine.put("/etc/mark", "here")
            async with open_machine(lab, "buoya", RELEASES[0]) as machine:
                assert await machine.run("ls", "/etc/mark", check=False) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_of_a_machine_whose_owner_a_signal_ends(tmp_path: Path, number: signal.Signals) -> None:
    await ensure_tree(RELEASES[0])
    with trio.fail_after(2 * BOOT_TIMEOUT):
        async with running_owner(OWNER, str(tmp_path), RELEASES[0]) as (owner, _):
            assert len(machines_of(owner.pid)) == 1
            owner.send_signal(number)
            await owner.wait()
            await wait_gone(owner.pid)


async def wait_gone(owner: int) -> None:
    while True:
        if not machines_of(owner):
            return
        await trio.sleep(0.02)


def machines_of(owner: int) -> list[str]:
    """Return the processes of systemd-nspawn that run a machine of a lab of this process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = os.fsdecode(path.read_bytes()).split("\0")
        except OSError:
            continue
        if words[0].endswith("systemd-nspawn") and any(word.startswith(f"--machine=ph{owner}-") for word in words):
            found.append(path.parent.name)
    return found
