"""The schema, one step a function; a step that has been released is never edited.

SQL stays in what SQLite and PostgreSQL share: no rowid, text ids, integer microseconds since 1970.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

core_migrations: Final = Migrations("helm")
telemetry_migrations: Final = Migrations("helm-telemetry")


@core_migrations()
def m0001_fleet(db: Database) -> None:
    """The first fleet: authority, nodes, relays, devices, tickets, bundles, outbox."""
    _script(
        db,
        """
        CREATE TABLE fleet (
            id TEXT PRIMARY KEY,
            posture TEXT NOT NULL CHECK (posture IN ('personal', 'enterprise')),
            epoch BIGINT NOT NULL,
            term BIGINT NOT NULL,
            revision BIGINT NOT NULL,
            pool4 TEXT NOT NULL,
            pool6 TEXT NOT NULL,
            next_host BIGINT NOT NULL,
            root BYTEA NOT NULL,
            fleet_ca BYTEA NOT NULL,
            device_ca BYTEA NOT NULL,
            controller BYTEA NOT NULL,
            controller_id TEXT NOT NULL,
            manifest BYTEA NOT NULL,
            created_at BIGINT NOT NULL
        );
        CREATE TABLE secrets (
            name TEXT PRIMARY KEY,
            version BIGINT NOT NULL,
            wrapped BYTEA NOT NULL
        );
        CREATE TABLE nodes (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            address TEXT NOT NULL,
            control_port BIGINT NOT NULL,
            awg_port BIGINT NOT NULL,
            tags TEXT NOT NULL,
            state TEXT NOT NULL,
            spki BYTEA NOT NULL UNIQUE,
            awg_key BYTEA NOT NULL UNIQUE,
            derive_key BYTEA NOT NULL UNIQUE,
            awg_parameters TEXT NOT NULL,
            certificate BYTEA NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE relays (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            address TEXT NOT NULL,
            ingress_port BIGINT NOT NULL,
            tunnel_port BIGINT NOT NULL,
            state TEXT NOT NULL,
            spki BYTEA NOT NULL UNIQUE,
            certificate BYTEA NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE devices (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            state TEXT NOT NULL,
            sealing_key BYTEA NOT NULL UNIQUE,
            derive_key BYTEA NOT NULL UNIQUE,
            noise_key BYTEA NOT NULL UNIQUE,
            awg_key BYTEA NOT NULL UNIQUE,
            address4 TEXT NOT NULL UNIQUE,
            address6 TEXT NOT NULL UNIQUE,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE device_certificates (
            fingerprint TEXT PRIMARY KEY,
            device_id TEXT NOT NULL REFERENCES devices (id),
            spki BYTEA NOT NULL UNIQUE,
            certificate BYTEA NOT NULL,
            not_after BIGINT NOT NULL
        );
        CREATE TABLE tickets (
            id BYTEA PRIMARY KEY,
            device_name TEXT NOT NULL,
            psk BYTEA NOT NULL,
            proof BYTEA NOT NULL,
            expires_at BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            created_by TEXT NOT NULL,
            used_at BIGINT,
            used_keys BYTEA,
            device_id TEXT REFERENCES devices (id)
        );
        CREATE TABLE bundles (
            device_id TEXT PRIMARY KEY REFERENCES devices (id),
            epoch BIGINT NOT NULL,
            revision BIGINT NOT NULL,
            profile_hash BYTEA NOT NULL,
            sealed BYTEA NOT NULL
        );
        CREATE TABLE outbox (
            sequence INTEGER PRIMARY KEY,
            at BIGINT NOT NULL,
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            actor TEXT NOT NULL,
            detail TEXT NOT NULL
        );
        """,
    )


@telemetry_migrations()
def m0001_handshakes(db: Database) -> None:
    """Live events of the nodes, and the newest handshake of each device at each node."""
    _script(
        db,
        """
        CREATE TABLE events (
            sequence INTEGER PRIMARY KEY,
            at BIGINT NOT NULL,
            kind TEXT NOT NULL,
            node_id TEXT,
            device_id TEXT,
            detail TEXT NOT NULL
        );
        CREATE TABLE handshakes (
            device_id TEXT NOT NULL,
            node_id TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (device_id, node_id)
        );
        """,
    )


def _script(db: Database, statements: str) -> None:
    # executescript() would commit the migration's own transaction first.
    for statement in statements.split(";"):
        if statement.strip():
            db.execute(statement)
