"""Where a device joins a fleet: never in the place of another one."""

from __future__ import annotations

from pathlib import Path

from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sources.base import Choices, SourceKind
from pharos.wire.ids import FleetId


def check_managed(choices: Choices, kind: SourceKind) -> None:
    """Raises: ManagedError — the organisation of this device does not allow such a source."""
    if choices.managed is not None:
        choices.managed.check_source(kind.value)


def store_to_join(path: Path, fleet: FleetId, choices: Choices) -> ProfileStore:
    """Return the store for a device of ``fleet`` in a state directory; nothing of another fleet's is touched.

    Raises: AlreadyEnrolledError — this device is in that fleet. StateFileError, LockedStoreError.
    """
    return Fleets(path, choices.unlocking).store_for(fleet)
