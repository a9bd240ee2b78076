"""Data of every older schema survives the way up, and every way up ends at the same schema.

``migrations/mNNNN.sql`` is a database as that step left it. A new step adds its file; old files are never edited.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pharos.helm.model.devices import DeviceKeys, DeviceState
from pharos.helm.model.fleet import Posture
from pharos.helm.model.nodes import NodeState
from pharos.helm.store.bundles import find_bundle
from pharos.helm.store.database import CORE, TELEMETRY, Database, open_store
from pharos.helm.store.devices import certificate_of, fingerprints_of, list_devices
from pharos.helm.store.fleet import get_fleet, get_secret, take_host
from pharos.helm.store.handshakes import newest_handshakes
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.relays import list_relays
from pharos.helm.store.tickets import find_ticket
from pharos.wire.ids import DeviceId, TicketId
from tests.support.strategies import parameters_of

FOLDER = Path(__file__).parent / "migrations"
TIME = 1_767_323_045_000_000
NODE = "019b7c12-0000-7000-8000-000000000002"
PHONE = DeviceId("019b7c12-0000-7000-8000-000000000010")
LAPTOP = DeviceId("019b7c12-0000-7000-8000-000000000011")


def lay_down(state: Path, core: str, telemetry: str) -> None:
    for name, source in ((CORE, core), (TELEMETRY, telemetry)):
        db = sqlite3.connect(state / name)
        db.executescript((FOLDER / f"{source}.sql").read_text())
        db.close()


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
    old.mkdir()
    new.mkdir()
    core, telemetry = ("m0001", source) if source.startswith("telemetry") else (source, "telemetry-m0001")
    lay_down(old, core, telemetry)
    with open_store(old), open_store(new, create=True):
        pass
    for name in (CORE, TELEMETRY):
        assert schema_of(old / name) == schema_of(new / name)


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
    assert take_host(db) == 4
    assert [get_secret(db, name) for name in ("fleet-ca", "root")] == [(1, b"wrapped fleet-ca"), (1, b"wrapped root")]

    (node,) = list_nodes(db)
    assert (node.id, node.name, node.address) == (NODE, "amsterdam", "203.0.113.7")
    assert (node.tags, node.state) == (("eu", "fast"), NodeState.ACTIVE)
    assert (node.awg_key, node.derive_key, node.awg_parameters) == (b"A" * 32, b"B" * 32, parameters_of(1))
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
