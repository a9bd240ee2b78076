"""A whole fleet with REALITY: helm hands the way out, the device uses it, and it closes with the device."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from pharos.caravel.cli import main
from pharos.caravel.client import Client
from pharos.caravel.errors import NodeRefusedError
from pharos.caravel.profiles import ways
from pharos.caravel.tunnel.realityways import open_link_reality
from pharos.wire.console import Exit
from pharos.wire.errors import LinkRefusedError, LockError
from pharos.wire.reality.sharelink import ShareLink
from tests.support.fleet import Fleet, running_fleet
from tests.support.reality import NAME
from tests.wire.reality.nodes import running_site, site_context

PATIENCE = 60


async def caravel(fleet: Fleet, *arguments: str) -> Result:
    state = ["--state", str(fleet.folder / "device-laptop")]
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(main, [*arguments, *state]))


@asynccontextmanager
async def member(tmp_path: Path) -> AsyncIterator[tuple[Fleet, Client]]:
    """A fleet whose node stands before a site, and a device that has heard of it."""
    context: ssl.SSLContext = site_context(tmp_path)
    async with running_site(context) as site, running_fleet(tmp_path, timeout=120) as fleet:
        [node] = (await fleet.ask("GET", "/api/v1/nodes"))["items"]
        target = {"target": f"127.0.0.1:{site.port}", "server_names": [NAME]}
        await fleet.ask("POST", f"/api/v1/nodes/{node['id']}/target", target, version=node["version"])
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        async with fleet.client() as client:
            while not any(way.server_names == (NAME,) for way in client.profile().nodes[0].reality):
                await trio.sleep(0.05)
                await client.sync()
            yield fleet, client


async def test_a_device_comes_in_by_its_profile_with_helm_away_until_it_is_revoked(tmp_path: Path) -> None:
    async with member(tmp_path) as (fleet, client):
        async with client.connect_reality() as tunnel:
            assert tunnel.name == "node a"
            await tunnel.wait_up(PATIENCE)
            await fleet.helm.stop()
            await tunnel.wait_up(PATIENCE)
            await fleet.helm.start()
            await fleet.wait_settled(peers=1)
            await fleet.move_device("laptop", "revoke")
            await fleet.wait_settled(peers=0)
            with pytest.raises(LinkRefusedError):
                await tunnel.wait_up(PATIENCE)


async def test_an_exported_link_leads_into_the_node(tmp_path: Path) -> None:
    async with member(tmp_path) as (fleet, _):
        done = await caravel(fleet, "export", "a", "--node", "--json")
        assert done.exit_code == Exit.DONE, done.output
        assert "holds the secret" in done.stderr
        async with open_link_reality(ShareLink.parse(json.loads(done.stdout)["link"])) as tunnel:
            await tunnel.wait_up(PATIENCE)


async def test_a_key_that_the_node_does_not_vouch_for_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_context: object) -> bytes:
        raise LockError("REALITY key 1 is not signed by the node")

    async with member(tmp_path) as (fleet, client):
        monkeypatch.setattr(ways, "verify_reality_key", refuse)
        with pytest.raises(NodeRefusedError, match="not signed by the node"):
            client.connect_reality("a")
        done = await caravel(fleet, "export", "a", "--node")
        assert done.exit_code == Exit.FAILED
        assert done.stdout == ""


async def test_doctor_asks_a_node_that_is_open_by_reality_alone(tmp_path: Path) -> None:
    async with member(tmp_path) as (fleet, client):
        group = {"name": "office", "protocols": ["reality"], "everybody": True}
        await fleet.ask("POST", "/api/v1/groups", group)
        while client.profile().nodes[0].amneziawg:
            await trio.sleep(0.05)
            await client.sync()
        await fleet.wait_settled(peers=1)
        done = await caravel(fleet, "doctor", "--json")
        assert done.exit_code == Exit.DONE, done.output
        [finding] = [one for one in json.loads(done.stdout)["findings"] if one["id"].startswith("node:")]
        assert (finding["id"], finding["level"]) == ("node:a:reality", "ok")
        assert finding["says"].startswith("REALITY lets this device in, ")
        [node] = json.loads((await caravel(fleet, "profiles", "--no-sync", "--json")).stdout)["nodes"]
        assert {text.partition(" ")[0] for text in node["access"]} == {"vless-reality"}
        await fleet.buoys["a"].stop()
        done = await caravel(fleet, "doctor")
        assert done.exit_code == Exit.UNREACHABLE
