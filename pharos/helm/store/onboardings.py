"""The onboardings table."""

from __future__ import annotations

from typing import Final

from pharos.helm.model.onboardings import AT_WORK, Onboarding
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun

ONBOARDINGS: Final = Noun(
    kind="onboarding",
    table="onboardings",
    columns=(
        *("id", "name", "destination", "address", "parts", "state"),
        *("step", "text", "asks", "host_key", "ended_at"),
    ),
    model=Onboarding,
    documents=frozenset({"parts"}),
    filters={"name": "name = ?", "state": "state = ?", "destination": "destination = ?"},
)


def onboardings_at_work(db: Database) -> list[Onboarding]:
    """Return those that the record says are at work, oldest first."""
    states = sorted(state.value for state in AT_WORK)
    marks = ", ".join("?" for _ in states)
    rows = db.execute(
        f"SELECT {ONBOARDINGS.all_columns} FROM onboardings WHERE state IN ({marks}) ORDER BY id",  # noqa: S608
        states,
    )
    return [ONBOARDINGS.load(row) for row in rows]
