"""What helm orders of this relay: whom to believe, whom to deny, and to renew its certificate.

helm dialled the tunnel and serves it, so it is the relay that calls; one call for as long as the tunnel takes streams.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

import pharos
from pharos.wire.errors import AgentError, DenyListError, ManifestError, PeerRejectedError, RemoteProtocolError
from pharos.wire.gen.pharos.relay.v1 import orders_grpc
from pharos.wire.gen.pharos.relay.v1 import orders_pb2 as pb
from pharos.wire.keeping import Keeping
from pharos.wire.passage.metadata import RUN_HEADER
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.units import SECONDS
from pharos.wire.world import wall_ns

log = logging.getLogger(__name__)

# A helm that failed in the middle of a call is asked again after that; a tunnel that it drains is let go as soon.
ASK_AGAIN: Final = 5 * SECONDS

Announce = Callable[[Connection, str], None]

_RUN: Final = re.compile(r"[0-9a-f]{16}")


async def follow_orders(keeping: Keeping, connection: Connection, *, announce: Announce | None = None) -> None:
    """Obey on one tunnel until helm ends it or says goodbye; a helm of an earlier version orders nothing.

    ``announce`` is told which run of helm it is, if helm says so.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_follow, keeping, connection, announce, nursery.cancel_scope)
        # A call that is open would keep the tunnel from ending, and nobody calls out that helm has said goodbye.
        while not connection.leaving:  # noqa: ASYNC110
            await trio.sleep(ASK_AGAIN)
        nursery.cancel_scope.cancel()


async def _follow(keeping: Keeping, connection: Connection, announce: Announce | None, scope: trio.CancelScope) -> None:
    stub = orders_grpc.OrdersStub(Channel(connection, authority="helm"))
    while not connection.leaving:
        try:
            async with stub.Follow.open() as stream:
                await stream.send_message(report_of(keeping))
                await stream.recv_initial_metadata()
                metadata = stream.initial_metadata
                run = None if metadata is None else metadata.get(RUN_HEADER)
                if announce is not None and isinstance(run, str) and _RUN.fullmatch(run):
                    announce(connection, run)
                async for order in stream:
                    report = await obey(keeping, order)
                    if report is not None:
                        await stream.send_message(report)
        except GRPCError as error:
            if error.status is Status.UNIMPLEMENTED:
                log.debug("this helm orders nothing: it is of an earlier version")
                break
            log.info("helm's orders ended: %s", error)
        except StreamTerminatedError as error:
            log.info("helm's orders ended: %s", error)
        except OSError as error:
            # Passages need no disk, and the tunnel is theirs. What we say that we hold makes helm order it again.
            log.error("helm's orders wait: the disk does not take them: %s", error)
        await trio.sleep(ASK_AGAIN)
    scope.cancel()


async def obey(keeping: Keeping, order: pb.Order) -> pb.Report | None:
    """Carry out what can be of one order; return what to report, None where nothing has come of it.

    A refusal alone is not reported, or helm would order the same again at once, for ever.
    """
    csr = b""

    async def renew() -> None:
        nonlocal csr
        csr = await keeping.renew()

    steps: list[Callable[[], Awaitable[object]]] = [
        functools.partial(keeping.take, manifest=order.manifest),
        functools.partial(keeping.take, deny_list=order.deny_list),
        functools.partial(keeping.take, checkpoint=order.checkpoint),
    ]
    if order.certificate:
        steps.append(functools.partial(keeping.install, order.certificate))
    if order.renew:
        steps.append(renew)
    before, refused = _held(keeping), False
    for step in steps:
        try:
            await step()
        except (AgentError, DenyListError, ManifestError, PeerRejectedError, RemoteProtocolError) as error:
            log.warning("an order of helm's is refused: %s", error)
            refused = True
    if refused and not csr and _held(keeping) == before:
        return None
    return report_of(keeping, csr=csr, deny_list=keeping.deny_list if order.tell_deny_list else b"")


def _held(keeping: Keeping) -> tuple[object, ...]:
    fingerprint = keeping.standing.membership.fingerprint
    return keeping.manifest_version, keeping.deny_list, keeping.checkpoint, fingerprint


def report_of(keeping: Keeping, *, csr: bytes = b"", deny_list: bytes = b"") -> pb.Report:
    """Return what this relay holds."""
    epoch, version = keeping.deny_order
    return pb.Report(
        version=pharos.__version__,
        deny_epoch=epoch,
        deny_version=version,
        manifest_version=keeping.manifest_version,
        certificate_fingerprint=keeping.standing.membership.fingerprint,
        now_us=wall_ns() // 1000,
        checkpoint=keeping.checkpoint,
        csr=csr,
        deny_list=deny_list,
    )
