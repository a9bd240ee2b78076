"""A machine as a provider hands it over becomes a whole fleet over ssh: real packages, apt and systemd."""

from __future__ import annotations

import base64
import functools
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.helm.cli.api import ask
from tests.packaging.built import built
from tests.support.commands import program
from tests.system.bare import open_bare_machine, open_internet
from tests.system.lab.commands import CommandError
from tests.system.lab.network import Lab, open_lab
from tests.system.machines import Machine
from tests.system.needs import missing_for_machines
from tests.system.trees import BARE, ensure_tree

pytestmark = pytest.mark.system

RELEASE = "bookworm"
TIMEOUT = 300.0
# As apt takes it (fcntl(2)), for as long as it is seen to be held: nothing but perl is on a bare machine.
HELD = "/run/held"
HOLD_LOCK = f"""
use Fcntl; open(my $lock, ">>", "/var/lib/dpkg/lock-frontend") or die;
my $whole = pack("s s l! l! i x4", F_WRLCK, 0, 0, 0, 0);
fcntl($lock, F_SETLK, $whole) or die;
select(undef, undef, undef, 0.1) while -e "{HELD}";
"""


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two packages, as `make deb` builds them."""
    return built(tmp_path_factory, "buoy", "beacon")


@attrs.define
class Operator:
    """Somebody behind a NAT, with a helm that runs, and a bare machine elsewhere."""

    lab: Lab
    machine: Machine
    state: Path
    debs: Path
    address: str

    def words(self, *words: str) -> list[str]:
        """Return the words of a command of helm's, as one that came with these packages."""
        start = (
            "import sys; from pathlib import Path; from pharos.helm.onboard import debs;"
            " debs.CARRIED = Path(sys.argv.pop(1)); from pharos.helm.cli import main; main(prog_name='helm')"
        )
        return [sys.executable, "-c", start, str(self.debs), *words, "--state", str(self.state)]

    async def helm(self, *words: str) -> str:
        """Run a command. Raises: CommandError."""
        return await self.lab.run("helm", *self.words(*words))

    async def add(self, *more: str, until: str = "") -> list[dict[str, Any]]:
        """Bring the machine in, and return what was told of it; killed without a word once it tells ``until``."""
        where = ("nodes", "add", f"root@{self.address}", "--name", "amsterdam", "--json")
        words = self.lab.words("helm", self.words(*where, "--host-key", await self.host_key(), *more))
        told: list[dict[str, Any]] = []
        async with trio.open_nursery() as nursery:
            run = functools.partial(trio.run_process, words, stdout=subprocess.PIPE, check=not until)
            process = await nursery.start(run)
            rest = b""
            async for part in process.stdout:
                *lines, rest = (rest + part).split(b"\n")
                told += [json.loads(line) for line in lines]
                says = [f"{event['event']} {event.get('step')} {event.get('says', '')}" for event in told]
                if until and any(each.startswith(until) for each in says):
                    process.kill()
                    break
                if any("waits for perl" in each for each in says):
                    await self.machine.run("rm", "-f", HELD)
            await process.stdout.aclose()
        return told

    async def members(self) -> list[str]:
        """Return the names in the record."""
        pages = [await ask(self.state, "GET", f"/api/v1/{noun}") for noun in ("nodes", "relays")]
        return [record["name"] for page in pages for record in page["items"]]

    async def host_key(self) -> str:
        return (await self.machine.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub")).split()[1]


@asynccontextmanager
async def operator(folder: Path, debs: Path) -> AsyncIterator[Operator]:
    await ensure_tree(RELEASE, BARE)
    state = folder / "helm"
    with trio.fail_after(TIMEOUT):
        async with open_lab(folder) as lab, open_internet(lab, RELEASE):
            made = [*program("helm"), "init", "--state", str(state), "--json"]
            await lab.run("helm", *made)
            key = await lab.run("helm", *program("helm"), "ssh-key", "--state", str(state))
            async with open_bare_machine(lab, "buoya", RELEASE, key=key) as machine:
                words = [*program("helm"), "run", "--state", str(state), "--beacon", "off"]
                await lab.start("helm", *words, name="run", ready=True)
                yield Operator(lab, machine, state, debs, lab.host("buoya").address4)


def events(shown: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown.splitlines() if line.startswith("{")]


def changed(told: list[dict[str, Any]]) -> list[str]:
    """Return the steps that changed something."""
    return [event["step"] for event in told if event["event"] == "done" and event["changed"]]


async def packages(machine: Machine) -> list[str]:
    shown = await machine.run(
        "dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", "pharos-*", check=False
    )
    return [line for line in shown.splitlines() if not line.endswith("not-installed")]


async def test_killed_undone_half_installed_and_locked_it_still_becomes_a_whole_fleet(
    tmp_path: Path, debs: Path
) -> None:
    async with operator(tmp_path, debs) as here:
        machine = here.machine
        await here.add(until="begun start")
        assert await packages(machine) == ["pharos-buoy installed"]
        assert await here.members() == ["amsterdam"]
        # What was killed has noted there what it had done.
        undone = events(await here.helm("nodes", "undo", f"root@{here.address}", "--json"))
        assert [event.get("step") for event in undone if event["event"] == "undone"] == [
            *("start", "adopt", "request", "install")
        ]
        assert (await packages(machine), await here.members()) == ([], [])
        left = await machine.run(
            "find", "/etc", "/var/lib", "/root", "/usr/lib", "-name", "*pharos*", "-not", "-name", "*.slice"
        )
        assert [path for path in left.splitlines() if "/dpkg/" not in path and "systemd" not in path] == []

        # Somebody's installation was broken off, and somebody else holds the lock of apt.
        (buoy,) = await trio.to_thread.run_sync(lambda: list(debs.glob("pharos-buoy_*.deb")))
        await machine.put("/root/buoy.b64", base64.encodebytes(await trio.Path(buoy).read_bytes()).decode())
        await machine.run("sh", "-euc", "base64 -d /root/buoy.b64 > /root/buoy.deb; dpkg --unpack /root/buoy.deb")
        assert await packages(machine) == ["pharos-buoy unpacked"]
        await machine.put(HELD, "")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(machine.run, "perl", "-e", HOLD_LOCK)
            told = await here.add("--with-beacon")
        waits = [event["says"] for event in told if event.get("says", "").startswith("waits for perl (process ")]
        assert len(waits) == 1
        assert told[-1]["event"] == "joined"
        assert await here.members() == ["amsterdam", "amsterdam"]

        # A member is looked at, and nothing changes.
        assert changed(await here.add("--with-beacon")) == []
        with pytest.raises(CommandError, match="nothing of an onboarding is left"):
            await here.helm("nodes", "undo", f"root@{here.address}")
