"""Telemetry goes when its time has come, a little at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.helm.model.fleet import Posture
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.settings import put_setting
from pharos.helm.telemetry.backlog import Batch
from pharos.helm.telemetry.ingest import write_batch
from pharos.helm.telemetry.retention import Retention, get_retention, prune
from pharos.helm.telemetry.rollups import Level
from pharos.wire.units import DAYS, HOURS
from tests.support.helm import open_helm
from tests.support.telemetry import BORN, SECOND, event, reading

DAY = 86_400 * SECOND


@pytest.mark.parametrize(("posture", "days"), [(Posture.PERSONAL, 7), (Posture.ENTERPRISE, 90)])
def test_coarser_levels_are_kept_longer_and_all_go_with_the_whole(posture: Posture, days: int) -> None:
    kept = Retention.of(posture, days)
    assert kept.levels[Level.RAW] < kept.levels[Level.MINUTES] < kept.levels[Level.HOURS] == days * DAY
    assert kept.sessions == days * DAY
    short = Retention.of(posture, 1)
    assert {*short.levels.values(), short.events, short.sessions} <= {DAY, round(6 * HOURS) * SECOND}


async def test_operators_setting_decides(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        assert (await helm.store.read(get_retention)).sessions == round(7 * DAYS) * SECOND
        await helm.store.run(put_setting, Act(actor="ada", at=1), "metrics.days", 0, 30)
        assert (await helm.store.read(get_retention)).sessions == round(30 * DAYS) * SECOND


TABLES = ("samples", "minutes", "hours", "events", "sessions", "gaps")


def sizes(db: Database) -> dict[str, int]:
    return {table: db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES}


async def test_each_kind_goes_at_its_time(tmp_path: Path) -> None:
    def write(db: Database) -> None:
        for number in range(24):
            at = number * 600
            batch = Batch(events=[event(at)], readings=[reading(at, phone=number)], dropped={})
            write_batch(db, batch, at=BORN + at * SECOND)

    async with open_helm(tmp_path) as helm:
        await helm.store.record(write)
        whole = await helm.store.record(sizes)
        kept = Retention.of(Posture.PERSONAL, 8)
        gone: list[str] = []
        for days in (1, 3, 7.5, 9):
            await prune(helm.store, kept, now=BORN + round(days * DAY), limit=7)
            left = await helm.store.record(sizes)
            gone += [table for table in TABLES if not left[table] and table not in gone]
            assert all(left[table] in (0, whole[table]) for table in TABLES)
    assert gone == ["samples", "minutes", "events", "hours", "sessions", "gaps"]
