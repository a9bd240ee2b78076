"""The schema of telemetry.db, under the rules of `pharos.helm.store.migrations`."""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

from pharos.helm.store.scripts import run_script

telemetry_migrations: Final = Migrations("helm-telemetry")


@telemetry_migrations()
def m0001_handshakes(db: Database) -> None:
    """Live events of the nodes, and the newest handshake of each device at each node."""
    run_script(
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


@telemetry_migrations()
def m0002_telemetry(db: Database) -> None:
    """Each event once; series of samples and their roll-ups; gaps; sessions."""
    run_script(
        db,
        """
        ALTER TABLE events ADD COLUMN received_at BIGINT NOT NULL DEFAULT 0;
        UPDATE events SET received_at = at;
        UPDATE events SET node_id = '' WHERE node_id IS NULL;
        UPDATE events SET device_id = '' WHERE device_id IS NULL;
        DELETE FROM events WHERE sequence NOT IN
            (SELECT MIN(sequence) FROM events GROUP BY node_id, device_id, kind, at);
        CREATE UNIQUE INDEX events_once ON events (node_id, device_id, kind, at);
        CREATE INDEX handshakes_by_node ON handshakes (node_id, device_id);
        CREATE TABLE series (
            id INTEGER PRIMARY KEY,
            node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            metric TEXT NOT NULL,
            raw BIGINT NOT NULL,
            total BIGINT NOT NULL,
            UNIQUE (node_id, device_id, metric)
        );
        CREATE INDEX series_by_device ON series (device_id, metric);
        CREATE TABLE samples (
            series INTEGER NOT NULL,
            at BIGINT NOT NULL,
            value BIGINT NOT NULL,
            PRIMARY KEY (series, at)
        );
        CREATE TABLE readings (
            node_id TEXT PRIMARY KEY,
            first_at BIGINT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE TABLE gaps (
            node_id TEXT NOT NULL,
            began_at BIGINT NOT NULL,
            ended_at BIGINT NOT NULL,
            PRIMARY KEY (node_id, began_at)
        );
        CREATE INDEX gaps_by_end ON gaps (node_id, ended_at);
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            opened_at BIGINT NOT NULL,
            seen_at BIGINT NOT NULL,
            until_at BIGINT NOT NULL,
            reason TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            last_at BIGINT NOT NULL,
            UNIQUE (node_id, device_id, opened_at)
        );
        CREATE INDEX sessions_by_age ON sessions (opened_at, id);
        CREATE INDEX sessions_by_device ON sessions (device_id, opened_at, id);
        CREATE INDEX sessions_by_node ON sessions (node_id, opened_at, id);
        CREATE INDEX sessions_by_end ON sessions (until_at)
        """,
    )
    for table in ("minutes", "hours"):
        db.execute(
            f"CREATE TABLE {table} (series INTEGER NOT NULL, at BIGINT NOT NULL, low BIGINT NOT NULL,"
            " high BIGINT NOT NULL, total BIGINT NOT NULL, count BIGINT NOT NULL, last BIGINT NOT NULL,"
            " last_at BIGINT NOT NULL, PRIMARY KEY (series, at))"
        )


@telemetry_migrations()
def m0003_protocols(db: Database) -> None:
    """By which protocol devices came, as far as nodes tell; since when each of them does, 0 for not."""
    run_script(
        db,
        """
        ALTER TABLE events ADD COLUMN protocol TEXT NOT NULL DEFAULT '';
        ALTER TABLE sessions ADD COLUMN protocol TEXT NOT NULL DEFAULT '';
        ALTER TABLE readings ADD COLUMN told_at BIGINT NOT NULL DEFAULT 0
        """,
    )
