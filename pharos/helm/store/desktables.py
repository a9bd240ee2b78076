"""What step m0005 adds to core.db: what people at a desk need; never edited."""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database

from pharos.helm.store.scripts import run_script

_PASSKEYS: Final = """
CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    site TEXT NOT NULL,
    credential BYTEA NOT NULL UNIQUE,
    public_key BYTEA NOT NULL,
    counter BIGINT NOT NULL,
    synced BIGINT NOT NULL,
    used_at BIGINT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
CREATE INDEX passkeys_by_admin ON passkeys (admin_id, created_at, id);
ALTER TABLE admin_sessions ADD COLUMN how TEXT NOT NULL DEFAULT '';
ALTER TABLE admin_sessions ADD COLUMN bound TEXT NOT NULL DEFAULT ''
"""
"""Passkeys of admins; how each session began, and the browser certificate or device that it is bound to."""

_IDENTITIES: Final = """
CREATE TABLE admin_identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX admin_identities_by_admin ON admin_identities (admin_id)
"""
"""Who at an OpenID provider is which admin."""

_ADMIN_DEVICES: Final = """
CREATE TABLE admin_devices (
    device_id TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);
CREATE INDEX admin_devices_by_admin ON admin_devices (admin_id, device_id)
"""
"""Which device is which admin's: the desk from elsewhere is served to those alone."""

_LOGINS: Final = """
CREATE TABLE user_credentials (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    passphrase TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX users_by_email ON users (LOWER(email))
"""
"""What users log in with, apart from their records, so that no view and no list ever holds it."""

_ALERTS: Final = """
CREATE TABLE alert_targets (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    service TEXT NOT NULL,
    url BYTEA NOT NULL,
    minimum TEXT NOT NULL,
    kinds TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
CREATE INDEX alert_targets_by_name ON alert_targets (name, id);
CREATE INDEX alert_targets_by_age ON alert_targets (created_at, id);
CREATE TABLE alert_deliveries (
    id TEXT PRIMARY KEY,
    alert_id TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    target_id TEXT NOT NULL REFERENCES alert_targets (id) ON DELETE CASCADE,
    what TEXT NOT NULL,
    queued_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    next_try_at BIGINT NOT NULL,
    done_at BIGINT,
    outcome TEXT NOT NULL DEFAULT '',
    last_error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX alert_deliveries_by_end ON alert_deliveries (done_at, id);
CREATE INDEX alert_deliveries_by_alert ON alert_deliveries (alert_id, target_id);
CREATE INDEX alert_deliveries_by_target ON alert_deliveries (target_id, done_at);
CREATE TABLE alert_mutes (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    until_at BIGINT NOT NULL,
    note TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
CREATE INDEX alert_mutes_by_age ON alert_mutes (created_at, id);
CREATE TABLE quota_marks (
    device_id TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    period_at BIGINT NOT NULL,
    total BIGINT NOT NULL
)
"""
"""Where alerts are delivered to, what is still to be delivered, what is muted; what quotas are counted from."""

_SINKS: Final = """
CREATE TABLE sinks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    url TEXT NOT NULL,
    sources TEXT NOT NULL,
    header_names TEXT NOT NULL,
    headers BYTEA,
    ca TEXT,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
CREATE INDEX sinks_by_name ON sinks (name, id);
CREATE INDEX sinks_by_age ON sinks (created_at, id);
CREATE TABLE sink_cursors (
    sink_id TEXT NOT NULL REFERENCES sinks (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    mark BIGINT NOT NULL,
    PRIMARY KEY (sink_id, source)
);
CREATE TABLE sink_health (
    sink_id TEXT PRIMARY KEY REFERENCES sinks (id) ON DELETE CASCADE,
    sent_at BIGINT,
    failing_since_at BIGINT,
    error TEXT NOT NULL
)
"""
"""Where events and the audit are sent besides, and how far that has come."""


def add_desk(db: Database) -> None:
    """Add it all; called once, by the step."""
    for script in (_PASSKEYS, _IDENTITIES, _ADMIN_DEVICES, _LOGINS, _ALERTS, _SINKS):
        run_script(db, script)
