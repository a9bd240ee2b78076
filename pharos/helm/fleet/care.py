"""What is due at a node beside its peers, looked at with each status: certificate, audit checkpoint, clock, secrets."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs
import trio

from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import ConflictError
from pharos.helm.fleet.engines import note_troubles, troubled, troubles_are_news
from pharos.helm.fleet.meter import MOVES_EVERY, Healing
from pharos.helm.fleet.realitykeys import RealityNews, note_reality, reality_news
from pharos.helm.live.board import now_us
from pharos.helm.model.alerts import Severity
from pharos.helm.model.nodes import Node
from pharos.helm.profiles.reports import Told, note_report, read_told
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.changes import Act
from pharos.helm.store.checkpoints import latest_checkpoint
from pharos.helm.store.database import Database, Store
from pharos.helm.store.members import member_state, note_member
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.trust.renewals import renew_node, renews_at, wants_renewal
from pharos.helm.trust.witness import hear_checkpoint
from pharos.wire.convert import NodeReport
from pharos.wire.errors import PeerRejectedError, RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.pki.roles import Role
from pharos.wire.world import utc_now

log = logging.getLogger(__name__)

CLOCK: Final = "clock_skewed"
# security.md row 69: certificates allow for five minutes, and so do the times of events.
MOST_SKEW: Final = 300_000_000
"""Microseconds."""


KeepCheckpoint: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Gives the node a signed checkpoint to keep."""
_Said: TypeAlias = tuple[bytes, bytes, bool, bool, tuple[int, int], str]


@attrs.frozen
class _Due:
    certificate: bytes
    """The node's newest by the record, DER."""
    checkpoint: bytes
    """The newest there is, where the node keeps an older one; else empty."""
    news: bool
    """Whether anything of the report has to be written down."""
    told: Told
    """What the report says of the node's peers."""
    reality: RealityNews
    """What it says of its REALITY that has to be written down."""


@attrs.frozen
class _Quiet:
    """A look at which nothing was due; until something changes, nothing is."""

    said: _Said
    commits: int
    authority: Authority
    renewal_at: datetime.datetime

    def lasts(self, said: _Said, commits: int, authority: Authority) -> bool:
        """Whether a look now would find the same."""
        if (self.said, self.commits) != (said, commits) or self.authority is not authority:
            return False
        return utc_now() < self.renewal_at


@attrs.frozen
class NodeCare:
    """Does what is due at a node."""

    _store: Store
    _authorities: LiveAuthority
    _quiet: dict[NodeId, _Quiet] = attrs.field(factory=dict, init=False)
    _moves: dict[NodeId, Healing] = attrs.field(factory=dict, init=False)
    """Of nodes whose REALITY was elsewhere before: one that says so all the time is not believed each time."""

    async def __call__(
        self, node: Node, report: NodeReport, stub: control_grpc.ControlStub, keep: KeepCheckpoint
    ) -> bool:
        """Look at what a node reported, and do what follows from it. What the node refuses is tried at the next look.

        Returns whether the next report has to tell of every peer.

        Raises: GRPCError, StreamTerminatedError — the node does not answer. BusyError, DatabaseCorruptError.
        """
        authority, commits, said = self._authorities.current, self._store.commits, _said(report)
        quiet = self._quiet.pop(node.id, None)
        keys = report.reality is not None and report.reality.keys
        if quiet is not None and not report.peers and not keys and quiet.lasts(said, commits, authority):
            self._quiet[node.id] = quiet
            return False
        fleet = authority.trust.fleet
        due = await self._store.read(_look, fleet, node, report)
        # What may not be believed yet is looked at again.
        moves = due.reality.port is not None and self._may_move(node.id)
        believed = due.reality if moves else attrs.evolve(due.reality, port=None)
        if due.told.is_news or believed.is_news or due.news:
            # At once: after a start every node has something of each, and whoever follows the record wakes by commits.
            written = attrs.evolve(due, reality=believed)
            await self._store.run(_write_down, self._authorities, node, report, written, now_us())
        if due.checkpoint:
            await keep(due.checkpoint)
        now, shown = utc_now(), report.certificate.hex()
        if shown and wants_renewal(authority, Role.NODE, due.certificate, shown=shown, now=now):
            try:
                await renew_node(stub, node, self._store, self._authorities, shown=shown)
            except (PeerRejectedError, RemoteProtocolError, ConflictError) as error:
                log.warning("the certificate of node %s was not renewed: %s", node.name, error)
        elif not (due.checkpoint or due.news or due.reality.is_news or due.told.is_news or due.told.incomplete):
            self._quiet[node.id] = _Quiet(said, commits, authority, renews_at(due.certificate))
        return due.told.incomplete

    def _may_move(self, node_id: NodeId) -> bool:
        return self._moves.setdefault(node_id, Healing(every=MOVES_EVERY)).may(trio.current_time())


def _look(db: Database, fleet: FleetId, node: Node, report: NodeReport) -> _Due:
    newest = latest_checkpoint(db)
    known = member_state(db, node.id)
    behind = newest is not None and newest.sequence > known.checkpoint and report.applied.epoch > 0
    # The newest one kept, and known to be: nothing to be heard. Anything else is looked at.
    at_newest = newest is not None and newest.sequence == known.checkpoint and report.checkpoint == newest.blob(fleet)
    heard = bool(report.checkpoint) and not at_newest
    skewed = _is_skewed(report) != (standing_alert(db, CLOCK, node.id) is not None)
    return _Due(
        certificate=get_record(db, NODES, node.id).certificate,
        checkpoint=newest.blob(fleet) if behind and newest is not None else b"",
        told=read_told(db, node.id, report),
        reality=reality_news(db, fleet, node.id, report.reality),
        news=skewed or troubles_are_news(db, node, report) or known.certificate != report.certificate.hex() or heard,
    )


def _write_down(db: Database, authorities: LiveAuthority, node: Node, report: NodeReport, due: _Due, at: int) -> None:
    act = Act(actor="helm", at=at, via="helm")
    if due.told.is_news:
        note_report(db, node.id, report, at=at)
    if due.reality.is_news:
        note_reality(db, act, node.id, report.reality, moves=due.reality.port is not None)
    if not due.news:
        return
    kept = hear_checkpoint(db, authorities.current, act, node.id, report.checkpoint)
    note_member(db, node.id, at=at, checkpoint=kept, certificate=report.certificate.hex())
    note_troubles(db, act, node, report)
    if _is_skewed(report):
        minutes = round(_skew(report) / 60e6)
        text = f"the clock of {node.name} is {abs(minutes)} minutes {'ahead of' if minutes > 0 else 'behind'} helm's"
        raise_alert(db, act, CLOCK, Severity.WARNING, text, noun="node", subject=node.id)
    else:
        clear_alert(db, act, CLOCK, node.id)


def _said(report: NodeReport) -> _Said:
    """Return what of a report `_look` goes by, apart from peers and keys."""
    reality = report.reality
    generation = 0 if reality is None or reality.parameters is None else reality.parameters.generation
    served = 0 if reality is None else reality.port
    told = report.applied.epoch > 0
    return report.certificate, report.checkpoint, told, _is_skewed(report), (generation, served), troubled(report)


def _skew(report: NodeReport) -> int:
    return report.now - now_us() if report.now else 0


def _is_skewed(report: NodeReport) -> bool:
    return abs(_skew(report)) > MOST_SKEW
