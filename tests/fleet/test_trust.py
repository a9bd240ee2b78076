"""Trust on a whole fleet: a revocation reaches the relay, and every key is exchanged while a device talks on."""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.caravel.errors import HelmRefusedError
from pharos.caravel.sync import sync
from pharos.helm.fleet import link
from pharos.helm.trust import rotation
from pharos.wire.ids import DeviceId
from tests.support.fates import meets
from tests.support.fleet import Fleet, running_fleet

pytestmark = pytest.mark.journey

CUT = 2.0
"""Seconds that a revocation may take (security.md row 11)."""


async def show(fleet: Fleet) -> dict[str, Any]:
    return await fleet.ask("GET", "/api/v1/ca")


async def test_relay_has_the_deny_list_within_the_promised_time(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        with trio.fail_after(3 * CUT):
            await fleet.move_device("laptop", "revoke")
            for member in ("gate", "a"):
                await fleet.until(lambda member=member: enrolled.device_id in _denied_by(fleet, member))


async def test_revoked_device_hears_from_the_relay_that_it_is_refused(tmp_path: Path) -> None:
    # Only closed on, it would take the relay for broken, and try for ever.
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        await fleet.move_device("laptop", "revoke")
        await fleet.until(lambda: enrolled.device_id in _denied_by(fleet, "gate"))
        with meets(HelmRefusedError, match="does not admit"):
            await sync(fleet.device_store("laptop"))


async def test_all_keys_are_exchanged_while_a_device_comes_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_until_next_reading", lambda *_: 0.2)
    monkeypatch.setattr(rotation, "PACE", 0.05)
    async with running_fleet(tmp_path, timeout=120) as fleet:
        before = await fleet.enrol()
        kit = fleet.kit.printed()
        subjects = ["fleet_ca", "device_ca", "signing_key", "noise_key"]
        first = await show(fleet)
        await fleet.ask("POST", "/api/v1/ca/rotate", {"kit": kit, "subjects": subjects})
        async with fleet.client() as client:
            while (await show(fleet))["rotation"] is not None:
                # Whatever the state is, it can sync.
                await client.sync()
                await trio.sleep(0.1)
            await client.sync()
        last = await show(fleet)
        for what in ("fleet_ca", "device_ca", "controller"):
            assert last[what]["key"] != first[what]["key"], what
        assert (last["signing_key"], last["noise_key"]) != (first["signing_key"], first["noise_key"])
        assert last["manifest"]["version"] == first["manifest"]["version"] + 3
        after = fleet.device_store("laptop").enrolled()
        # The bundle that it keeps opens by the one key that is left.
        now = datetime.datetime.now(datetime.UTC)
        assert [key.hex() for key in after.verified_manifest(now).signing_keys] == [last["signing_key"]]
        assert fleet.device_store("laptop").profile(now).nodes
        assert after.certificate != before.certificate
        assert after.device_id == before.device_id
        # Everybody comes up from disk with what they have now.
        assert fleet.beacon is not None
        for daemon in (fleet.helm, fleet.beacon, fleet.buoys["a"]):
            await daemon.stop()
        for daemon in (fleet.buoys["a"], fleet.beacon, fleet.helm):
            await daemon.start()
        await fleet.wait_settled(peers=1)
        async with fleet.client() as client:
            await client.sync()
        await fleet.enrol("phone")


def _denied_by(fleet: Fleet, member: str) -> set[DeviceId]:
    """The ids that stand in the list that a member has on disk."""
    path = fleet.folder / member / "trust.json"
    if not path.exists():
        return set()
    blob = base64.b64decode(json.loads(path.read_text())["body"]["deny_list"])
    return {entry["id"] for entry in json.loads(blob[65:])["entries"]} if blob else set()
