"""Who has used up a quota that throttles is slowed down and not cut, with helm or without."""

from __future__ import annotations

import ipaddress
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from pharos.caravel.client import Client
from pharos.caravel.enrolment import enroll
from pharos.caravel.tunnel.amnezia import NodeTunnel, open_node_tunnel
from pharos.wire.awg.icmp import Echo, build_echo, parse_echo
from pharos.wire.seal.ticket import TicketLink
from tests.support.fleet import running_fleet

pytestmark = pytest.mark.journey

API = "/api/v1"
PAYLOAD = bytes(1200)
WINDOW = 16
ECHOES = 12 * WINDOW
"""240 kB each way, where a node lets 128 KiB through at once whatever the rate."""
QUOTA = 300_000
SLOW = 64
"""kbit/s: 8 kB/s."""


def opened(client: Client) -> AbstractAsyncContextManager[NodeTunnel]:
    profile = client.profile()
    return open_node_tunnel(profile, profile.nodes[0], client.store.enrolled().secrets)


async def big_echoes(client: Client, tunnel: NodeTunnel, count: int = ECHOES) -> int:
    """Send large echoes, a few at a time, and return how many came back: what is beyond a rate is dropped."""
    link, back = tunnel.link, 0
    destination = ipaddress.ip_address(tunnel.node.addresses[0])
    source = ipaddress.ip_interface(client.profile().addresses[0]).ip
    for first in range(0, count, WINDOW):
        echoes = (
            Echo(source=source, destination=destination, identifier=7, sequence=first + number, payload=PAYLOAD)
            for number in range(WINDOW)
        )
        link.send_packets_nowait([build_echo(echo) for echo in echoes])
        here = 0
        with trio.move_on_after(0.5):
            while here < WINDOW:
                replies = map(parse_echo, await link.receive_packets())
                here += sum(echo is not None and echo.reply and echo.sequence >= first for echo in replies)
        back += here
    return back


async def test_user_with_a_used_up_quota_is_slowed_down_and_not_cut(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, reality=False) as fleet:
        await fleet.ask("PUT", f"{API}/settings/quota.throttle_kbit", {"value": SLOW}, version=0)
        quota = {"quota_bytes": QUOTA, "quota_action": "throttle"}
        user = await fleet.ask("POST", f"{API}/users", {"name": "ada", **quota})
        ticket = {"device_name": "laptop", "seconds": 900, "user": user["id"]}
        made = await fleet.ask("POST", f"{API}/tickets", ticket)
        await enroll(fleet.device_store("laptop"), TicketLink.parse(made["link"]))
        await fleet.wait_settled(peers=1)
        async with fleet.client() as client, opened(client) as tunnel:
            await tunnel.wait_up(10)
            # Two thirds of the quota.
            assert await big_echoes(client, tunnel, 5 * WINDOW) == 5 * WINDOW
            # The node counts each second, and needs nobody to tell it what to do.
            await fleet.helm.stop()
            with trio.fail_after(20):
                while (back := await big_echoes(client, tunnel)) > ECHOES * 3 // 4:
                    pass
            assert back > 0
            await fleet.helm.start()
            user = await fleet.ask("GET", f"{API}/users/{user['id']}")
            await fleet.ask("PATCH", f"{API}/users/{user['id']}", {"quota_bytes": None}, version=user["version"])
            with trio.fail_after(20):
                while await big_echoes(client, tunnel) < ECHOES:
                    pass
