"""One look at a member over mTLS, beside the link that helm keeps to it: is it itself, and how is it."""

from __future__ import annotations

import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError, NodeAwayError
from pharos.helm.fleet.asking import CALL_TIMEOUT, ask_node
from pharos.helm.fleet.dial import dial_member
from pharos.helm.model.nodes import Node
from pharos.helm.model.relays import Relay
from pharos.helm.onboard.join.desk import Seen
from pharos.wire.convert import report_from
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.pki.roles import Role
from pharos.wire.reports import NodeReport


async def read_report(authority: Authority, node: Node) -> NodeReport:
    """Return what a node says of itself, over a connection of its own.

    Raises: NodeAwayError — it does not answer. ConflictError — who answers is not the node of the record.
    """
    # Without a lease: who only looks must not be taken for one who commands.
    request = pb.StatusRequest()
    answer = await ask_node(
        authority, node, lambda stub: stub.Status(request, timeout=CALL_TIMEOUT), what="say how it is"
    )
    return report_from(answer)


def troubles_of(report: NodeReport) -> tuple[str, ...]:
    """Return those of a node's engines: ``amneziawg: no interface``."""
    return tuple(f"{engine.protocol}: {engine.trouble}" for engine in report.engines if engine.trouble)


async def see_node(authority: Authority, node: Node) -> Seen:
    """Return what an onboarding wants to know of a node. Raises: as ``read_report``."""
    report = await read_report(authority, node)
    return Seen(
        version=report.version,
        ordered=report.applied.revision > 0,
        troubles=troubles_of(report),
        reality_port=report.reality.port if report.reality is not None else 0,
    )


async def see_relay(authority: Authority, relay: Relay) -> Seen:
    """Have a relay prove itself; what it says of itself it says on the link that helm keeps.

    Raises: NodeAwayError, ConflictError — as for a node.
    """
    try:
        stream, _ = await dial_member(authority, Role.RELAY, relay.id, relay.address, relay.tunnel_port)
    except LinkLostError as error:
        raise NodeAwayError(f"relay {relay.name} does not answer: {error}") from error
    except LinkRefusedError as error:
        raise ConflictError(f"relay {relay.name} refused: {error}") from error
    await trio.aclose_forcefully(stream)
    return Seen(version="", ordered=True)
