"""Row 59. Position: reads all of a running helm, its memory included. Wants: what opens a user's tunnel.

Countermeasure: nothing usable exists there (security.md §2d): device and node derive the secrets from their own keys.
A helm in a process of its own enrols three devices and serves them; then its memory, a core dump of it, its files, a
backup and its log are searched for each preshared key, user id and private key, the node's REALITY keys among them, as
octets and as text. The weakened build is a helm that is told a preshared key, as one is that hands them out.
"""

from __future__ import annotations

import base64
import datetime
import mmap
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pharos.buoy.dataplane.manager import Planes
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.tunnel.amnezia import pairing_of
from pharos.demo.processes import run_command
from pharos.helm.backup.restore import restore_backup
from pharos.helm.config import SOCKET_NAME
from pharos.wire.agent import AgentKeys
from pharos.wire.files import open_state_directory
from pharos.wire.ids import NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.roles import Role
from pharos.wire.seal.blind import derive_psk, derive_uuid
from pharos.wire.seal.realitykey import derive_reality_key
from tests.support.fleet import Fleet, running_fleet
from tests.support.helm import sample_act

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
DEVICES = ("laptop", "phone", "tablet")


class HelmProcess:
    """helm as an operator runs it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.log = fleet.folder / "helm.log"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        words = ["-m", "pharos", "helm", "run", "--verbose", "--beacon", "off", "--state", str(self.fleet.helm_state)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 -- it returns at once
                [sys.executable, *words, "--web-port", str(self.fleet.web_port)],
                stdout=log,
                stderr=log,
                cwd=self.fleet.folder,
            )
        process, path = self.process, self.fleet.helm_state / SOCKET_NAME
        await self.fleet.until(lambda: _listens(path) or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()

    async def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        await trio.to_thread.run_sync(self.process.wait)

    async def dump(self) -> Path | None:
        """End it as a fault does, and return the core that is left, None where this machine gives cores to a program.

        helm's unit forbids cores (LimitCORE=0); here is a helm that somebody started by hand.
        """
        assert self.process is not None
        pid = self.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_CORE)
        if hard == 0 or leads_elsewhere(CORE_PATTERN):
            return None
        resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))
        self.process.send_signal(signal.SIGABRT)
        await trio.to_thread.run_sync(self.process.wait)
        (core,) = self.fleet.folder.glob("core*")
        return core


def _listens(path: Path) -> bool:
    """Tell whether somebody can connect; the socket is there a moment before."""
    with socket.socket(socket.AF_UNIX) as knocking:
        return knocking.connect_ex(str(path)) == 0


def leads_elsewhere(pattern: Path) -> bool:
    """Tell whether the kernel gives cores to a program, or to a folder of its own (core(5))."""
    return pattern.read_text()[0] in "|/"


def memory_of(pid: int) -> Iterator[bytes]:
    """Give whatever a process may write to, region by region (proc(5), maps and mem)."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            begin, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()  # type: ignore[union-attr]
            if not rights.startswith("rw"):
                continue
            try:
                memory.seek(int(begin, 16))
                yield memory.read(int(end, 16) - int(begin, 16))
            except (OSError, ValueError, OverflowError):
                # Some regions, such as [vvar], are not to be read.
                continue


def spellings(secret: bytes) -> set[bytes]:
    texts = {secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"=")}
    if len(secret) == 16:
        texts.add(str(uuid.UUID(bytes=secret)).encode())
    return {secret, *texts}


def secrets_of(store: ProfileStore) -> dict[str, bytes]:
    """What opens the tunnels of a device, and what that is derived from."""
    profile = store.profile(datetime.datetime.now(datetime.UTC))
    keys = store.enrolled().secrets
    found = {"derive key": keys.derive.private_bytes()}
    for node in profile.nodes:
        pairing = pairing_of(profile, node, keys, node.generation)
        found[f"PSK with {node.name}"] = derive_psk(pairing, keys.derive)
        found[f"VLESS id with {node.name}"] = derive_uuid(pairing, keys.derive).bytes
    return found


def reality_keys_of(fleet: Fleet, name: str) -> dict[str, KeyPair]:
    """What a node has derived for its REALITY, before and after a re-issue."""
    keys = AgentKeys(fleet.folder / name, Role.NODE)
    member = keys.membership(now=datetime.datetime.now(datetime.UTC)).identity
    return {
        f"REALITY key {generation}": derive_reality_key(
            keys.derive_key, fleet=member.fleet, node=NodeId(member.id), generation=generation
        )
        for generation in (1, 2)
    }


async def reissue(fleet: Fleet) -> None:
    """Replace the node's parameters, and wait until helm knows the new REALITY key."""
    (node,) = (await fleet.ask("GET", "/api/v1/nodes"))["items"]
    await fleet.ask("POST", f"/api/v1/nodes/{node['id']}/reissue", version=node["version"])
    await fleet.wait_reality()


def found_in(content: Iterator[bytes], secrets: dict[str, bytes]) -> set[str]:
    wanted = {spelling: name for name, secret in secrets.items() for spelling in spellings(secret)}
    return {name for part in content for spelling, name in wanted.items() if spelling in part}


def found_in_map(content: mmap.mmap, secrets: dict[str, bytes]) -> set[str]:
    """Do as `found_in`, with a file that may be larger than what one wants to have in memory."""
    return {name for name, secret in secrets.items() if any(content.find(text) >= 0 for text in spellings(secret))}


def files_below(folder: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def backup_of(fleet: Fleet) -> list[bytes]:
    """Have a backup made while helm runs; return it as it is, and the files that its owner's kit makes of it."""
    folder, restored = fleet.folder / "backup", fleet.folder / "restored"
    folder.mkdir()
    words = ("helm", "backup", "--to", str(folder), "--with-telemetry", "--state", str(fleet.helm_state))
    await run_command(*words)
    (file,) = folder.iterdir()
    open_state_directory(restored)
    with file.open("rb") as reading:
        await trio.to_thread.run_sync(restore_backup, reading, restored, fleet.kit, sample_act())
    return [file.read_bytes(), *files_below(restored)]


async def tell_helm(fleet: Fleet, secret: bytes) -> None:
    """Weakened: a device's preshared key goes by way of helm."""
    (device,) = (await fleet.ask("GET", f"/api/v1/devices?name={DEVICES[0]}"))["items"]
    body = {"note": secret.hex()}
    await fleet.ask("PATCH", f"/api/v1/devices/{device['id']}", body, version=device["version"])


@pytest.mark.red_inside
@pytest.mark.skipif(not os.access("/proc/self/mem", os.R_OK), reason="memory is read by way of /proc")
async def test_a59_running_helm_holds_nothing_that_opens_a_tunnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planes, "reality_port", 8444)
    async with running_fleet(tmp_path, timeout=120) as fleet:
        await fleet.helm.stop()
        helm = HelmProcess(fleet)
        try:
            await helm.start()
            await fleet.wait_settled(peers=0)
            for name in DEVICES:
                await fleet.enrol(name)
            await fleet.wait_settled(peers=len(DEVICES))
            secrets: dict[str, bytes] = {}
            for name in DEVICES:
                async with fleet.client(name) as client:
                    await client.sync()
                    async with client.connect(client.profile().nodes[0].id) as tunnel:
                        await tunnel.wait_up(5)
                        assert (await tunnel.ping(1)).received == 1
                secrets |= {f"{secret} of {name}": v for secret, v in secrets_of(fleet.device_store(name)).items()}
            await reissue(fleet)
            reality = reality_keys_of(fleet, "a")
            secrets |= {name: pair.private_bytes() for name, pair in reality.items()}
            assert helm.process is not None
            assert found_in(memory_of(helm.process.pid), secrets) == set()
            # The proof that this search finds what is there: what helm does hold, it holds in memory.
            public = {"sealing key": fleet.device_store("laptop").enrolled().secrets.noise.public}
            public |= {name: pair.public for name, pair in reality.items()}
            assert found_in(memory_of(helm.process.pid), public) == set(public)
            assert found_in(files_below(fleet.helm_state), secrets) == set()
            assert found_in(iter([helm.log.read_bytes()]), secrets) == set()
            assert found_in(iter(await backup_of(fleet)), secrets) == set()
            red = next(name for name in secrets if name.startswith("PSK"))
            await tell_helm(fleet, secrets[red])
            assert found_in(memory_of(helm.process.pid), secrets) == {red}
            assert found_in(files_below(fleet.helm_state), secrets) == {red}
            if (core := await helm.dump()) is not None:
                with core.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as dumped:
                    assert found_in_map(dumped, secrets) == {red}
                    assert found_in_map(dumped, public) == set(public)
                core.unlink()
        finally:
            await helm.stop()
    assert len(secrets) == 3 * len(DEVICES) + len(reality)
