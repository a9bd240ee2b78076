"""One question to a node beside its link, over a connection of its own: what takes long holds up no push."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError, NodeAwayError
from pharos.helm.fleet.dial import dial_member, errors_as_fates
from pharos.helm.model.nodes import Node
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.flow import CONTROL
from pharos.wire.units import SECONDS

R = TypeVar("R")

# A unit of ours is killed after 10 s if it does not stop; an engine with ten thousand peers starts in five.
RESTART_TIMEOUT: Final = 25 * SECONDS
CALL_TIMEOUT: Final = 15 * SECONDS


async def ask_node(
    authority: Authority, node: Node, ask: Callable[[control_grpc.ControlStub], Awaitable[R]], *, what: str
) -> R:
    """Return what ``ask`` gets from a node; ``what`` says what an earlier version cannot: "look at sites".

    Raises: NodeAwayError — the node is away, or busy with the same. ConflictError — it says no, is not the node of the
    record, or is of an earlier version.
    """
    try:
        with errors_as_fates():
            stream, peer = await dial_member(authority, Role.NODE, node.id, node.address, node.control_port)
            async with open_channel(stream, windows=CONTROL, authority=node.id, peer=peer) as channel:
                try:
                    return await ask(control_grpc.ControlStub(channel))
                except GRPCError as error:
                    raise _said(node, error, what) from error
    except LinkLostError as error:
        raise NodeAwayError(f"node {node.name} does not answer: {error}") from error
    except LinkRefusedError as error:
        raise ConflictError(f"node {node.name} refused: {error}") from error


async def restart_engine(authority: Authority, node: Node, protocol: str) -> None:
    """Have the engine of a protocol begin anew, which ends its sessions.

    Raises: NodeAwayError, ConflictError — as `ask_node`; the latter also where the engine cannot be restarted.
    """
    request = pb.RestartRequest(protocol=protocol)
    await ask_node(
        authority, node, lambda stub: stub.Restart(request, timeout=RESTART_TIMEOUT), what="restart its engines"
    )


async def set_log_level(authority: Authority, node: Node, *, verbose: bool) -> None:
    """Have a node write more to its own log, or as much as usual.

    Raises: NodeAwayError, ConflictError — as `ask_node`.
    """
    request = pb.LogLevelRequest(verbose=verbose)
    await ask_node(
        authority, node, lambda stub: stub.SetLogLevel(request, timeout=CALL_TIMEOUT), what="change its log level"
    )


async def end_session(authority: Authority, node: Node, device_id: DeviceId) -> None:
    """Have a node end what a device has going on there; the device may come again at once.

    Raises: NodeAwayError, ConflictError — as `ask_node`; the latter also where the device is not served there now.
    """
    request = pb.EndSessionRequest(device_id=device_id)
    await ask_node(authority, node, lambda stub: stub.EndSession(request, timeout=CALL_TIMEOUT), what="end sessions")


def _said(node: Node, error: GRPCError, what: str) -> Exception:
    if error.status is Status.UNIMPLEMENTED:
        return ConflictError(f"node {node.name} is of an earlier version and cannot {what}; upgrade it")
    if error.status is Status.RESOURCE_EXHAUSTED:
        return NodeAwayError(f"{node.name}: {error.message}")
    if error.status in (Status.FAILED_PRECONDITION, Status.INVALID_ARGUMENT):
        return ConflictError(f"{node.name}: {error.message}")
    return error
