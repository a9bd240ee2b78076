"""What step m0006 adds to core.db: how machines are reached by SSH, and how their onboardings went; never edited."""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database

from pharos.helm.store.scripts import run_script

_WAYS: Final = """
ALTER TABLE nodes ADD COLUMN ssh_destination TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN ssh_host_key TEXT NOT NULL DEFAULT '';
ALTER TABLE relays ADD COLUMN ssh_destination TEXT NOT NULL DEFAULT '';
ALTER TABLE relays ADD COLUMN ssh_host_key TEXT NOT NULL DEFAULT ''
"""
"""``[user@]host[:port]`` and ``SHA256:…`` as ssh shows it; empty for a machine that joined by files."""

_ONBOARDINGS: Final = """
CREATE TABLE onboardings (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    destination TEXT NOT NULL,
    address TEXT NOT NULL,
    parts TEXT NOT NULL,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    text TEXT NOT NULL,
    asks TEXT NOT NULL,
    host_key TEXT NOT NULL,
    ended_at BIGINT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
CREATE INDEX onboardings_by_name ON onboardings (name, id);
CREATE INDEX onboardings_by_state ON onboardings (state, created_at, id);
CREATE INDEX onboardings_by_age ON onboardings (created_at, id)
"""
"""Those that helm itself carries out; what an operator's command carries out is told to the operator alone."""


def add_onboard(db: Database) -> None:
    """Add it all; called once, by the step."""
    for script in (_WAYS, _ONBOARDINGS):
        run_script(db, script)
