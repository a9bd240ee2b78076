"""The schema, one step a function; a step that has been released is never edited.

SQL stays in what SQLite and PostgreSQL share: no rowid, text ids, integer microseconds since 1970.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

from pharos.helm.store.carried import carry_certificates, carry_pool, read_tickets, write_tickets
from pharos.helm.store.desktables import add_desk
from pharos.helm.store.hand import add_hand
from pharos.helm.store.onboardtables import add_onboard
from pharos.helm.store.placetables import add_places
from pharos.helm.store.scripts import run_script
from pharos.helm.store.telemetry import telemetry_migrations as telemetry_migrations
from pharos.helm.store.viewtables import add_views

core_migrations: Final = Migrations("helm")


@core_migrations()
def m0001_fleet(db: Database) -> None:
    """The first fleet: authority, nodes, relays, devices, tickets, bundles, outbox."""
    run_script(
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


@core_migrations()
def m0002_record(db: Database) -> None:
    """People, access, pools, alerts, certificates, settings, admins and their ways in, audit, idempotency."""
    run_script(
        db,
        """
        CREATE TABLE users (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            email TEXT UNIQUE,
            state TEXT NOT NULL,
            note TEXT NOT NULL,
            expires_at BIGINT,
            device_limit BIGINT,
            quota_bytes BIGINT,
            quota_period TEXT NOT NULL,
            quota_action TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE groups (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            note TEXT NOT NULL,
            node_tags TEXT NOT NULL,
            protocols TEXT NOT NULL,
            everybody BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE group_members (
            group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            PRIMARY KEY (group_id, user_id)
        );
        CREATE INDEX group_members_by_user ON group_members (user_id);
        CREATE TABLE pools (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            network4 TEXT NOT NULL UNIQUE,
            network6 TEXT NOT NULL UNIQUE,
            next_host BIGINT NOT NULL,
            last_host BIGINT NOT NULL,
            preferred BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE alerts (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            severity TEXT NOT NULL,
            state TEXT NOT NULL,
            noun TEXT NOT NULL,
            subject TEXT NOT NULL,
            text TEXT NOT NULL,
            evidence TEXT NOT NULL,
            opened_at BIGINT NOT NULL,
            acknowledged_at BIGINT,
            acknowledged_by TEXT,
            resolved_at BIGINT,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE certificates (
            id TEXT PRIMARY KEY,
            role TEXT NOT NULL,
            subject TEXT NOT NULL,
            serial TEXT NOT NULL,
            spki BYTEA NOT NULL,
            certificate BYTEA NOT NULL,
            state TEXT NOT NULL,
            not_before_at BIGINT NOT NULL,
            not_after_at BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE settings (
            id TEXT PRIMARY KEY,
            value TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE admins (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            role TEXT NOT NULL,
            state TEXT NOT NULL,
            password TEXT,
            totp BYTEA,
            totp_step BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE admin_links (
            hash BYTEA PRIMARY KEY,
            admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
            expires_at BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            created_by TEXT NOT NULL,
            used_at BIGINT
        );
        CREATE TABLE admin_sessions (
            hash BYTEA PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
            csrf BYTEA NOT NULL,
            created_at BIGINT NOT NULL,
            seen_at BIGINT NOT NULL,
            proven_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            browser TEXT NOT NULL
        );
        CREATE INDEX admin_sessions_by_admin ON admin_sessions (admin_id);
        CREATE TABLE tokens (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            hash BYTEA NOT NULL UNIQUE,
            admin_id TEXT NOT NULL REFERENCES admins (id),
            role TEXT NOT NULL,
            scopes TEXT NOT NULL,
            state TEXT NOT NULL,
            expires_at BIGINT,
            used_at BIGINT,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE audit (
            sequence BIGINT PRIMARY KEY,
            at BIGINT NOT NULL,
            actor TEXT NOT NULL,
            via TEXT NOT NULL,
            verb TEXT NOT NULL,
            noun TEXT NOT NULL,
            subject TEXT NOT NULL,
            version BIGINT NOT NULL,
            detail TEXT NOT NULL,
            hash BYTEA NOT NULL
        );
        CREATE INDEX audit_by_subject ON audit (subject, sequence);
        CREATE INDEX audit_by_actor ON audit (actor, sequence);
        CREATE INDEX audit_by_verb ON audit (verb, sequence);
        CREATE INDEX audit_by_noun ON audit (noun, sequence);
        CREATE TABLE checkpoints (
            sequence BIGINT PRIMARY KEY,
            at BIGINT NOT NULL,
            hash BYTEA NOT NULL,
            signature BYTEA NOT NULL
        );
        CREATE TABLE idempotency (
            id TEXT PRIMARY KEY,
            request BYTEA NOT NULL,
            answer BYTEA NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE INDEX idempotency_by_age ON idempotency (at);
        ALTER TABLE outbox ADD COLUMN noun TEXT NOT NULL DEFAULT '';
        ALTER TABLE outbox ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE outbox ADD COLUMN body TEXT;
        ALTER TABLE nodes ADD COLUMN note TEXT NOT NULL DEFAULT '';
        ALTER TABLE relays ADD COLUMN note TEXT NOT NULL DEFAULT '';
        ALTER TABLE devices ADD COLUMN user_id TEXT REFERENCES users (id);
        ALTER TABLE devices ADD COLUMN note TEXT NOT NULL DEFAULT '';
        ALTER TABLE devices ADD COLUMN expires_at BIGINT;
        ALTER TABLE devices ADD COLUMN quota_bytes BIGINT;
        ALTER TABLE devices ADD COLUMN rate_limit BIGINT;
        ALTER TABLE bundles ADD COLUMN sealed_at BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE bundles ADD COLUMN checked_revision BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE bundles ADD COLUMN held_epoch BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE bundles ADD COLUMN held_revision BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE bundles ADD COLUMN synced_at BIGINT;
        ALTER TABLE fleet ADD COLUMN profiles_revision BIGINT NOT NULL DEFAULT 1;
        CREATE VIEW profiles AS SELECT
            bundles.device_id AS id, devices.name AS name, bundles.epoch AS epoch, bundles.revision AS revision,
            LENGTH(bundles.sealed) AS size, bundles.profile_hash AS hash,
            CASE WHEN bundles.epoch = fleet.epoch AND checked_revision >= profiles_revision
                AND held_epoch = bundles.epoch AND held_revision = bundles.revision
                THEN 'synced' ELSE 'stale' END AS state,
            sealed_at, synced_at, bundles.revision AS version, sealed_at AS created_at, sealed_at AS updated_at,
            'helm' AS updated_by
            FROM bundles JOIN devices ON devices.id = bundles.device_id CROSS JOIN fleet
        """,
    )
    carry_pool(db)
    db.execute("ALTER TABLE fleet DROP COLUMN next_host")
    tickets = read_tickets(db)
    run_script(
        db,
        """
        DROP TABLE tickets;
        CREATE TABLE tickets (
            id TEXT PRIMARY KEY,
            device_name TEXT NOT NULL,
            user_id TEXT REFERENCES users (id),
            psk BYTEA NOT NULL,
            proof BYTEA NOT NULL,
            expires_at BIGINT NOT NULL,
            created_by TEXT NOT NULL,
            used_at BIGINT,
            used_keys BYTEA,
            device_id TEXT REFERENCES devices (id),
            withdrawn_at BIGINT,
            version BIGINT NOT NULL DEFAULT 1,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        )
        """,
    )
    write_tickets(db, tickets)
    carry_certificates(db)
    for table in ("users", "groups", "nodes", "relays", "devices", "admins", "tokens", "pools"):
        db.execute(f"CREATE INDEX {table}_by_name ON {table} (name, id)")
    for table in ("users", "nodes", "relays", "devices", "alerts", "certificates"):
        db.execute(f"CREATE INDEX {table}_by_state ON {table} (state, created_at, id)")
    for table in ("users", "groups", "nodes", "relays", "devices", "alerts", "tickets", "certificates", "tokens"):
        db.execute(f"CREATE INDEX {table}_by_age ON {table} (created_at, id)")
    db.execute("CREATE INDEX devices_by_user ON devices (user_id, created_at, id)")
    # Some ten thousand of them: a page that is filtered by state, searched and sorted by name reads this index alone.
    db.execute("CREATE INDEX devices_by_state_and_name ON devices (state, name, id)")
    db.execute("CREATE INDEX alerts_by_subject ON alerts (subject, kind)")
    db.execute("CREATE INDEX certificates_by_subject ON certificates (subject, not_after_at)")
    db.execute("CREATE INDEX bundles_by_age ON bundles (sealed_at, device_id)")
    db.execute("CREATE INDEX certificates_by_end ON certificates (not_after_at, id)")


@core_migrations()
def m0003_hand(db: Database) -> None:
    """What driving a fleet takes: revocations, rotations, what members acknowledged, pairs, leases, adoptions."""
    add_hand(db)


@core_migrations()
def m0004_reality(db: Database) -> None:
    """REALITY: parameters and known keys of nodes, and what a re-issue replaced. Nodes get theirs when helm starts."""
    run_script(
        db,
        """
        CREATE TABLE reality_keys (
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            generation BIGINT NOT NULL,
            public_key BYTEA NOT NULL,
            proof BYTEA NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (node_id, generation)
        );
        ALTER TABLE nodes ADD COLUMN reality TEXT NOT NULL DEFAULT 'null';
        ALTER TABLE reissues ADD COLUMN reality TEXT NOT NULL DEFAULT 'null';
        ALTER TABLE reissues ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE member_states ADD COLUMN reality_port BIGINT NOT NULL DEFAULT 0
        """,
    )


@core_migrations()
def m0005_desk(db: Database) -> None:
    """People at a desk: passkeys, identities, logins, admins' devices; deliveries of alerts; receivers of events."""
    add_desk(db)


@core_migrations()
def m0006_onboard(db: Database) -> None:
    """How nodes and relays are reached by SSH; onboardings that helm carries out."""
    add_onboard(db)


@core_migrations()
def m0007_places(db: Database) -> None:
    """Where nodes and relays stand; devices whose keys were made in a browser; since when profiles are behind."""
    add_places(db)
    add_views(db)
