"""What a relay has to hold: helm serves it on the tunnel, and orders anew whenever the record says something else.

    relay                                  helm
      │──── Follow: Report ───────────────▶│  what it holds goes into member_states
      │◀─── Order {deny list, manifest} ───│  whatever is newer than that
      │──── Report ───────────────────────▶│
      │◀─── Order {renew} ─────────────────│  its certificate is due, or by an authority that goes
      │──── Report {csr} ─────────────────▶│
      │◀─── Order {certificate} ───────────│  recorded first

An order that the relay refuses is not repeated on the same call, so a disagreement is no busy loop.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError, ConflictError, NotFoundError
from pharos.helm.live.board import now_us
from pharos.helm.relay.tunnels import MAX_TUNNELS
from pharos.helm.store.changes import Act
from pharos.helm.store.checkpoints import latest_checkpoint
from pharos.helm.store.database import Database
from pharos.helm.store.members import note_member
from pharos.helm.store.records import find_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.store.times import moment
from pharos.helm.trust.renewals import renew_agent, wants_renewal
from pharos.helm.trust.witness import hear_checkpoint
from pharos.wire.errors import PeerRejectedError, RemoteProtocolError
from pharos.wire.gen.pharos.relay.v1 import orders_grpc
from pharos.wire.gen.pharos.relay.v1 import orders_pb2 as pb
from pharos.wire.ids import RelayId
from pharos.wire.passage.metadata import RUN_HEADER
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

PREFIX: Final = "/pharos.relay.v1.Orders/"
# Nobody is told when a certificate becomes due: it is looked at.
LOOK: Final = 10 * MINUTES
RETRY: Final = 1 * SECONDS
# Row 11 gives a revocation two seconds.
PACE: Final = 0.1 * SECONDS
# A relay answers an order with one report. Ten in a row that nobody asked for are a relay that plays.
BURST: Final = 10
# A version is some ten letters, a build of somebody's own a few more.
MAX_VERSION: Final = 64
# What a column holds; protobuf's counts go one bit further.
_LARGEST: Final = 2**63 - 1


@attrs.define
class _Call:
    """One call: what the relay said last, and what it was sent on this call."""

    report: pb.Report
    certificate: bytes = b""
    """Issued for the CSR that it reported, to be sent."""
    deny_sent: tuple[int, int] = (0, 0)
    manifest_sent: int = 0
    checkpoint_sent: int = 0
    renew_sent: str | None = None
    """Fingerprint that it showed when it was asked for a new key."""
    news: trio.Event = attrs.field(factory=trio.Event)

    def wake(self) -> None:
        self.news.set()
        self.news = trio.Event()


class RelayOrders(orders_grpc.OrdersBase):
    """The care for one relay, on all tunnels of one link."""

    def __init__(self, context: HelmContext, relay_id: RelayId, *, run: str = "") -> None:
        """``run`` is told to the relay: of two helms with one identity it takes the one that came last."""
        self._context = context
        self._relay_id = relay_id
        self._run = run
        self._calls: list[_Call] = []

    async def Follow(self, stream: Stream[pb.Report, pb.Order]) -> None:
        """Serve one call until the relay ends it or the tunnel goes."""
        first = await stream.recv_message()
        if first is None:
            return
        if len(self._calls) >= MAX_TUNNELS:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"at most {MAX_TUNNELS} calls, one on each tunnel")
        call = _Call(first)
        self._calls.append(call)
        try:
            await stream.send_initial_metadata(metadata={RUN_HEADER: self._run} if self._run else None)
            await self._hear(call, first)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._order, stream, call)
                await self._listen(stream, call)
                nursery.cancel_scope.cancel()
        finally:
            self._calls.remove(call)

    async def _listen(self, stream: Stream[pb.Report, pb.Order], call: _Call) -> None:
        """Read what the relay says until it says no more."""
        tokens, filled = float(BURST), trio.current_time()
        while (report := await stream.recv_message()) is not None:
            now = trio.current_time()
            tokens, filled = min(tokens + (now - filled), BURST), now
            if tokens < 1:
                raise GRPCError(Status.RESOURCE_EXHAUSTED, "reports come faster than orders")
            tokens -= 1
            await self._hear(call, report)

    async def _hear(self, call: _Call, report: pb.Report) -> None:
        try:
            certificate, size = await self._context.store.run(self._keep, report, now_us())
            call.checkpoint_sent = max(call.checkpoint_sent, size)
        except BusyError as error:
            log.info("relay %s: its report could not be kept: %s", self._relay_id, error)
            certificate = b""
        except (PeerRejectedError, RemoteProtocolError, ConflictError, NotFoundError) as error:
            log.warning("relay %s gets no certificate: %s", self._relay_id, error)
            raise GRPCError(Status.PERMISSION_DENIED, "no certificate is granted") from error
        self._see(report)
        call.report = report
        call.certificate = certificate
        call.wake()

    def _see(self, report: pb.Report) -> None:
        """Show what it says of itself; it may say anything."""
        sighting = self._context.board.of(self._relay_id)
        sighting.version = "".join(sign for sign in report.version[:MAX_VERSION] if sign.isprintable())
        if report.now_us:
            sighting.skew = max(-_LARGEST, min(report.now_us, _LARGEST) - now_us())

    def _keep(self, db: Database, report: pb.Report, at: int) -> tuple[bytes, int]:
        """Write what it holds; return the certificate for its CSR, if it reports one, and its checkpoint's size."""
        authorities, shown = self._context.authorities, report.certificate_fingerprint.hex()
        act = Act(actor="helm", at=at, via="helm")
        size = hear_checkpoint(db, authorities.current, act, self._relay_id, report.checkpoint)
        note_member(
            db,
            self._relay_id,
            at=at,
            deny_epoch=min(report.deny_epoch, _LARGEST),
            deny_version=min(report.deny_version, _LARGEST),
            manifest_version=min(report.manifest_version, authorities.current.manifest_version),
            certificate=shown,
            checkpoint=size,
        )
        if not report.csr:
            return b"", size
        return renew_agent(db, authorities, Role.RELAY, self._relay_id, report.csr, shown=shown, at=at), size

    async def _order(self, stream: Stream[pb.Report, pb.Order], call: _Call) -> None:
        store, authorities = self._context.store, self._context.authorities
        while True:
            commits, changes, news = store.commits, authorities.changes, call.news
            try:
                order = await self._next_order(call)
            except BusyError:
                await trio.sleep(RETRY)
                continue
            if order.ByteSize():
                await stream.send_message(order)
            with trio.move_on_after(LOOK):
                await _wait_first(
                    news.wait,
                    functools.partial(store.wait_commit, commits),
                    functools.partial(authorities.wait_changed, changes),
                )
            # What is committed meanwhile is one look, however busy the record.
            await trio.sleep(PACE)

    async def _next_order(self, call: _Call) -> pb.Order:
        """Return what the relay lacks and was not sent on this call; an empty one where it lacks nothing."""
        context, report = self._context, call.report
        authority = context.authority
        denied = await context.authorities.deny_lists.current(context.store, authority)
        order = pb.Order(certificate=call.certificate)
        call.certificate = b""
        if denied.order > max((report.deny_epoch, report.deny_version), call.deny_sent):
            order.deny_list, call.deny_sent = denied.blob, denied.order
        if authority.manifest_version > max(report.manifest_version, call.manifest_sent):
            order.manifest, call.manifest_sent = authority.manifest, authority.manifest_version
        size, checkpoint, wants = await context.store.read(self._look, report, now_us())
        if size > call.checkpoint_sent:
            order.checkpoint, call.checkpoint_sent = checkpoint, size
        shown = report.certificate_fingerprint.hex()
        if wants and not order.certificate and not report.csr and call is self._calls[0] and call.renew_sent != shown:
            order.renew, call.renew_sent = True, shown
        return order

    def _look(self, db: Database, report: pb.Report, at: int) -> tuple[int, bytes, bool]:
        """Return size and blob of the newest checkpoint, and whether the relay is to be asked for a new key."""
        authority, shown = self._context.authority, report.certificate_fingerprint.hex()
        newest, relay = latest_checkpoint(db), find_record(db, RELAYS, self._relay_id)
        wants = relay is not None and wants_renewal(
            authority, Role.RELAY, relay.certificate, shown=shown, now=moment(at)
        )
        if newest is None:
            return 0, b"", wants
        return newest.sequence, newest.blob(authority.trust.fleet), wants


def is_for_orders(stream: H2Stream) -> bool:
    """Tell whether a stream of a tunnel asks for the relay's orders, and not for a passage."""
    return any(name == ":path" and value.startswith(PREFIX) for name, value in stream.headers or ())


async def _wait_first(*waits: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:

        async def run(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(run, wait)
