"""The certificates table: every certificate that the fleet's authority issued, and what has become of it."""

from __future__ import annotations

import datetime
from typing import Any, Final

from cryptography import x509

from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.certificates import Certificate, CertificateState, facts_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.denials import deny_member
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.records import Noun, add_record, change_record, find_record
from pharos.helm.store.times import microseconds
from pharos.wire.pki.keys import certificate_from_der
from pharos.wire.pki.profile import key_identifier
from pharos.wire.pki.roles import Authority, Identity, Role


def _before(text: str) -> tuple[str, list[Any]]:
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("it names no offset")
        return "not_after_at < ?", [microseconds(moment.timestamp())]
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{text!r} is not a time such as 2026-07-01T00:00:00Z") from error


CERTIFICATES: Final = Noun(
    kind="certificate",
    table="certificates",
    columns=(
        *("id", "role", "subject", "serial", "spki", "certificate", "state"),
        *("not_before_at", "not_after_at"),
    ),
    model=Certificate,
    hidden=frozenset({"certificate"}),
    filters={"role": "role = ?", "subject": "subject = ?", "state": "state = ?", "expiring_before": _before},
    sorts={"created_at": "created_at", "not_after_at": "not_after_at"},
)


def keep_certificate(db: Database, act: Act, certificate: x509.Certificate, role: Role, subject: str) -> Certificate:
    """Write a certificate that was just issued; those that its subject had before are superseded.

    Raises: ConflictError — the fleet's authority was exchanged between the signature and this transaction.
    """
    _require_believed(db, certificate, role)
    _move(db, act, subject, CertificateState.SUPERSEDED, frozenset({CertificateState.ACTIVE}))
    return add_record(
        db, CERTIFICATES, facts_of(certificate, role, subject), act, verb="issued", detail=f"{role.value} {subject}"
    )


def revoke_certificates(db: Database, act: Act, role: Role, subject: str, *, tunnel_key: bytes | None = None) -> None:
    """Mark whatever a subject still has as revoked, and put it on the deny list with its AmneziaWG key (32 bytes).

    Raises: ConflictError — the deny list is full.
    """
    deny_member(db, act, role, subject, tunnel_key=tunnel_key)
    _move(db, act, subject, CertificateState.REVOKED, frozenset(CertificateState) - {CertificateState.REVOKED})


def live_members(db: Database, at: int) -> dict[Identity, Certificate]:
    """Return who has a certificate that is in force, with the newest of theirs."""
    fleet = get_fleet(db).id
    rows = db.execute(
        f"SELECT {CERTIFICATES.all_columns} FROM certificates"  # noqa: S608 -- names of a Noun
        " WHERE state = ? AND not_after_at > ? ORDER BY not_after_at, created_at",
        (CertificateState.ACTIVE.value, at),
    )
    found = (CERTIFICATES.load(row) for row in rows)
    return {Identity(fleet=fleet, role=Role(one.role), id=one.subject): one for one in found}


def find_certificate(db: Database, fingerprint: str) -> Certificate | None:
    """Return the certificate of this fingerprint if the fleet's authority issued it."""
    return find_record(db, CERTIFICATES, fingerprint)


def require_new_key(db: Database, spki: bytes, subject: str) -> None:
    """Raises: ConflictError — another member was certified with this key (SHA-256 of it)."""
    if db.execute("SELECT 1 FROM certificates WHERE spki = ? AND subject <> ?", (spki, subject)).fetchone():
        raise ConflictError("this certificate key belongs to another member of the fleet")


def certificates_of(db: Database, subject: str) -> list[Certificate]:
    """Return every certificate of a subject, the newest first."""
    rows = db.execute(
        f"SELECT {CERTIFICATES.all_columns} FROM certificates WHERE subject = ?"  # noqa: S608 -- names of a Noun
        " ORDER BY not_after_at DESC, id",
        (subject,),
    )
    return [CERTIFICATES.load(row) for row in rows]


def _require_believed(db: Database, certificate: x509.Certificate, role: Role) -> None:
    # A rotation may have moved on while a request waited for its turn. What the dropped authority signed is void.
    fleet = get_fleet(db)
    mine = (fleet.fleet_ca, fleet.next_fleet_ca), (fleet.device_ca, fleet.next_device_ca)
    believed = mine[0] if role.authority is Authority.FLEET else mine[1]
    named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    if all(der is None or key_identifier(certificate_from_der(der)) != named for der in believed):
        raise ConflictError("the fleet's authority has just been exchanged; ask again")


def _move(db: Database, act: Act, subject: str, state: CertificateState, states: frozenset[CertificateState]) -> None:
    for known in certificates_of(db, subject):
        if known.state in states:
            change_record(
                db,
                CERTIFICATES,
                known.id,
                known.version,
                {"state": state},
                act,
                verb=state.value,
                detail=f"{known.role} {subject}",
            )
