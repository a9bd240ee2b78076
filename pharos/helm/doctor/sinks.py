"""Whether log systems take what they are sent."""

from __future__ import annotations

import datetime
import sqlite3
from typing import Final

from pharos.helm.store.sinks import enabled_sinks, health_of
from pharos.helm.store.times import moment
from pharos.wire.findings import Finding, age_of, ok, problem

# A receiver that is updated is away for minutes.
FAILING_FOR: Final = datetime.timedelta(hours=1)


def check_sinks(db: sqlite3.Connection, now: datetime.datetime) -> list[Finding]:
    """Look at the sinks; one finding for all that are well, none where there is no sink."""
    findings, sinks = [], enabled_sinks(db)
    for sink in sinks:
        health = health_of(db, sink.id)
        since = None if health.failing_since_at is None else now - moment(health.failing_since_at)
        if since is not None and since >= FAILING_FOR:
            says = f"Sink {sink.name} takes no records since {age_of(since.total_seconds())}: {health.error}."
            todo = f"See to {sink.host}; then: helm siem test {sink.name}. Rows that are pruned meanwhile are not sent."
            findings.append(problem(f"sink:{sink.name}", says, todo))
    if sinks and not findings:
        findings.append(ok("sinks", f"{len(sinks)} sinks for events and the audit take what they are sent."))
    return findings
