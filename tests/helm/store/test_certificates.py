"""Whatever the authority issues is in the record, with what has become of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from pharos.helm.store.certificates import CERTIFICATES, certificates_of, keep_certificate, revoke_certificates
from pharos.helm.store.database import CORE, Database, open_store
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.pages import Query, list_page
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role
from tests.support.helm import adopt_sample_node, adopt_sample_relay, fleet_in_memory, now, sample_act

MIGRATIONS = Path(__file__).parent / "migrations"


def states(db: Database, subject: str) -> list[str]:
    return sorted(certificate.state.value for certificate in certificates_of(db, subject))


def test_certificate_is_known_by_its_fingerprint_and_what_it_says() -> None:
    with fleet_in_memory() as (db, authority):
        node, grant = adopt_sample_node(db, authority)
        (kept,) = certificates_of(db, node.id)
        certificate = certificate_from_der(grant.certificate)
        assert kept.id == certificate.fingerprint(hashes.SHA256()).hex()
        assert (kept.role, kept.subject, kept.certificate) == ("node", node.id, grant.certificate)
        assert int(kept.serial, 16) == certificate.serial_number
        assert kept.spki == spki_hash(certificate.public_key()) == node.spki
        assert kept.not_after_at == certificate.not_valid_after_utc.timestamp() * 1e6
        assert kept.not_before_at == certificate.not_valid_before_utc.timestamp() * 1e6
        view = CERTIFICATES.view(kept)
        assert "certificate" not in view
        assert view["spki"] == kept.spki.hex()


def test_helms_own_certificate_is_there_from_the_start() -> None:
    with fleet_in_memory() as (db, _):
        (own,) = certificates_of(db, get_fleet(db).controller_id)
        assert (own.role, own.state.value) == ("controller", "active")
        assert own.certificate == get_fleet(db).controller


def test_newer_certificate_supersedes_the_older_and_revocation_ends_both() -> None:
    with fleet_in_memory() as (db, authority):
        for _ in range(2):
            ticket = TicketId(bytes(16))
            ours = authority.certify_device(make_csr(generate_key()), DeviceId("a-device"), ticket, now=now())
            keep_certificate(db, sample_act(), ours, Role.DEVICE, "a-device")
        assert states(db, "a-device") == ["active", "superseded"]
        revoke_certificates(db, sample_act(), Role.DEVICE, "a-device")
        revoke_certificates(db, sample_act(), Role.DEVICE, "a-device")
        assert states(db, "a-device") == ["revoked", "revoked"]
        assert {certificate.version for certificate in certificates_of(db, "a-device")} == {2, 3}


def test_certificates_are_listed_by_role_subject_state_and_end() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        adopt_sample_relay(db, authority)

        def roles(**filters: str) -> list[str]:
            return [c.role for c in list_page(db, CERTIFICATES, Query(filters=filters, sort="not_after_at")).items]

        assert sorted(roles()) == ["controller", "node", "relay"]
        assert roles(role="relay") == ["relay"]
        assert roles(subject=node.id) == ["node"]
        assert roles(state="revoked") == []
        assert roles(expiring_before="2020-01-01T00:00:00Z") == []
        assert len(roles(expiring_before="2999-01-01T00:00:00+02:00")) == 3


def lay_down_first_schema(state: Path) -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        controller, laptop = get_fleet(db).controller, certificate_to_der(authority.trust.device_ca)
    core = sqlite3.connect(state / CORE)
    core.executescript((MIGRATIONS / "m0001.sql").read_text())
    core.execute("UPDATE nodes SET certificate = ?", (node.certificate,))
    core.execute("UPDATE fleet SET controller = ?", (controller,))
    core.execute("UPDATE device_certificates SET certificate = ? WHERE device_id LIKE '%11'", (laptop,))
    core.commit()
    core.close()
    (state / CORE).chmod(0o600)
    state.chmod(0o700)


async def test_certificates_that_were_issued_before_the_table_was_there_are_in_it(tmp_path: Path) -> None:
    """A database of the first schema, with real certificates in the place of junk."""
    lay_down_first_schema(tmp_path)
    with open_store(tmp_path) as store:
        page = await store.run(list_page, CERTIFICATES, Query())
        found = {(c.role, c.state.value) for c in page.items}
        assert found == {("controller", "active"), ("node", "active"), ("device", "revoked")}
