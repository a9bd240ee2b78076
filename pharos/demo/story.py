"""The demo's story, step by step: a fleet is made, a device joins, and helm may leave."""

from __future__ import annotations

import contextlib
import datetime
import socket
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from pharos.caravel.client import Client, find_node, open_client
from pharos.caravel.errors import NoAnswerError
from pharos.caravel.tunnel.inner import InnerKind
from pharos.caravel.tunnel.session import Tunnel
from pharos.demo.errors import DemoError
from pharos.demo.feed import Feed, open_feed, wait_status
from pharos.demo.processes import Crew, Daemon, free_port, run_command, run_json
from pharos.demo.site import NAME, Site
from pharos.demo.steps import Steps
from pharos.wire.files import write_atomic
from pharos.wire.profile import AMNEZIAWG
from pharos.wire.units import MILLISECONDS, SECONDS

ECHOES: Final = 20
HOST: Final = "127.0.0.1"
NODES: Final = ("a", "b")
# The first initiation may meet a buoy that is still starting; the next one follows after five seconds.
TUNNEL_TIMEOUT: Final = 12 * SECONDS
# A node tells helm its REALITY key when they first talk, and helm seals new profiles then.
PROFILE_INTERVAL: Final = 100 * MILLISECONDS
# Engines inside the agents: no root, no interface, and nothing that outlives the demo. What devices reach through them
# is on this machine, and nodes let nobody go there unless they are told to.
BUOY_CONFIG: Final = """\
awg_driver = "embedded"
reality_driver = "embedded"
reality_allowed = ["127.0.0.0/8"]
network = false
"""
# A revoked device must be cut within two seconds of the act (security design, row 11).
CUT_DEADLINE: Final = 2 * SECONDS
# Refused means silence, so it can only be waited for: three initiations' worth on loopback.
REFUSAL_PATIENCE: Final = 1.5 * SECONDS


@attrs.frozen(kw_only=True)
class Ports:
    """Loopback ports that were free when the demo began."""

    web: int = attrs.field(factory=lambda: free_port(socket.SOCK_STREAM))
    ingress: int = attrs.field(factory=lambda: free_port(socket.SOCK_STREAM))
    tunnel: int = attrs.field(factory=lambda: free_port(socket.SOCK_STREAM))
    control: dict[str, int] = attrs.field(factory=lambda: {n: free_port(socket.SOCK_STREAM) for n in NODES})
    awg: dict[str, int] = attrs.field(factory=lambda: {n: free_port(socket.SOCK_DGRAM) for n in NODES})
    reality: dict[str, int] = attrs.field(factory=lambda: {n: free_port(socket.SOCK_STREAM) for n in NODES})


class Story:
    """One fleet from nothing to cold start."""

    def __init__(self, folder: Path, crew: Crew, steps: Steps, site: Site) -> None:
        self.ports = Ports()
        self._folder = folder
        self._crew = crew
        self._steps = steps
        self._site = site
        self._buoys: dict[str, Daemon] = {}
        self._helm: Daemon | None = None
        self._link = ""

    async def tell(self) -> None:
        """Run every step.

        Raises: whatever the first step that does not hold raises; it is recorded.
        """
        step = self._steps.run
        await step("ca", self._make_fleet)
        async with open_feed(self._state("helm")) as feed:
            await step("enrol-nodes", self._enrol_nodes)
            await step("enrol-beacon", self._enrol_beacon)
            await step("links-up", self._links_up)
            await step("ticket", self._write_ticket)
            await step("enrol-device", self._enrol_device)
            async with open_client(self._state("laptop")) as client:
                await step("bundle", lambda: self._sync(client))
                async with _by_amneziawg(client, "a") as a:
                    await step("tunnel-a", lambda: _use(a))
                    await step("live-event", lambda: self._see_handshake(client, feed))
                    async with _by_amneziawg(client, "b") as b:
                        await step("tunnel-b", lambda: _use(b))
                        await step("http-a", lambda: self._fetch_inside(client, a))
                        await step("http-b", lambda: self._fetch_inside(client, b))
                        await step("reality-a", lambda: self._fetch(client, "a"))
                        await step("reality-b", lambda: self._fetch(client, "b"))
                        await step("revoke", self._revoke_phone)
                        await step("helm-stopped", lambda: self._stop_helm(a, b))
                        await step("http-helm-stopped", lambda: self._fetch_inside_all(client, a, b))
                        await step("reality-helm-stopped", lambda: self._fetch_everywhere(client))
                await step("cold-start", lambda: self._cold_start(client))

    async def restart_helm(self) -> None:
        """Bring helm back, for who wants to look around."""
        assert self._helm is not None, "the story was told"
        await self._helm.start()
        await wait_status(self._state("helm"), lambda _picture: True, self._crew.check)

    async def admin_link(self) -> str:
        """Return a one-time link to the page of the helm that runs."""
        state = str(self._state("helm"))
        made = await run_json("helm", "admins", "link", "owner", "--state", state, "--web-port", str(self.ports.web))
        link: str = made["link"]
        return link

    async def _make_fleet(self) -> str:
        made = await run_json("helm", "init", "--personal", "--state", str(self._state("helm")))
        self._helm = await self._crew.start(
            # The story has a relay of its own, and another program of this machine may have the port of the one aboard.
            *("helm", "helm", "run", "--state", str(self._state("helm"))),
            *("--web-port", str(self.ports.web), "--beacon", "off"),
        )
        await wait_status(self._state("helm"), lambda _picture: True, self._crew.check)
        return f"fleet {made['fleet']}"

    async def _enrol_nodes(self) -> str:
        async with trio.open_nursery() as nursery:
            for name in NODES:
                nursery.start_soon(self._enrol_node, name)
        return "two buoys, keys made on each, grants signed"

    async def _enrol_node(self, name: str) -> None:
        state = str(self._state(f"buoy-{name}"))
        control, awg = str(self.ports.control[name]), str(self.ports.awg[name])
        await self._adopt(
            "buoy",
            state,
            ["nodes", "admit", "--name", name, "--address", HOST, "--control-port", control, "--awg-port", awg],
        )
        # Before the node is there: it never hears of another target, and asks nobody outside.
        target = f"{HOST}:{self._site.target_port}"
        await run_json("helm", "nodes", "target", name, target, NAME, "--state", str(self._state("helm")))
        config = self._folder / f"buoy-{name}.toml"
        write_atomic(config, BUOY_CONFIG.encode())
        self._buoys[name] = await self._crew.start(
            f"buoy-{name}",
            *("buoy", "run", "--state", state, "--config", str(config), "--host", HOST, "--control-port", control),
            *("--awg-port", awg, "--reality-port", str(self.ports.reality[name])),
        )

    async def _enrol_beacon(self) -> str:
        state = str(self._state("beacon"))
        ingress, tunnel = str(self.ports.ingress), str(self.ports.tunnel)
        await self._adopt(
            "beacon",
            state,
            [
                "relays",
                "admit",
                "--name",
                "gate",
                "--address",
                HOST,
                "--ingress-port",
                ingress,
                "--tunnel-port",
                tunnel,
            ],
        )
        await self._crew.start(
            "beacon",
            *("beacon", "run", "--state", state, "--host", HOST, "--ingress-port", ingress, "--tunnel-port", tunnel),
        )
        return f"clients on TCP {ingress}, helm on TCP {tunnel}"

    async def _adopt(self, program: str, state: str, act: list[str]) -> None:
        request = await run_command(program, "csr", "--state", state)
        grant = await run_command("helm", *act, "--state", str(self._state("helm")), "--request", "-", stdin=request)
        await run_command(program, "csr", "--state", state, "--install", "-", stdin=grant)

    async def _links_up(self) -> str:
        def holds(picture: dict[str, Any]) -> bool:
            nodes, relays = picture["nodes"], picture["relays"]
            return (
                len(nodes) == len(NODES)
                and len(relays) == 1
                and all(member["link"] == "up" for member in (*nodes, *relays))
                and all(node["applied_revision"] == node["desired_revision"] for node in nodes)
            )

        await wait_status(self._state("helm"), holds, self._crew.check)
        return "helm dialled both buoys and the beacon; nothing dials helm"

    async def _write_ticket(self) -> str:
        answer = await run_json(
            "helm", "devices", "invite", "laptop", "--ttl", "15m", "--state", str(self._state("helm"))
        )
        self._link = answer["link"]
        return f"one link of {len(self._link)} characters, good once"

    async def _enrol_device(self) -> str:
        joined = await run_json("caravel", "enroll", "-", "--state", str(self._state("laptop")), stdin=self._link)
        await self._wait_peers(1)
        return f"through the beacon: {', '.join(joined['addresses'])}"

    async def _sync(self, client: Client) -> str:
        outcome = await client.sync()
        nodes = client.profile().nodes
        if len(nodes) != len(NODES):
            raise DemoError(f"the profile names {len(nodes)} nodes, not {len(NODES)}")
        return f"revision {outcome.revision}, sealed to this device: {', '.join(node.name for node in nodes)}"

    async def _see_handshake(self, client: Client, feed: Feed) -> str:
        device = client.profile().device_id
        event, arrived = await feed.wait_event(lambda e: e["kind"] == "handshake" and e["device"] == device)
        happened = datetime.datetime.fromisoformat(event["at"]).timestamp()
        return f"buoy → helm → browser in {(arrived - happened) * 1000:.1f} ms"

    async def _fetch(self, client: Client, name: str) -> str:
        while not find_node(client.profile(), name).reality:
            await trio.sleep(PROFILE_INTERVAL)
            await client.sync()
        return await self._fetch_through(client, name)

    async def _fetch_everywhere(self, client: Client) -> str:
        return "; ".join([f"{name}: {await self._fetch_through(client, name)}" for name in NODES])

    async def _fetch_inside(self, client: Client, tunnel: Tunnel) -> str:
        """Fetch the page by TCP of our own; the node's address inside the tunnel is this machine."""
        [address, *_] = find_node(client.profile(), tunnel.name).addresses
        start = time.perf_counter()
        size = await self._site.fetch(tunnel.open_tcp_stream, address)
        return f"page of {size} octets from {address} in {(time.perf_counter() - start) * 1000:.1f} ms, without root"

    async def _fetch_inside_all(self, client: Client, *tunnels: Tunnel) -> str:
        return "; ".join([f"{tunnel.name}: {await self._fetch_inside(client, tunnel)}" for tunnel in tunnels])

    async def _fetch_through(self, client: Client, name: str) -> str:
        async with client.connect_reality(name) as tunnel:
            handshake = await tunnel.wait_up(TUNNEL_TIMEOUT)
            start = time.perf_counter()
            size = await self._site.fetch(tunnel.open_tcp_stream)
            seconds = time.perf_counter() - start
        return f"page of {size} octets in {seconds * 1000:.1f} ms, handshake {handshake * 1000:.1f} ms"

    async def _revoke_phone(self) -> str:
        helm = str(self._state("helm"))
        answer = await run_json("helm", "devices", "invite", "phone", "--state", helm)
        await run_json("caravel", "enroll", "-", "--state", str(self._state("phone")), stdin=answer["link"])
        async with open_client(self._state("phone")) as phone:
            await self._wait_peers(2)
            async with _by_amneziawg(phone, "a") as tunnel:
                await tunnel.wait_up(TUNNEL_TIMEOUT)
                await _echo(tunnel, 3)
                revoked_at = time.perf_counter()
                await run_json("helm", "devices", "revoke", "phone", "--state", helm)
                acted_at = time.perf_counter()
                while (await tunnel.ping(1)).received:
                    if time.perf_counter() - acted_at > CUT_DEADLINE:
                        raise DemoError("a revoked device still gets echoes two seconds after the act")
                    await trio.sleep(10 * MILLISECONDS)
            await _expect_refusal(phone)
        return f"phone cut and refused at a; the act took {acted_at - revoked_at:.2f} s"

    async def _wait_peers(self, count: int) -> None:
        """Wait until both nodes serve so many devices."""
        await wait_status(
            self._state("helm"), lambda picture: all(n["peers"] == count for n in picture["nodes"]), self._crew.check
        )

    async def _stop_helm(self, *tunnels: Tunnel) -> str:
        assert self._helm is not None, "the story began with it"
        await self._helm.stop()
        return "; ".join([f"{tunnel.name}: {await _echo(tunnel)}" for tunnel in tunnels])

    async def _cold_start(self, client: Client) -> str:
        buoy = self._buoys["a"]
        await buoy.kill()
        await buoy.start()
        start = time.perf_counter()
        while True:
            self._crew.check()
            async with _by_amneziawg(client, "a") as tunnel:
                # A handshake that meets a closed port is lost; a fresh tunnel does not wait for its next try.
                with contextlib.suppress(NoAnswerError):
                    await tunnel.wait_up(0.5 * SECONDS)
                    up = time.perf_counter() - start
                    return f"killed, back from disk, tunnel after {up:.2f} s; {await _echo(tunnel)}"

    def _state(self, name: str) -> Path:
        return self._folder / name


def _by_amneziawg(client: Client, node: str) -> AbstractAsyncContextManager[Tunnel]:
    # What every machine can do: no namespaces are asked for.
    return client.connect(node, protocol=AMNEZIAWG, inner=InnerKind.NETSTACK)


async def _use(tunnel: Tunnel) -> str:
    await tunnel.wait_up(TUNNEL_TIMEOUT)
    return await _echo(tunnel)


async def _echo(tunnel: Tunnel, count: int = ECHOES) -> str:
    report = await tunnel.ping(count)
    if report.received != count:
        raise DemoError(f"{report.received} of {count} echoes came back from node {tunnel.name}")
    middle = report.median or 0.0
    return f"{report.received} of {count} echoes, {middle * 1000:.1f} ms"


async def _expect_refusal(client: Client) -> None:
    async with _by_amneziawg(client, "a") as tunnel:
        try:
            await tunnel.wait_up(REFUSAL_PATIENCE)
        except NoAnswerError:
            return
    raise DemoError("a revoked device completed a handshake")
