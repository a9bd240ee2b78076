"""Whether a node can stand before a site, seen from helm's machine or from the node."""

from __future__ import annotations

from typing import Final

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import InvalidRequestError
from pharos.helm.fleet.asking import ask_node
from pharos.helm.model.nodes import Node
from pharos.wire.errors import ParameterError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.reality.params import check_server_names, split_target
from pharos.wire.reality.target import check_target
from pharos.wire.reality.targetreport import TargetReport
from pharos.wire.targets import found_from, look_to
from pharos.wire.units import SECONDS

# A look ends by itself after 15 s; the rest is for the way.
LOOK_TIMEOUT: Final = 18 * SECONDS


def read_target(target: str, server_names: list[str]) -> tuple[str, int, tuple[str, ...]]:
    """Return host, port and names.

    Raises: InvalidRequestError — it is no target.
    """
    try:
        host, port = split_target(target)
        return host, port, check_server_names(tuple(server_names) or (host,))
    except ParameterError as error:
        raise InvalidRequestError(str(error)) from error


async def look_from_here(host: str, port: int, names: tuple[str, ...]) -> TargetReport:
    """Look at a site from helm's machine."""
    return await check_target(host, port, names)


async def look_from_node(
    authority: Authority, node: Node, host: str, port: int, names: tuple[str, ...]
) -> TargetReport:
    """Have a node look, over a connection of its own, so that its link is not held up.

    Raises: NodeAwayError — the node is away, or looks at another site. ConflictError — it is not the node of the
    record, or of an earlier version.
    """

    async def look(stub: control_grpc.ControlStub) -> TargetReport:
        reply = await stub.CheckTarget(look_to(host, port, names), timeout=LOOK_TIMEOUT)
        return found_from(reply, host=host, port=port, names=names)

    return await ask_node(authority, node, look, what="look at sites")
