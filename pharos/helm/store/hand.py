"""What step m0003 adds to core.db: what driving a fleet takes."""

from __future__ import annotations

from sqlite_utils import Database

from pharos.helm.store.scripts import run_script


def add_hand(db: Database) -> None:
    """Add the tables and columns; called once, by the step."""
    run_script(
        db,
        """
        CREATE TABLE denials (
            id TEXT PRIMARY KEY,
            role TEXT NOT NULL,
            subject TEXT NOT NULL,
            spki BYTEA,
            tunnel_key_hash BYTEA,
            not_after BIGINT NOT NULL,
            created_at BIGINT NOT NULL
        );
        CREATE TABLE rotations (
            id TEXT PRIMARY KEY,
            subjects TEXT NOT NULL,
            state TEXT NOT NULL,
            manifests TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE TABLE rotation_members (
            rotation_id TEXT NOT NULL REFERENCES rotations (id) ON DELETE CASCADE,
            member TEXT NOT NULL,
            waiting BIGINT NOT NULL,
            PRIMARY KEY (rotation_id, member)
        );
        CREATE INDEX rotation_members_by_waiting ON rotation_members (rotation_id, waiting);
        CREATE TABLE member_states (
            id TEXT PRIMARY KEY,
            applied_epoch BIGINT NOT NULL DEFAULT 0,
            applied_term BIGINT NOT NULL DEFAULT 0,
            applied_revision BIGINT NOT NULL DEFAULT 0,
            deny_epoch BIGINT NOT NULL DEFAULT 0,
            deny_version BIGINT NOT NULL DEFAULT 0,
            manifest_version BIGINT NOT NULL DEFAULT 0,
            certificate TEXT NOT NULL DEFAULT '',
            checkpoint BIGINT NOT NULL DEFAULT 0,
            read_epoch BIGINT NOT NULL DEFAULT 0,
            heard_at BIGINT NOT NULL DEFAULT 0
        );
        CREATE TABLE pairs (
            device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            generation BIGINT NOT NULL,
            acknowledged BIGINT NOT NULL,
            device_commitment BYTEA,
            node_commitment BYTEA,
            PRIMARY KEY (device_id, node_id)
        );
        CREATE INDEX pairs_by_node ON pairs (node_id, device_id);
        CREATE TABLE quota_leases (
            device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            lease BIGINT NOT NULL,
            octets BIGINT NOT NULL,
            used BIGINT NOT NULL,
            spent BIGINT NOT NULL,
            period_at BIGINT NOT NULL,
            PRIMARY KEY (device_id, node_id)
        );
        CREATE TABLE reissues (
            id TEXT PRIMARY KEY,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            port BIGINT NOT NULL,
            parameters TEXT NOT NULL,
            until_at BIGINT NOT NULL,
            state TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE INDEX reissues_by_node ON reissues (node_id, state);
        CREATE TABLE adoptions (
            id TEXT PRIMARY KEY,
            node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            peer TEXT NOT NULL,
            state TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
        CREATE INDEX adoptions_by_state ON adoptions (state, created_at, id);
        ALTER TABLE fleet ADD COLUMN deny_version BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE fleet ADD COLUMN deny_issued BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE fleet ADD COLUMN lease_holder BYTEA;
        ALTER TABLE fleet ADD COLUMN lock_key BYTEA;
        ALTER TABLE fleet ADD COLUMN next_fleet_ca BYTEA;
        ALTER TABLE fleet ADD COLUMN next_device_ca BYTEA;
        ALTER TABLE fleet ADD COLUMN backed_up_at BIGINT;
        ALTER TABLE fleet ADD COLUMN restored_at BIGINT;
        ALTER TABLE nodes ADD COLUMN lock_signature BYTEA;
        ALTER TABLE nodes ADD COLUMN key_proof BYTEA;
        ALTER TABLE nodes ADD COLUMN spare_ports TEXT NOT NULL DEFAULT '[8443]';
        CREATE TABLE bound_certificates (
            fingerprint TEXT PRIMARY KEY,
            device_id TEXT NOT NULL REFERENCES devices (id),
            spki BYTEA NOT NULL,
            certificate BYTEA NOT NULL,
            not_after BIGINT NOT NULL
        );
        INSERT INTO bound_certificates (fingerprint, device_id, spki, certificate, not_after)
            SELECT fingerprint, device_id, spki, certificate, not_after FROM device_certificates;
        DROP TABLE device_certificates;
        ALTER TABLE bound_certificates RENAME TO device_certificates;
        CREATE INDEX device_certificates_by_device ON device_certificates (device_id, not_after);
        CREATE INDEX device_certificates_by_key ON device_certificates (spki);
        INSERT INTO denials (id, role, subject, not_after, created_at)
            SELECT MAX(id), role, subject, MAX(not_after_at) / 1000000, MAX(updated_at) FROM certificates
            WHERE state = 'revoked' GROUP BY role, subject;
        UPDATE fleet SET deny_version = 1, deny_issued = (SELECT MAX(created_at) / 1000000 FROM denials)
            WHERE EXISTS (SELECT 1 FROM denials)
        """,
    )
