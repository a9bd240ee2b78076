"""Data of every older schema survives the way up, and every way up ends at the same schema.

``migrations/mNNNN.sql`` is a database as that step left it. A new step adds its file (`tests.support.datafiles` writes
it); old files are never edited.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pharos.helm.audit.chain import Link, verify_rows
from pharos.helm.model.admins import Role
from pharos.helm.model.devices import DeviceKeys, DeviceState
from pharos.helm.model.fleet import Posture
from pharos.helm.model.nodes import NodeState
from pharos.helm.store.admins import ADMINS, TOKENS
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.bundles import find_bundle
from pharos.helm.store.database import CORE, TELEMETRY, Database, open_store
from pharos.helm.store.devices import certificate_of, fingerprints_of, list_devices
from pharos.helm.store.fleet import get_fleet, get_secret
from pharos.helm.store.handshakes import newest_handshakes
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.pools import take_addresses
from pharos.helm.store.records import get_record
from pharos.helm.store.relays import list_relays
from pharos.helm.store.tickets import find_ticket
from pharos.helm.store.users import GROUPS, USERS, groups_of
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.ids import DeviceId, TicketId
from tests.support.datafiles import ADA, OFFICE, OWNER, ROBOT, open_file, step_names, tables_of

FOLDER = Path(__file__).parent / "migrations"
TIME = 1_767_323_045_000_000
NODE = "019b7c12-0000-7000-8000-000000000002"
PHONE = DeviceId("019b7c12-0000-7000-8000-000000000010")
LAPTOP = DeviceId("019b7c12-0000-7000-8000-000000000011")
# As they stand in the files, whatever is generated today.
PARAMETERS = ObfuscationParameters.from_mapping(
    {"jc": 5, "jmin": 33, "jmax": 162, "s1": 49, "s2": 31}
    | {"h1": 1095513153, "h2": 506456974, "h3": 2127877504, "h4": 1120825166}
)


def lay_down(state: Path, core: str, telemetry: str) -> None:
    for name, source in ((CORE, core), (TELEMETRY, telemetry)):
        db = sqlite3.connect(state / name)
        db.executescript((FOLDER / f"{source}.sql").read_text())
        db.close()
        (state / name).chmod(0o600)


def schema_of(path: Path) -> dict[str, str]:
    db = sqlite3.connect(path)
    # How applied steps are noted is sqlite-utils' own affair.
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name NOT LIKE '%sqlite%'").fetchall()
    db.close()
    return dict(rows)


def test_every_step_has_its_data_file() -> None:
    wanted = {migration.name[:5] for migration in core_migrations._migrations}
    wanted |= {"telemetry-" + migration.name[:5] for migration in telemetry_migrations._migrations}
    assert {path.stem for path in FOLDER.glob("*.sql")} == wanted


@pytest.mark.parametrize("source", sorted(path.stem for path in FOLDER.glob("*.sql")))
def test_every_way_up_ends_at_the_same_schema(tmp_path: Path, source: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(mode=0o700)
    new.mkdir(mode=0o700)
    core, telemetry = ("m0001", source) if source.startswith("telemetry") else (source, "telemetry-m0001")
    lay_down(old, core, telemetry)
    with open_store(old), open_store(new, create=True):
        pass
    for name in (CORE, TELEMETRY):
        assert schema_of(old / name) == schema_of(new / name)


@pytest.mark.parametrize("name", [CORE, TELEMETRY])
def test_file_of_the_newest_step_has_rows_in_every_table(name: str) -> None:
    newest = step_names(core_migrations)[-1] if name == CORE else f"telemetry-{step_names(telemetry_migrations)[-1]}"
    db = open_file(newest)
    assert [table for table in tables_of(db) if not db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]] == []
    db.close()


# What a step changes on purpose.
REWRITTEN = {
    ("m0001", "tickets", "id"),
    # An empty text where there was NULL.
    ("telemetry-m0001", "events", "node_id"),
    ("telemetry-m0001", "events", "device_id"),
}


@pytest.mark.parametrize("source", sorted(path.stem for path in FOLDER.glob("*.sql")))
def test_every_value_survives_the_way_up(tmp_path: Path, source: str) -> None:
    core, telemetry = ("m0001", source) if source.startswith("telemetry") else (source, "telemetry-m0001")
    lay_down(tmp_path, core, telemetry)
    with open_store(tmp_path):
        pass
    old, new = open_file(source), sqlite3.connect(tmp_path / (TELEMETRY if source.startswith("telemetry") else CORE))
    for table in set(tables_of(old)) & set(tables_of(new)):
        columns = [
            column
            for column in columns_of(old, table)
            if column in columns_of(new, table) and (source, table, column) not in REWRITTEN
        ]
        query = f"SELECT {', '.join(columns)} FROM {table}"
        before, after = ([tuple(row) for row in db.execute(query)] for db in (old, new))
        assert sorted(before, key=repr) == sorted(after, key=repr), table
    old.close()
    new.close()


def columns_of(db: Database, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


async def test_record_of_the_second_schema_survives(tmp_path: Path) -> None:
    lay_down(tmp_path, "m0002", "telemetry-m0001")
    with open_store(tmp_path) as store:
        await store.run(check_record)


def check_record(db: Database) -> None:
    ada = get_record(db, USERS, ADA)
    assert (ada.name, ada.email, ada.note, ada.quota_bytes, ada.version) == (
        *("Ada", "ada@example.org", "has two telephones", 10**10, 2),
    )
    assert [group.name for group in groups_of(db, ADA)] == ["office"]
    assert get_record(db, GROUPS, OFFICE).node_tags == ("eu", "fast")
    owner = get_record(db, ADMINS, OWNER)
    assert (owner.role, owner.password, owner.totp) == (Role.OWNER, "hash", b"wrapped")
    assert get_record(db, TOKENS, ROBOT).admin_id == OWNER
    rows = audit_rows(db, 0)
    assert verify_rows(rows, Link()).sequence == len(rows) == 6
    assert [row.verb for row in rows][:2] == ["user_added", "user_changed"]
    assert len([entry for entry in entries_after(db, 0) if entry.body]) == 6


async def test_fleet_of_the_first_schema_survives(tmp_path: Path) -> None:
    lay_down(tmp_path, "m0001", "telemetry-m0001")
    with open_store(tmp_path) as store:
        await store.run(check_first_fleet)
        assert await store.record(newest_handshakes) == {PHONE: (NODE, TIME)}


def check_first_fleet(db: Database) -> None:
    fleet = get_fleet(db)
    assert (fleet.id, fleet.posture) == ("0123456789abcdef", Posture.PERSONAL)
    assert (fleet.epoch, fleet.term, fleet.revision) == (TIME // 1_000_000, 3, 7)
    assert (fleet.root, fleet.fleet_ca, fleet.device_ca) == (b"root", b"fleet ca", b"device ca")
    assert (fleet.controller, fleet.manifest) == (b"controller", b"manifest")
    assert (fleet.pool4, fleet.pool6) == ("10.86.0.0/16", "fd12:3456:789a:bcde::/64")
    assert take_addresses(db) == ("10.86.0.4", "fd12:3456:789a:bcde::4")
    assert [get_secret(db, name) for name in ("fleet-ca", "root")] == [(1, b"wrapped fleet-ca"), (1, b"wrapped root")]

    (node,) = list_nodes(db)
    assert (node.id, node.name, node.address) == (NODE, "amsterdam", "203.0.113.7")
    assert (node.tags, node.state) == (("eu", "fast"), NodeState.ACTIVE)
    assert (node.awg_key, node.derive_key, node.awg_parameters) == (b"A" * 32, b"B" * 32, PARAMETERS)
    assert node.reality is None, "it gets some when helm starts"
    (relay,) = list_relays(db)
    assert (relay.name, relay.address, relay.ingress_port, relay.tunnel_port) == ("gate", "gate.example", 443, 7444)

    phone, laptop = list_devices(db)
    assert (phone.id, phone.name, phone.state, phone.version) == (PHONE, "Ada's phone", DeviceState.ACTIVE, 1)
    assert (laptop.id, laptop.name, laptop.state, laptop.version) == (LAPTOP, "old laptop", DeviceState.REVOKED, 2)
    assert phone.keys == DeviceKeys(sealing=b"\x0a" * 32, derive=b"\x14" * 32, noise=b"\x1e" * 32, awg=b"\x28" * 32)
    assert (phone.address4, phone.address6) == ("10.86.0.2", "fd12:3456:789a:bcde::2")
    assert fingerprints_of(db, PHONE) == {"0" * 64}
    assert certificate_of(db, LAPTOP) == b"device certificate 1"
    bundle = find_bundle(db, PHONE)
    assert bundle is not None
    assert (bundle.revision, bundle.profile_hash, bundle.sealed) == (2, b"H" * 32, b"ciphertext")

    used, waiting = find_ticket(db, TicketId(bytes(range(8)))), find_ticket(db, TicketId(bytes(range(8, 16))))
    assert used is not None
    assert waiting is not None
    assert (used.device_id, used.used_keys, used.proof) == (PHONE, b"K" * 32, b"P" * 32)
    assert (waiting.device_name, waiting.device_id, waiting.used_keys) == ("tablet", None, None)
    assert [(entry.kind, entry.detail) for entry in entries_after(db, 0)] == [
        ("node_added", "amsterdam"),
        ("device_revoked", "old laptop"),
    ]
