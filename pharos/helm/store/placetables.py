"""What step m0007 adds to core.db: where machines stand, and which devices were made for people without caravel.

Never edited.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database

from pharos.helm.store.scripts import run_script

_PLACES: Final = """
ALTER TABLE nodes ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN latitude DOUBLE PRECISION;
ALTER TABLE nodes ADD COLUMN longitude DOUBLE PRECISION;
ALTER TABLE relays ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE relays ADD COLUMN latitude DOUBLE PRECISION;
ALTER TABLE relays ADD COLUMN longitude DOUBLE PRECISION
"""
"""Degrees north and east, both or neither."""

_EXPORTED: Final = """
ALTER TABLE devices ADD COLUMN exported BIGINT NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN outdated_at BIGINT;
CREATE TABLE exported_ways (
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    digest BYTEA NOT NULL,
    PRIMARY KEY (device_id, node_id, protocol)
)
"""
"""Whether a device's keys were made for another program than caravel, in a browser; what was in the file that it got,
as digests, and since when something of that is otherwise."""


def add_places(db: Database) -> None:
    """Add it all; called once, by the step."""
    for script in (_PLACES, _EXPORTED):
        run_script(db, script)
