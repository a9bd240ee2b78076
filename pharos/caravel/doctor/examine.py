"""The whole examination, in the order in which people read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from pharos.caravel.client import Client, find_node
from pharos.caravel.doctor.device import check_clock, check_device
from pharos.caravel.doctor.network import check_dns, check_routes
from pharos.caravel.doctor.reach import check_connection, check_helm, check_relay, judge_nodes, reach_nodes
from pharos.caravel.running import SOCKET_NAME
from pharos.wire.findings import Finding, note, problem
from pharos.wire.profile import ProfileRelay
from pharos.wire.world import utc_now


async def examine(
    client: Client, *, wanted: str | None, count: int, running: dict[str, Any] | None = None
) -> list[Finding]:
    """Look at everything; what is sent goes to the fleet's own relays and nodes and nobody else.

    ``wanted`` is one node by id or name. ``running`` is the status of a connection of this device that is up: then its
    own node is asked through it, and no other, for two tunnels of one device take each other's place.

    Raises: NotEnrolledError, BundleError, NoSuchNodeError.
    """
    # First, so that what follows looks at the newest profile.
    helm, outcome = await check_helm(client)
    now = utc_now()
    system_wide = running is not None and bool(running.get("system"))
    findings = [*check_device(client.store, now), check_clock(client.store, outcome, now)]
    profile = client.profile()
    findings += check_routes(profile.addresses, system_wide=system_wide)
    findings.append(check_dns(profile.resolvers, system_wide=system_wide))
    findings += await _relays(profile.relays, connected=running is not None)
    findings.append(helm)
    if running is not None:
        return [*findings, await check_connection(client.store.path / SOCKET_NAME, running, count)]
    nodes = profile.nodes if wanted is None else (find_node(profile, wanted),)
    reached = await reach_nodes(client, nodes, count)
    return findings + judge_nodes(nodes, reached, client.standings())


async def _relays(relays: Sequence[ProfileRelay], *, connected: bool) -> list[Finding]:
    found: dict[int, Finding] = {}

    async def check(place: int, relay: ProfileRelay) -> None:
        found[place] = await check_relay(relay)

    async with trio.open_nursery() as nursery:
        for place, relay in enumerate(relays):
            nursery.start_soon(check, place, relay)
    findings = [found[place] for place in sorted(found)]
    if findings and all(finding.level.value != "ok" for finding in findings):
        text = "no relay of the fleet answers; tunnels work without, and news come through them"
        todo = "see whether this network lets TCP out; try from another one"
        # Through a tunnel it is the node's network that may not lead there.
        findings.append(note("relays", text, "") if connected else problem("relays", text, todo))
    return findings
