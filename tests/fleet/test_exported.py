"""A device whose keys a browser made, in a whole fleet: its file carries packets, its link connects, and both end."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from pharos.caravel.tunnel.realityways import open_link_reality
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.confread import parse
from pharos.wire.awg.ping import ping
from pharos.wire.awg.tunnel import ClientTunnel, open_client_tunnel
from pharos.wire.reality.sharelink import ShareLink
from tests.support.exported import BrowserKeys, Secrets, conf_of, link_of, secrets_of
from tests.support.fleet import Fleet, running_fleet
from tests.support.reality import NAME
from tests.wire.reality.nodes import running_site, site_context

PATIENCE = 15


async def export(fleet: Fleet, keys: BrowserKeys, name: str = "tablet") -> str:
    made = await fleet.ask("POST", "/api/v1/devices", {"name": name, "keys": keys.public})
    return str(made["id"])


async def told(fleet: Fleet, device: str, keys: BrowserKeys) -> tuple[dict[str, Any], dict[str, Any], Secrets]:
    """Return the configuration, its one node, and what a browser derives for it."""
    configuration = await fleet.ask("GET", f"/api/v1/devices/{device}/configuration")
    (node,) = configuration["nodes"]
    return configuration, node, secrets_of(configuration, node, keys)


@asynccontextmanager
async def brought_up(text: str) -> AsyncIterator[ClientTunnel]:
    """Run what a configuration file says, as any program that reads it."""
    conf = parse(text)
    (peer,) = conf.peers
    assert peer.endpoint is not None
    config = PeerConfig(
        public_key=peer.public_key,
        preshared_key=peer.preshared_key,
        allowed_ips=peer.allowed_ips,
        endpoint=peer.endpoint,
    )
    async with open_client_tunnel(
        private_key=conf.interface.private_key, peer=config, parameters=conf.interface.parameters
    ) as tunnel:
        yield tunnel


async def answers(tunnel: ClientTunnel, configuration: dict[str, Any], count: int = 5) -> int:
    source, node = ipaddress.ip_address(configuration["address4"]), ipaddress.ip_address(configuration["dns"][0])
    with trio.fail_after(PATIENCE):
        await tunnel.wait_handshake()
    return (await ping(tunnel, source=source, destination=node, count=count)).received


async def test_the_file_carries_packets_without_helm_until_the_device_is_revoked(tmp_path: Path) -> None:
    keys = BrowserKeys.generate()
    async with running_fleet(tmp_path) as fleet:
        device = await export(fleet, keys)
        await fleet.wait_settled(peers=1)
        configuration, node, secrets = await told(fleet, device, keys)
        async with brought_up(conf_of(configuration, node, secrets)) as tunnel:
            assert await answers(tunnel, configuration) == 5
            await fleet.helm.stop()
            assert await answers(tunnel, configuration) == 5
            await fleet.helm.start()
            await fleet.wait_settled(peers=1)
            await fleet.move_device("tablet", "revoke")
            await fleet.wait_settled(peers=0)
            assert await answers(tunnel, configuration, 2) == 0


async def test_the_file_for_another_port_goes_on_after_a_reissue_and_helm_says_that_it_is_outdated(
    tmp_path: Path,
) -> None:
    keys = BrowserKeys.generate()
    async with running_fleet(tmp_path) as fleet:
        device = await export(fleet, keys)
        (node,) = (await fleet.ask("GET", "/api/v1/nodes"))["items"]
        spare = with_free_port(node["address"])
        await fleet.ask("PATCH", f"/api/v1/nodes/{node['id']}", {"spare_ports": [spare]}, version=node["version"])
        await fleet.wait_settled(peers=1)
        configuration, shown, secrets = await told(fleet, device, keys)
        before = conf_of(configuration, shown, secrets, endpoint=1)
        node = await fleet.ask("GET", f"/api/v1/nodes/{node['id']}")
        await fleet.ask("POST", f"/api/v1/nodes/{node['id']}/reissue", version=node["version"])
        await wait_outdated(fleet, device)
        await fleet.wait_settled(peers=1)
        async with brought_up(before) as tunnel:
            assert await answers(tunnel, configuration) == 5
        # Its keys are what they were: a new file of the same ones would do.
        fresh, shown, secrets = await told(fleet, device, keys)
        assert fresh["outdated_at"] is not None
        async with brought_up(conf_of(fresh, shown, secrets)) as tunnel:
            assert await answers(tunnel, fresh) == 5


async def wait_outdated(fleet: Fleet, device: str) -> None:
    while True:
        if (await fleet.ask("GET", f"/api/v1/devices/{device}"))["outdated_at"] is not None:
            return
        await trio.sleep(0.02)


def with_free_port(address: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


async def test_the_link_leads_in_by_reality(tmp_path: Path) -> None:
    keys = BrowserKeys.generate()
    context: ssl.SSLContext = site_context(tmp_path)
    async with running_site(context) as site, running_fleet(tmp_path, timeout=120) as fleet:
        (listed,) = (await fleet.ask("GET", "/api/v1/nodes"))["items"]
        target = {"target": f"127.0.0.1:{site.port}", "server_names": [NAME]}
        await fleet.ask("POST", f"/api/v1/nodes/{listed['id']}/target", target, version=listed["version"])
        device = await export(fleet, keys)
        await fleet.wait_settled(peers=1)
        _, node, secrets = await told(fleet, device, keys)
        assert node["reality"]["server_names"] == [NAME]
        async with open_link_reality(ShareLink.parse(link_of(node, secrets))) as tunnel:
            await tunnel.wait_up(PATIENCE)
