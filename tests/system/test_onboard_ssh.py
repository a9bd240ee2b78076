"""Onboarding's way into real machines: bare ones, with sshd, sudo, dpkg and a disk that fills up."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.helm.onboard.errors import (
    ConnectionLostError,
    LoginRefusedError,
    RemoteCommandError,
    RemoteFullError,
    RootRefusedError,
)
from pharos.helm.onboard.remote import Destination, Remote
from pharos.helm.onboard.ssh import NobodyToAsk, Prompts, SshKeys, open_remote
from tests.support.prompts import Person
from tests.system.lab.network import Lab, open_lab
from tests.system.machines import BOOT_TIMEOUT, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.trees import BARE, FULL, MIRROR, Recipe

pytestmark = pytest.mark.system

PASSWORD = "open sesame"
# Who may become root, and how: ada with a password, bob without one, eve not at all.
USERS = f"""
dpkg --install /{MIRROR}/sudo_*.deb /{MIRROR}/libapparmor1_*.deb
echo "127.0.1.1 buoya" >> /etc/hosts
for each in ada bob eve; do useradd --create-home --shell /bin/bash "$each"; done
printf '%s:{PASSWORD}\\n' ada bob eve | chpasswd
printf 'ada ALL=(ALL) ALL\\nbob ALL=(ALL) NOPASSWD: ALL\\n' > /etc/sudoers.d/people
"""
# As an installation that lost power looks, in dpkg's own book.
HALF = """
Package: pharos-buoy
Status: install reinstreq half-installed
Architecture: amd64
Version: 0.1.0
Maintainer: nobody
Description: half

"""
# Has what a node wants, and dpkg's lock; its name is that of the file.
BUSY = """#!/usr/bin/python3
import fcntl, os, signal, socket
tcp = socket.create_server(("0.0.0.0", 443))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 443))
lock = os.open("/var/lib/dpkg/lock-frontend", os.O_RDWR | os.O_CREAT)
fcntl.lockf(lock, fcntl.LOCK_EX)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"""


@attrs.frozen
class Place:
    """A machine in a lab, and helm's state on this side."""

    lab: Lab
    machine: Machine
    state: SshKeys

    @asynccontextmanager
    async def connected(self, user: str, prompts: Prompts, *, key: str | None = None) -> AsyncIterator[Remote]:
        """Reach the machine from another host of the lab, with no configuration of who runs this."""
        config = self.lab.folder / "config"
        config.write_text("IdentityAgent none\n" + (f"IdentityFile {key}\n" if key else "IdentityFile none\n"))
        inside = self.lab.words("clienta", ("ssh", "-F", str(config)))
        destination = Destination(host=self.lab.host("buoya").address4, user=user)
        async with open_remote(destination, keys=self.state, prompts=prompts, program=inside) as remote:
            yield remote


@asynccontextmanager
async def placed(tmp_path: Path, release: str, recipe: Recipe) -> AsyncIterator[Place]:
    state = tmp_path / "helm"
    state.mkdir(mode=0o700)
    with trio.fail_after(2 * BOOT_TIMEOUT):
        async with open_lab(tmp_path) as lab, open_machine(lab, "buoya", release, recipe=recipe) as machine:
            yield Place(lab, machine, SshKeys.open_keys(state))


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


async def test_machine_lets_in_by_password_and_sudo_and_tells_what_it_is(tmp_path: Path) -> None:
    async with placed(tmp_path, "trixie", BARE) as place:
        await place.machine.run("sh", "-euc", USERS)
        machine = place.machine
        said = await machine.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub")
        ada = Person(knows=["a slip", PASSWORD, "another slip", PASSWORD])
        async with place.connected("ada", ada) as remote:
            assert ada.shown == [said.split()[1]] == [remote.host_key]
            questions = [question for question, _ in ada.asked]
            assert [("ada@" in question and "password" in question) for question in questions[:2]] == [True, True]
            assert questions[2].startswith("Password that sudo wants on ada@")
            assert questions[3].startswith("That was not it.")
            assert all(hidden for _, hidden in ada.asked)

            facts = remote.facts
            assert (facts.distribution, facts.release, facts.root, facts.python) == ("debian", "13", "password", None)
            assert (facts.taken["tcp/22"], facts.apt_lock, facts.packages) == ("sshd", "", {})
            assert min(facts.free.values()) > 0

            assert await remote.run("id", "-un") == b"ada\n"
            assert await remote.run("id", "-un", root=True) == b"root\n"
            # What sudo reads is the password and no more; what a command reads is its own.
            assert await remote.run("cat", root=True, stdin=b"first\nsecond") == b"first\nsecond"
            words = ["it's", "$(id)", "-n", "two\nlines"]
            assert await remote.run("printf", "%s|", *words, root=True) == ("|".join(words) + "|").encode()
            with pytest.raises(RemoteCommandError, match="ls failed there with 2: ls: cannot access '/nowhere'"):
                await remote.run("ls", "/nowhere", root=True)
        # Nobody who lists processes, or reads the journal as root, finds the password.
        assert PASSWORD not in await machine.run("journalctl", "--no-pager")

        async with place.connected("bob", Person(knows=[PASSWORD])) as remote:
            assert remote.facts.root == "sudo"
            assert await remote.run("cat", root=True, stdin=b"a line\n") == b"a line\n"

        with pytest.raises(RootRefusedError, match=r"does not take this user on eve@.*not in the sudoers"):
            async with place.connected("eve", Person(knows=[PASSWORD, PASSWORD])):
                raise AssertionError("eve became root")
        with pytest.raises(RootRefusedError, match="did not take the password on ada@"):
            async with place.connected("ada", Person(knows=[PASSWORD, "wrong", "wrong again"])):
                raise AssertionError("ada became root")
        with pytest.raises(LoginRefusedError, match=r"lets nobody in .*password"):
            async with place.connected("ada", NobodyToAsk()):
                raise AssertionError("somebody got in")


async def test_machine_in_use_names_who_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.helm.onboard.ssh.words.ALIVE_INTERVAL", 1)
    async with placed(tmp_path, "bookworm", FULL) as place:
        machine = place.machine
        await machine.put("/root/.ssh/authorized_keys", place.state.make(), mode=0o600)
        await machine.run("sh", "-c", "cat >> /var/lib/dpkg/status", stdin=HALF)
        await machine.put("/usr/local/bin/busy", BUSY, mode=0o755)
        await machine.run("systemd-run", "--unit=busy", "--property=Type=notify", "/usr/local/bin/busy")
        await machine.run("mkdir", "/small")
        await machine.run("mount", "-t", "tmpfs", "-o", "size=1M", "small", "/small")
        async with place.connected("root", Person()) as remote:
            facts = remote.facts
            assert (facts.root, facts.distribution, facts.release) == ("root", "debian", "12")
            assert facts.python is not None
            assert facts.python.startswith("3.11.")
            assert (facts.taken["tcp/443"], facts.taken["udp/443"], facts.taken["tcp/22"]) == ("busy", "busy", "sshd")
            assert facts.packages == {"pharos-buoy": ("0.1.0", "half-installed")}
            assert facts.apt_lock.startswith("busy (process ")

            source = tmp_path / "big"
            source.write_bytes(os.urandom(3_000_000))
            with pytest.raises(RemoteFullError, match="its disk is full, make room"):
                await remote.upload(source, "/small/big", lambda *_: None)
            assert await remote.run("ls", "-A", "/small") == b""
            await remote.upload(source, "/root/big", lambda *_: None)
            assert await remote.run("cat", "/root/big") == source.read_bytes()
            with pytest.raises(RemoteFullError):
                await remote.run("sh", "-c", "cat > /small/big", stdin=source.read_bytes(), root=True)

            # Nobody says that the line is dead: no packet comes any more.
            async with place.lab.cut("buoya"):
                with pytest.raises(ConnectionLostError, match=r"the connection to root@.* broke"):
                    await remote.run("sleep", "600", timeout=600)
