"""Somebody who has carried a machine of the fleet away, with all that is on its disk, and uses it elsewhere."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.caravel.client import find_node
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.tunnel.amnezia import pairing_of
from pharos.wire.agent import AgentKeys
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import client_context
from pharos.wire.seal.blind import Pairing, derive_psk
from pharos.wire.world import utc_now
from tests.journeys.scene import POLL_INTERVAL, Scene
from tests.support.commands import program
from tests.system.lab.commands import run_nft
from tests.system.lab.processes import Process

CONTROL_PORT: Final = 7443
TUNNEL_PORT: Final = 7444
INGRESS_PORT: Final = 443
_GOAWAY: Final = 7  # RFC 9113 §6.8


@attrs.frozen(kw_only=True)
class Thief:
    """He has a copy of everything, and a place of his own; ``steal`` makes him."""

    scene: Scene
    name: str
    """Of what he stole, which is its host's."""
    role: Role
    host: str
    """Where he is."""
    loot: Path
    """The state directory."""

    @property
    def keys(self) -> AgentKeys:
        """The keys of the machine."""
        return AgentKeys(self.loot, self.role)

    async def take_its_place(self) -> None:
        """Be where the machine was, for everybody: by its address, as one who has the network on his side."""
        victim, own = self.scene.lab.host(self.name), self.scene.lab.host(self.host)
        for words in (
            f"link set eth0 address {victim.mac}",
            # Else what he answers would come from there.
            f"addr del {own.address4}/{own.network4.prefixlen} dev eth0",
            f"addr add {victim.address4}/{victim.network4.prefixlen} dev eth0",
        ):
            await self.scene.lab.run(self.host, "ip", *words.split())

    async def run_buoy(self) -> None:
        """Run the node as it was."""
        words = [*program("buoy"), "run", "--state", str(self.loot), "--host", "0.0.0.0"]
        await self.scene.lab.start(self.host, *words, name="thief", ready=True)

    async def run_beacon(self, *more: str) -> Process:
        """Run a relay that reads what it can; ``cut``: and ends every passage. Its log is what it has seen."""
        words = [sys.executable, "-m", "tests.journeys.evilrelay", str(self.loot), *more]
        return await self.scene.lab.start(self.host, *words, name="-".join(("thief", *more)), ready=True)

    async def is_let_in(self, host: str, port: int, *, as_stranger: bool = False) -> bool:
        """Dial a member of the fleet by its true name, with the stolen certificate or none; tell whether it talks."""
        membership = self.keys.membership(now=utc_now())
        noun, role = ("nodes", Role.NODE) if port == CONTROL_PORT else ("relays", Role.RELAY)
        listed = (await self.scene.ask("GET", f"/api/v1/{noun}?name={host}"))["items"]
        name = Identity(fleet=membership.trust.fleet, role=role, id=listed[0]["id"]).dns_name
        credentials = None if as_stranger else membership.credentials
        context = client_context(trust=membership.trust, credentials=credentials)
        tcp = await self.scene.lab.namespace(self.host).connect(self.scene.lab.host(host).address4, port)
        stream = trio.SSLStream(tcp, context, server_hostname=name, https_compatible=True)
        heard, refusal = b"", None
        with trio.fail_after(15):
            try:
                await stream.do_handshake()
                heard = bytes(await stream.receive_some())
            except trio.BrokenResourceError as error:
                refusal = error.__cause__
            await trio.aclose_forcefully(stream)
        # That he does not believe the server would be another story.
        assert not isinstance(refusal, ssl.SSLCertVerificationError), refusal
        return bool(heard) and _GOAWAY not in _kinds(heard)

    async def knocks(self, *ports: int) -> int:
        """Return how many connections were begun to ports of his, by whomever, since he was asked first."""
        space = self.scene.lab.namespace(self.host).name
        if "knocks" not in await self.scene.lab.run(self.host, "nft", "list", "tables"):
            rule = f"tcp dport {{ {', '.join(map(str, ports))} }} tcp flags & (syn | ack) == syn counter name knocks"
            chain = f"chain seen {{ type filter hook input priority 0; {rule}; }}"
            await run_nft(space, f"table inet knocks {{ counter knocks {{ }}; {chain}; }}\n")
        said = await self.scene.lab.run(self.host, "nft", "-j", "list", "counters", "table", "inet", "knocks")
        (count,) = [entry["counter"]["packets"] for entry in json.loads(said)["nftables"] if "counter" in entry]
        return int(count)

    async def callers(self, port: int) -> int:
        """Return how many connections there are to a port of his."""
        sockets = await self.scene.lab.sockets(self.host)
        return len([s for s in sockets if (s.state, s.port) == ("ESTAB", port)])

    async def wait_callers(self, port: int, count: int) -> None:
        """Wait until there are so many; the caller owns the timeout."""
        while True:
            if await self.callers(port) == count:
                return
            await trio.sleep(POLL_INTERVAL)

    def finds(self, secrets: Mapping[str, bytes]) -> set[str]:
        """Return the names of the secrets that can be read in what he has."""
        return find_in(files_of(self.loot), secrets)


def _kinds(data: bytes) -> Iterable[int]:
    """Return the types of the frames in what an HTTP/2 server said first."""
    while len(data) >= 9:
        yield data[3]
        data = data[9 + int.from_bytes(data[:3], "big") :]


def files_of(folder: Path) -> bytes:
    """Return all that is in the files of a directory."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def find_in(data: bytes, secrets: Mapping[str, bytes]) -> set[str]:
    """Return the names of the secrets that can be read in data, as they are or in the usual spellings."""
    return {name for name, secret in secrets.items() if any(spelling in data for spelling in _spellings(secret))}


def _spellings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"=")]


def pairing_with(device: Path, name: str) -> Pairing:
    """Return what a device's secret with a node is of: nothing that would have to be kept from anybody."""
    store = ProfileStore(device)
    profile = store.profile(utc_now())
    node = find_node(profile, name)
    return pairing_of(profile, node, store.enrolled().secrets, node.generation)


def secrets_beside(scene: Scene, node: str, device: Path) -> dict[str, bytes]:
    """Return the keys of a node and of a device, and what the two share."""
    keys, own = AgentKeys(scene.folder / node, Role.NODE), ProfileStore(device).enrolled().secrets
    return {
        "the node's key": keys.awg_key,
        "the node's derive key": keys.derive_key.private_bytes(),
        "the device's key": own.awg.private_bytes(),
        "the device's derive key": own.derive.private_bytes(),
        "what they share": derive_psk(pairing_with(device, node), own.derive),
    }


async def steal(scene: Scene, name: str, *, role: Role, at: str) -> Thief:
    """Take a machine while it runs: carry it away, and have all that is on its disk at another host, or stay there."""
    await scene.kill(name)
    if at != name:
        await scene.lab.run(name, "ip", "link", "set", "eth0", "down")
    loot = scene.folder / f"loot-{name}"
    await trio.to_thread.run_sync(shutil.copytree, scene.folder / name, loot)
    return Thief(scene=scene, name=name, role=role, host=at, loot=loot)
