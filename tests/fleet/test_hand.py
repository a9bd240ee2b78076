"""helm's hand on a whole fleet: over real links, what the record says becomes true, and stays so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.fleet import link
from tests.support.buoy import orders_on_disk
from tests.support.fleet import Fleet, running_fleet

CUT = 2.0
"""Seconds that a revocation may take (security.md row 11)."""


def kept_by(fleet: Fleet, name: str, file: str) -> dict[str, Any]:
    """What a buoy has on disk."""
    body: dict[str, Any] = json.loads((fleet.folder / name / file).read_text())["body"]
    return body


async def test_revoked_device_is_gone_from_the_node_and_on_its_deny_list(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        with trio.fail_after(3 * CUT):
            await fleet.move_device("laptop", "revoke")
            await fleet.until(lambda: orders_on_disk(fleet.folder / "a")["peers"] == [])
        (status,) = [node for node in (await fleet.ask("GET", "/api/v1/nodes"))["items"] if node["name"] == "a"]
        assert status["state"] == "active"


async def test_helm_that_starts_again_leads_its_nodes_at_once(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        before = orders_on_disk(fleet.folder / "a")["fence"]
        await fleet.helm.stop()
        await fleet.helm.start()
        with trio.fail_after(15):
            await fleet.until(lambda: orders_on_disk(fleet.folder / "a")["fence"][1] == before[1] + 1)


async def test_certificate_of_a_node_is_renewed_over_its_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_until_next_reading", lambda *_: 0.1)
    async with running_fleet(tmp_path) as fleet:
        before = kept_by(fleet, "a", "identity.json")["grant"]["certificate"]

        def due(*_args: object, **_more: object) -> bool:
            # Until it has arrived, as in life: an attempt that is cut short is made again.
            return bool(kept_by(fleet, "a", "identity.json")["grant"]["certificate"] == before)

        monkeypatch.setattr("pharos.helm.fleet.care.wants_renewal", due)
        with trio.fail_after(15):
            await fleet.until(lambda: kept_by(fleet, "a", "identity.json")["grant"]["certificate"] != before)
            # It is shown to whoever connects next, and helm knows it for the node's.
            await fleet.helm.stop()
            await fleet.helm.start()
            await fleet.wait_settled(peers=0)


async def test_reissued_parameters_are_served_beside_the_old_until_the_device_knows(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        async with fleet.client() as client:
            await client.sync()
            await client.sync()
            await fleet.wait_settled(peers=1)
            (node,) = (await fleet.ask("GET", "/api/v1/nodes"))["items"]
            old = orders_on_disk(fleet.folder / "a")["awg"]
            await fleet.ask("POST", f"/api/v1/nodes/{node['id']}/reissue", version=node["version"])
            with trio.fail_after(15):
                await fleet.until(lambda: orders_on_disk(fleet.folder / "a")["awg"] != old)
                assert [entry["awg"] for entry in orders_on_disk(fleet.folder / "a")["previous"]] == [old]
                shown = await fleet.ask("GET", f"/api/v1/nodes/{node['id']}")
                assert [entry["devices"] for entry in shown["previous_parameters"]] == [1]
                # The first brings the new bundle, the second says that it is held.
                await client.sync()
                await client.sync()
                shown = await fleet.ask("GET", f"/api/v1/nodes/{node['id']}")
                assert [entry["devices"] for entry in shown["previous_parameters"]] == [0]
