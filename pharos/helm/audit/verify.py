"""Verifying the whole audit, a page at a time: from the anchor by each checkpoint to the newest row.

What is found: a row that was deleted, edited, added or moved, rows that were written anew below a checkpoint, rows cut
off that a checkpoint knows, rows pruned before their time, and a fork. What only a checkpoint in other hands finds: all
of it done to the checkpoints table as well. What nobody finds: rows written anew that no checkpoint covers yet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs

from pharos.helm.audit.chain import AuditRow, Link, verify_rows
from pharos.helm.audit.checkpoints import believe
from pharos.helm.errors import AuditError
from pharos.helm.store.audit import PAGE, audit_rows, count_unnumbered, oldest_sequence
from pharos.helm.store.checkpoints import (
    StoredCheckpoint,
    checkpoints_between,
    find_checkpoint,
    latest_checkpoint,
)
from pharos.helm.store.database import Database, Store
from pharos.helm.store.times import rfc3339
from pharos.wire.ids import FleetId
from pharos.wire.seal.checkpoint import Checkpoint, Comparison, compare
from pharos.wire.world import in_thread

# A clock that was set back by so much after rows were pruned is no sign of a forger (security.md row 69).
_SKEW: Final = 3_600_000_000


@attrs.frozen(kw_only=True)
class Verification:
    """What was found."""

    ok: bool
    rows: int
    """How many hold, from the oldest on."""
    head: Link
    """The newest of them."""
    checkpoint: StoredCheckpoint | None
    """The newest that was verified."""
    detail: str
    """For people: how far the chain holds, or the first row that does not follow."""


@attrs.frozen(kw_only=True)
class Start:
    """Where the chain begins, as one transaction sees it."""

    oldest: int | None
    anchor: StoredCheckpoint | None
    """What pruning left."""
    unnumbered: int


@attrs.frozen(kw_only=True)
class Page:
    """Some of the chain, as one transaction sees it."""

    rows: list[AuditRow]
    checkpoints: list[StoredCheckpoint]
    """Those of these rows."""
    latest: StoredCheckpoint | None
    """The newest of all."""
    last: bool


@attrs.define
class ChainVerifier:
    """Takes the chain in pages and remembers how far it holds. Sans-IO.

    Raises: AuditError — it does not hold, from each method; the message names the first row.
    """

    fleet: FleetId
    keys: Collection[bytes]
    """The fleet's raw public signing keys."""
    kept_from: int
    """Rows from then on had to be kept, microseconds since 1970."""
    witness: Checkpoint | None = None
    """A checkpoint from other hands, whose signature has been verified."""
    first: Link = attrs.field(factory=Link, init=False)
    """What the oldest row follows."""
    link: Link = attrs.field(factory=Link, init=False)
    """How far the chain holds."""
    checkpoint: StoredCheckpoint | None = attrs.field(default=None, init=False)
    """The newest that was verified."""

    def begin(self, start: Start) -> None:
        """Take the anchor."""
        if start.unnumbered:
            raise AuditError(f"{start.unnumbered} audit rows without a sequence were added")
        if start.oldest is None or start.oldest == 1:
            return
        if start.anchor is None:
            raise AuditError(f"audit rows before {start.oldest!r} are gone, and no checkpoint says they were pruned")
        self._believe(start.anchor)
        if start.anchor.at >= self.kept_from + _SKEW:
            raise AuditError(
                f"audit rows up to {start.anchor.sequence} are gone, though the last of them had to be kept:"
                f" they were signed at {rfc3339(start.anchor.at)}"
            )
        self.first = self.link = start.anchor.link
        self.checkpoint = start.anchor

    def feed(self, page: Page) -> None:
        """Take the next rows."""
        signed: dict[int, bytes] = {}
        if self.witness is not None:
            signed[self.witness.size] = self.witness.head
        for checkpoint in page.checkpoints:
            self._believe(checkpoint)
            signed[checkpoint.sequence] = checkpoint.hash
        try:
            self.link = verify_rows(page.rows, self.link, signed)
        except AuditError:
            # Once more, row by row, to know how far it holds; the last of them raises again.
            for row in page.rows:
                self.link = verify_rows([row], self.link, signed)
        finally:
            passed = [checkpoint for checkpoint in page.checkpoints if checkpoint.sequence <= self.link.sequence]
            self.checkpoint = passed[-1] if passed else self.checkpoint
        if page.last:
            self._end(page.latest)

    def _end(self, latest: StoredCheckpoint | None) -> None:
        signed = 0 if latest is None else self._believe(latest).size
        known = 0 if self.witness is None else self.witness.size
        if max(signed, known) > self.link.sequence:
            whose = "this helm's own" if signed > self.link.sequence else "the given"
            raise AuditError(
                f"audit rows after {self.link.sequence} are gone: {whose} signed checkpoint is of row"
                f" {max(signed, known)}"
            )

    def _believe(self, checkpoint: StoredCheckpoint) -> Checkpoint:
        believed = believe(checkpoint, fleet=self.fleet, keys=self.keys)
        if self.witness is not None and compare(self.witness, believed) is Comparison.CONFLICT:
            raise AuditError(f"two signed checkpoints of audit row {believed.size} differ: the chain was forked")
        return believed

    def found(self) -> str:
        """Say how far the chain holds, for people."""
        if not self.link.sequence:
            return "the audit is empty"
        text = f"audit rows {self.first.sequence + 1} to {self.link.sequence} hold"
        if self.checkpoint is None:
            text += "; none of them is signed yet"
        else:
            text += f", signed up to row {self.checkpoint.sequence} at {rfc3339(self.checkpoint.at)}"
        if self.witness is not None and self.witness.size < self.first.sequence:
            text += f"; the given checkpoint is of row {self.witness.size}, which was pruned, and proves nothing here"
        return text


async def verify_audit(
    store: Store, *, fleet: FleetId, keys: Collection[bytes], kept_from: int, witness: Checkpoint | None = None
) -> Verification:
    """Verify the whole chain. Commits wait for none of it, and no more than one page is in memory."""
    while True:
        start = await store.read(_start)
        verifier = ChainVerifier(fleet, keys, kept_from, witness)
        try:
            verifier.begin(start)
            last = False
            while not last:
                page = await store.read(_page, verifier.link.sequence)
                # Outside the reader's turn, for others read too.
                await in_thread(verifier.feed, page)
                last = page.last
        except AuditError as error:
            # Rows that were pruned while they were looked at are not there any more, and nobody's fault.
            if (await store.read(_start)).oldest == start.oldest:
                return _verification(verifier, detail=str(error))
        else:
            return _verification(verifier)


def _verification(verifier: ChainVerifier, *, detail: str | None = None) -> Verification:
    return Verification(
        ok=detail is None,
        rows=verifier.link.sequence - verifier.first.sequence,
        head=verifier.link,
        checkpoint=verifier.checkpoint,
        detail=verifier.found() if detail is None else detail,
    )


def _start(db: Database) -> Start:
    oldest = oldest_sequence(db)
    anchor = find_checkpoint(db, oldest - 1) if isinstance(oldest, int) else None
    return Start(oldest=oldest, anchor=anchor, unnumbered=count_unnumbered(db))


def _page(db: Database, after: int) -> Page:
    rows = audit_rows(db, after)
    return Page(
        rows=rows,
        checkpoints=checkpoints_between(db, after, after + len(rows)),
        latest=latest_checkpoint(db),
        last=len(rows) < PAGE,
    )
