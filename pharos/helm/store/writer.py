"""Transactions of one database, one after the other; those that wait together are made durable together.

A commit costs an fsync: some 4 ms on a server's disk, 10 ms on a slow one. So the functions of callers that came while
one transaction was being written share the next, each in its own savepoint. None is acknowledged before COMMIT has
returned.
"""

from __future__ import annotations

import contextvars
import functools
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

import attrs
import outcome
import trio

from pharos.wire.world import in_thread

Database = sqlite3.Connection
"""What every store function takes first; it runs inside one transaction of ``Store.run``."""

P = ParamSpec("P")
R = TypeVar("R")

# A store function takes some 0.3 ms: the last of so many waits 20 ms, about as long as for five commits alone.
GROUP: Final = 64

Work: TypeAlias = Callable[[Database], Any]
Done: TypeAlias = tuple[Any, bool]
"""What the function returned, and whether it changed anything."""


def transact(db: Database, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run ``function(db, …)`` in one transaction; commit if it returns, roll back if it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = function(db, *args, **kwargs)
        db.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself where the disk was full; COMMIT may fail and leave the transaction open.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def transact_together(db: Database, works: Sequence[Work]) -> list[outcome.Outcome[Done]]:
    """Run several functions in one transaction and return the outcome of each, once all of it is durable.

    A function that raises takes back its own changes only. If COMMIT fails, or SQLite gives the transaction up, all
    have failed.
    """
    if len(works) == 1:
        return [outcome.capture(transact, db, _counted, works[0])]
    whole = outcome.capture(transact, db, _in_savepoints, works)
    if isinstance(whole, outcome.Value):
        return whole.value
    return [outcome.Error(whole.error) for _ in works]


def _in_savepoints(db: Database, works: Sequence[Work]) -> list[outcome.Outcome[Done]]:
    outcomes: list[outcome.Outcome[Done]] = []
    for work in works:
        db.execute("SAVEPOINT work")
        done = outcome.capture(_counted, db, work)
        if isinstance(done, outcome.Error):
            if not db.in_transaction:
                # A full disk made SQLite roll everything back, what others did before included.
                raise done.error
            db.execute("ROLLBACK TO work")
        db.execute("RELEASE work")
        outcomes.append(done)
    return outcomes


def _counted(db: Database, work: Work) -> Done:
    before = db.total_changes
    return work(db), db.total_changes != before


def _in_context(context: contextvars.Context, work: Work) -> Work:
    return lambda db: context.run(work, db)


@attrs.define(eq=False)
class _Job:
    work: Work
    outcome: outcome.Outcome[Done] | None = None
    woken: trio.Event = attrs.field(factory=trio.Event)
    """Set when there is an outcome, or when this job's caller has to lead the next transaction."""


class Writer:
    """The one way to write a database; used from Trio only."""

    def __init__(self, db: Database, *, group: int = GROUP) -> None:
        self._db = db
        self._group = group
        # A connection belongs to one thread at a time.
        self._turn = trio.CapacityLimiter(1)
        self._led = False
        self._waiting: deque[_Job] = deque()

    async def run(self, work: Work) -> Done:
        """Run a function in a transaction and return what it returned, durable, and whether it changed anything.

        Once queued it runs, even if the caller is cancelled meanwhile: half a write does not exist.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        # A thread has the context of whoever leads; each function has that of its own caller.
        job = _Job(_in_context(contextvars.copy_context(), work))
        self._waiting.append(job)
        with trio.CancelScope(shield=True):
            if self._led:
                await job.woken.wait()
            if job.outcome is None:
                await self._lead()
        assert job.outcome is not None
        return job.outcome.unwrap()

    async def _lead(self) -> None:
        """Run the transaction of everybody who waits, and hand the lead to the first who came meanwhile."""
        self._led = True
        jobs = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._group))]
        works = [job.work for job in jobs]
        ran = await outcome.acapture(
            in_thread, functools.partial(transact_together, self._db, works), limiter=self._turn
        )
        # No thread could be started: that is nobody's outcome but everybody's failure.
        outcomes = ran.value if isinstance(ran, outcome.Value) else [outcome.Error(ran.error) for _ in jobs]
        for job, result in zip(jobs, outcomes, strict=True):
            job.outcome = result
            job.woken.set()
        if self._waiting:
            self._waiting[0].woken.set()
        else:
            self._led = False
