"""Who answers: relays, helm, and each node by each protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from pharos.caravel.client import Client
from pharos.caravel.errors import CaravelError
from pharos.caravel.profiles.pins import Standing
from pharos.caravel.running import ask_running
from pharos.caravel.sync import SyncOutcome
from pharos.caravel.tunnel.amnezia import NodeTunnel, open_node_tunnel
from pharos.caravel.tunnel.seeking import FIRST_LOOK
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.errors import WireError
from pharos.wire.findings import Finding, note, ok, problem
from pharos.wire.ids import NodeId
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, ProfileNode, ProfileRelay
from pharos.wire.units import SECONDS

HANDSHAKE_TIMEOUT: Final = 5 * SECONDS
RELAY_TIMEOUT: Final = 5 * SECONDS
AT_ONCE: Final = 8
"""Nodes that are asked side by side: their echoes must not stand in each other's way."""
# Octets of IPv4 and ICMP headers round an echo's payload.
_HEADERS: Final = {4: 28, 6: 48}
SMALLEST_MTU: Final = 1280


@attrs.frozen(kw_only=True)
class Reached:
    """What became of one way to one node."""

    node: ProfileNode
    protocol: str
    ok: bool
    says: str
    blocked_mtu: int = 0
    """The largest packet that came through, where full ones did not; 0 where they did."""

    @property
    def id(self) -> str:
        return f"node:{self.node.name}:{'reality' if self.protocol == VLESS_REALITY else self.protocol}"


async def check_helm(client: Client) -> tuple[Finding, SyncOutcome | None]:
    """Sync; return what came of it. helm may be away, and that harms nothing."""
    try:
        outcome = await client.sync()
    except CaravelError as error:
        return note("helm", f"{error}; the kept profile is as good to connect with", ""), None
    return ok("helm", "in sync"), outcome


async def check_relay(relay: ProfileRelay) -> Finding:
    """Connect to a relay. One that does not answer matters only where all of them do not."""
    id_, start = f"relay:{relay.host}", trio.current_time()
    try:
        with trio.fail_after(RELAY_TIMEOUT):
            stream = await trio.open_tcp_stream(relay.host, relay.port)
            await stream.aclose()
    except (OSError, trio.TooSlowError) as error:
        return note(id_, f"{relay.host}:{relay.port}: {str(error) or 'no answer'}", "")
    return ok(id_, f"answers after {(trio.current_time() - start) * 1000:.0f} ms")


async def check_connection(path: Path, running: Mapping[str, Any], count: int) -> Finding:
    """Send echoes through a connection that is up, by whoever runs it."""
    name = running.get("name") or "no node"
    if running.get("phase") != "up":
        told = running.get("detail") or running.get("phase")
        return problem("connection", f"it is not up: {told}", "see: caravel watch")
    answer = await ask_running(path, "ping", count=count)
    says = f"{answer['received']} of {count} echoes by {name}"
    if answer["median"] is not None:
        says += f", {answer['median'] * 1000:.1f} ms"
    if answer["received"] == count:
        return ok("connection", says)
    return note("connection", says, "") if answer["received"] else problem("connection", says, "see: caravel watch")


async def reach_nodes(client: Client, nodes: Sequence[ProfileNode], count: int) -> list[Reached]:
    """Try every way to each node, some nodes side by side; in the order of the profile."""
    found: dict[tuple[str, str], Reached] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def reach(node: ProfileNode, protocol: str, try_: Callable[[], Awaitable[Reached]]) -> None:
        async with limiter:
            try:
                found[node.id, protocol] = await try_()
            except (WireError, OSError) as error:
                found[node.id, protocol] = Reached(node=node, protocol=protocol, ok=False, says=str(error))

    async with trio.open_nursery() as nursery:
        for node in nodes:
            if node.amneziawg:
                nursery.start_soon(reach, node, AMNEZIAWG, lambda node=node: _by_amneziawg(client, node, count))
            if node.reality:
                nursery.start_soon(reach, node, VLESS_REALITY, lambda node=node: _by_reality(client, node))
    order = [(node.id, protocol) for node in nodes for protocol in (AMNEZIAWG, VLESS_REALITY)]
    return [found[key] for key in order if key in found]


def judge_nodes(
    nodes: Sequence[ProfileNode], reached: Sequence[Reached], standings: Mapping[NodeId, Standing]
) -> list[Finding]:
    """Say of each node whether there is a way in, and of the network whether it lets UDP through."""
    findings = []
    for node in nodes:
        ways = [one for one in reached if one.node.id == node.id]
        findings += _node(node, ways, standings.get(node.id, Standing.KNOWN))
    if finding := _udp(reached):
        findings.append(finding)
    if finding := _mtu(reached):
        findings.append(finding)
    return findings


def _node(node: ProfileNode, ways: Sequence[Reached], standing: Standing) -> list[Finding]:
    if standing.refused:
        text = f"{node.name} is not used: {standing.value}"
        return [problem(f"node:{node.name}", text, "ask whoever runs the fleet; see: caravel profiles")]
    if not ways:
        return [problem(f"node:{node.name}", f"{node.name} offers nothing that this version speaks", "upgrade caravel")]
    if not any(way.ok for way in ways):
        told = "; ".join(way.says for way in ways)
        todo = "try from another network; if it stays, ask whoever runs the fleet whether the node is up"
        return [problem(f"node:{node.name}", told, todo)]
    return [
        ok(way.id, way.says) if way.ok else note(way.id, f"{way.says}; the other protocol works", "") for way in ways
    ]


def _udp(reached: Sequence[Reached]) -> Finding | None:
    by_udp = [one for one in reached if one.protocol == AMNEZIAWG]
    by_tcp = [one for one in reached if one.protocol == VLESS_REALITY]
    if not by_udp:
        return None
    if any(one.ok for one in by_udp):
        return ok("udp", "comes through")
    if any(one.ok for one in by_tcp):
        return note(
            "udp", "this network lets no UDP through; REALITY over TCP is used instead", "nothing: it is slower"
        )
    return None


def _mtu(reached: Sequence[Reached]) -> Finding | None:
    small = [one for one in reached if one.ok and one.blocked_mtu]
    if small:
        least = min(one.blocked_mtu for one in small)
        names = ", ".join(one.node.name for one in small)
        return problem(
            "mtu",
            f"large packets get lost on the way to {names}; {least} octets come through",
            f"the router drops what is too big and does not say so; write mtu = {least} into connect.toml",
        )
    if any(one.ok and one.protocol == AMNEZIAWG for one in reached):
        return ok("mtu", "full packets come through")
    return None


async def _by_amneziawg(client: Client, node: ProfileNode, count: int) -> Reached:
    found = client.examined()[node.id].node
    async with open_node_tunnel(client.profile(), found, client.store.enrolled().secrets) as tunnel:
        await tunnel.wait_up(HANDSHAKE_TIMEOUT + FIRST_LOOK * (len(node.amneziawg) - 1))
        report = await tunnel.ping(count)
        mtu = 0
        if report.received:
            mtu = await _largest(tunnel, node)
    middle = report.median
    says = f"{report.received} of {count} echoes" + ("" if middle is None else f", {middle * 1000:.1f} ms")
    return Reached(node=node, protocol=AMNEZIAWG, ok=report.received == count, says=says, blocked_mtu=mtu)


async def _by_reality(client: Client, node: ProfileNode) -> Reached:
    async with client.connect_reality(node.id) as tunnel:
        seconds = await tunnel.wait_up(HANDSHAKE_TIMEOUT)
    says = f"REALITY lets this device in, {seconds * 1000:.1f} ms"
    return Reached(node=node, protocol=VLESS_REALITY, ok=True, says=says)


async def _largest(tunnel: NodeTunnel, node: ProfileNode) -> int:
    """Return the largest packet that comes through where a full one does not; 0 if it does, or nothing can be said."""
    headers = _HEADERS[6 if ":" in node.addresses[0] else 4]
    full = DEFAULT_MTU

    async def passes(size: int) -> bool:
        return bool((await tunnel.ping(3, payload=size - headers, patience=0.5)).received)

    if await passes(full) or not await passes(SMALLEST_MTU):
        return 0
    low, high = SMALLEST_MTU, full
    while high - low > 4:
        middle = (low + high) // 2
        low, high = (middle, high) if await passes(middle) else (low, middle)
    return low
