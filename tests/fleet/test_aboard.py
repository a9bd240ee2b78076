"""The beacon in helm's own process: devices come in by it as by any other, and helm outlives its troubles."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import pharos
from pharos.caravel.enrolment import enroll
from pharos.helm.relay.aboard import FOLDER
from pharos.helm.relay.identity import NAME
from pharos.wire.ids import FleetId
from pharos.wire.kept import kept_facts
from pharos.wire.pki.roles import Role
from pharos.wire.seal.ticket import TicketLink
from tests.support.fleet import Fleet, running_fleet

pytestmark = pytest.mark.journey

Json = dict[str, Any]


async def wait_relay(fleet: Fleet, name: str = NAME, **values: object) -> Json:
    """Return helm's picture of a relay once it has these values."""

    def found(picture: Json) -> list[Json]:
        return [relay for relay in picture["relays"] if relay | values == relay and relay["name"] == name]

    return found(await fleet.wait_status(lambda picture: bool(found(picture))))[0]


async def start_aboard(fleet: Fleet, **values: object) -> Json:
    """Start helm anew with its own beacon, named in tickets unless told otherwise."""
    told = {"beacon": "on", "beacon_address": f"localhost:{fleet.beacon_port}"}
    await fleet.restart_helm(**told | values)
    return await wait_relay(fleet, link="up", agent_version=pharos.__version__)


async def wait_record(fleet: Fleet, relay: Json, holds: Callable[[Json], bool]) -> None:
    """Return once the record of a relay is as wanted."""
    while True:
        if holds(await fleet.ask("GET", f"/api/v1/relays/{relay['id']}")):
            return
        await trio.sleep(0.02)


def by(link: TicketLink, relay: Json) -> TicketLink:
    """Return the ticket as one that names one relay alone."""
    beacons = tuple(beacon for beacon in link.beacons if beacon.relay == relay["id"])
    assert beacons, "the ticket names it"
    return attrs.evolve(link, beacons=beacons)


async def test_device_enrols_through_each_of_three_beacons_and_syncs_by_another_when_one_dies(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, reality=False) as fleet:
        await start_aboard(fleet)
        await fleet.add_beacon("gate2")
        for name in (NAME, "gate", "gate2"):
            relay = await wait_relay(fleet, name, link="up")
            await enroll(fleet.device_store(name), by(await fleet.invite(name), relay))
            seen = await wait_relay(fleet, name, accepted=1, refused=0)
            assert seen["aboard"] is (name == NAME)
            assert abs(seen["clock_skew_ms"]) < 60_000
            assert seen["certificate_ends_at"] > "2026"
        await fleet.beacons["gate"].stop()
        await wait_relay(fleet, "gate", link="lost")
        async with fleet.client("gate") as client:
            await client.sync()
        listed = (await fleet.ask("GET", "/api/v1/relays"))["items"]
        died = next(relay for relay in listed if relay["name"] == "gate")
        whole = await fleet.ask("GET", f"/api/v1/relays/{died['id']}")
        assert whole["last_error"]
        assert whole["last_error_at"]
        others = [await wait_relay(fleet, name, link="up") for name in (NAME, "gate2")]
        # The device asks both, should the first be slow.
        assert sum(relay["accepted"] for relay in others) in (3, 4)


async def test_port_that_is_taken_is_a_lost_link_and_not_the_end_of_helm(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=()) as fleet:
        with socket.create_server(("127.0.0.1", fleet.beacon_port)):
            await fleet.restart_helm(beacon="on")
            relay = await wait_relay(fleet, link="lost")
            assert "Address already in use" in relay["detail"]
            assert "Address already in use" in relay["last_error"]
        # It is tried again by itself.
        relay = await wait_relay(fleet, link="up")
        assert "Address already in use" in relay["last_error"]


async def test_beacon_aboard_holds_the_deny_list_and_gets_its_next_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_fleet(tmp_path, buoys=()) as fleet:
        relay = await start_aboard(fleet)
        state = fleet.helm_state / FOLDER
        await enroll(fleet.device_store("laptop"), by(await fleet.invite(), relay))
        await fleet.move_device("laptop", "revoke")
        name = FleetId((await fleet.ask("GET", "/api/v1/status"))["fleet"]["id"])
        await fleet.until(lambda: kept_facts(state, name)["revoked"] > 0)
        record = await fleet.ask("GET", f"/api/v1/relays/{relay['id']}")
        (first,) = record["certificates"]
        monkeypatch.setattr(
            "pharos.helm.relay.orders.wants_renewal",
            lambda _authority, role, _certificate, *, shown, now: role is Role.RELAY and shown == first["id"],
        )
        await fleet.restart_helm(beacon="on", beacon_address=f"localhost:{fleet.beacon_port}")

        await wait_record(fleet, relay, lambda record: len(record["certificates"]) == 2)
        # A device that comes now sees the new one, and helm's key for it is nowhere in plain.
        laptop = await enroll(fleet.device_store("other"), by(await fleet.invite("other"), relay))
        assert laptop.device_id
        assert b"tls_key" not in (fleet.helm_state / "core.db").read_bytes()
        assert {path.name for path in state.iterdir()} >= {"trust.json"}
        assert not (state / "identity.json").exists()
