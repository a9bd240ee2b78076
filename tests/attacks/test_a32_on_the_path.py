"""Row 32. Position: on the path between helm and its nodes and relays. Wants: to read, to forge, or to keep them apart.

Countermeasure: TLS 1.3 with both ends verified; a link that is lost is dialled again; a PING after silence. That a
third of the packets may be lost is shown in tests/system/test_loss.py, and that a cut, or one deaf direction, is found
in tests/system/test_half_open.py. Here somebody on the path delays, resets, and terminates TLS.

For helm the path is its NAT's, a router that the attacker owns.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.rpc import ThrowawayCa
from tests.system.lab.commands import run_nft
from tests.system.lab.fleet import LabFleet, links, running_fleet
from tests.system.lab.impair import Impairment
from tests.system.lab.network import Lab
from tests.system.lab.topology import GATEWAY
from tests.system.needs import missing_for_lab

pytestmark = pytest.mark.system

CONTROL, TUNNEL = 7443, 7444
BOTH = f"{{ {CONTROL}, {TUNNEL} }}"
TRAP = 9443
GREETING = b"give me your orders"


@pytest.fixture(autouse=True)
def needs_lab() -> None:
    if (missing := missing_for_lab()) is not None:
        pytest.skip(missing)


@asynccontextmanager
async def on_the_path(lab: Lab, *chains: str) -> AsyncIterator[None]:
    """Let the router do as these chains say while the block lasts."""
    router = lab.namespace("nat").name
    await run_nft(
        router, "table inet attacker {\n" + "\n".join(f"chain c{n} {{ {c} }}" for n, c in enumerate(chains)) + "\n}\n"
    )
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await run_nft(router, "delete table inet attacker")


# For each packet of a connection, whichever way, its sender gets a reset with numbers that fit.
RESETS = (
    "type filter hook forward priority -10; "
    f"tcp dport {BOTH} reject with tcp reset; tcp sport {BOTH} reject with tcp reset;"
)
# What was up before is reset; who dials anew is answered by the attacker.
REDIRECTION = f'type nat hook prerouting priority dstnat; iifname "lan0" tcp dport {BOTH} redirect to :{TRAP};'


def states(picture: dict[str, Any]) -> set[str]:
    return set(links(picture).values())


async def test_a32_resets_on_the_path_are_outlived(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=180) as fleet:
        async with on_the_path(fleet.lab, RESETS):
            # It works: both links are lost, and cannot come up.
            await fleet.wait_status(lambda picture: "up" not in states(picture))
        await fleet.wait_settled(peers=0)
        assert "reset" in helm_log(fleet)
        await fleet.enrol("clienta")
        await fleet.wait_settled(peers=1)


async def test_a32_packets_held_back_on_the_path_are_waited_for(tmp_path: Path) -> None:
    slow = Impairment(delay=0.3, jitter=0.1)
    async with running_fleet(tmp_path, timeout=180) as fleet:
        # Links are lost at first: helm dials before the agents are there.
        lost = helm_log(fleet).count(" lost ")
        async with fleet.lab.impair("helm", slow):
            await fleet.enrol("clienta")
            await fleet.wait_settled(peers=1)
        assert helm_log(fleet).count(" lost ") == lost


@pytest.mark.red_inside
async def test_a32_who_terminates_tls_is_refused_and_told_nothing(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=180) as fleet:
        await fleet.lab.open_firewall()
        async with impostor(fleet.lab) as trap, on_the_path(fleet.lab, RESETS, REDIRECTION):
            await fleet.wait_status(lambda picture: states(picture) == {"refused"})
            assert trap.names
            assert all(name.endswith(".internal") for name in trap.names)
            assert trap.heard == []
            # The same trap takes in somebody who does not verify.
            assert await fall_for(fleet.lab) == GREETING
            assert trap.heard == [b"hello"]


def helm_log(fleet: LabFleet) -> str:
    return fleet.processes["helm"].log.read_text()


class Trap:
    """What the attacker learns."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """That were asked for."""
        self.heard: list[bytes] = []
        """Inside TLS."""


@asynccontextmanager
async def impostor(lab: Lab) -> AsyncIterator[Trap]:
    """Answer TLS at the router in everybody's name: another fleet's CA signs whatever name is asked for."""
    ca, trap = ThrowawayCa(), Trap()
    context = ca.server_context(ca.issue("nobody.test"))
    context.verify_mode = ssl.CERT_NONE

    def take_any_name(tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        trap.names.append(name or "")
        tls.context = ca.server_context(ca.issue(name or "nobody.test"))
        tls.context.verify_mode = ssl.CERT_NONE

    context.sni_callback = take_any_name

    async def answer(tcp: trio.SocketStream) -> None:
        stream = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
        try:
            await stream.send_all(GREETING)
            if data := await stream.receive_some():
                trap.heard.append(bytes(data))
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listener = await lab.namespace("nat").listen(GATEWAY.address4, TRAP)
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        yield trap
        nursery.cancel_scope.cancel()


async def fall_for(lab: Lab) -> bytes:
    """Dial a node from where helm is, and believe whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tcp = await lab.namespace("helm").connect(lab.host("buoya").address4, CONTROL)
    async with trio.SSLStream(tcp, context, server_hostname="node.internal", https_compatible=True) as stream:
        answer = await stream.receive_some()
        await stream.send_all(b"hello")
    return bytes(answer)
