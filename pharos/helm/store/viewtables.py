"""What step m0007 adds to core.db for long lists: since when a device's profile is behind, and an index to read it by.

Never edited.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database

from pharos.helm.store.scripts import run_script

# Behind a row's ciphertext, which takes pages of its own, columns are slow to read for ten thousand devices.
_BEHIND: Final = """
ALTER TABLE bundles ADD COLUMN behind_at BIGINT;
UPDATE bundles SET behind_at = sealed_at WHERE held_epoch <> epoch OR held_revision <> revision;
CREATE INDEX bundles_in_brief ON bundles
    (device_id, epoch, revision, held_epoch, held_revision, checked_revision, behind_at, sealed_at, synced_at)
"""
"""When the first bundle was sealed that the device has not fetched; NULL where it holds the newest."""


def add_views(db: Database) -> None:
    """Add it all; called once, by the step."""
    run_script(db, _BEHIND)
