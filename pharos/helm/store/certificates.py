"""The certificates table: every certificate that the fleet's authority issued, and what has become of it."""

from __future__ import annotations

import datetime
from typing import Any, Final

from cryptography import x509

from pharos.helm.errors import InvalidRequestError
from pharos.helm.model.certificates import Certificate, CertificateState, facts_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun, add_record, change_record
from pharos.helm.store.times import microseconds
from pharos.wire.pki.roles import Role


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
    """Write a certificate that was just issued; those that its subject had before are superseded."""
    _move(db, act, subject, CertificateState.SUPERSEDED, frozenset({CertificateState.ACTIVE}))
    return add_record(
        db, CERTIFICATES, facts_of(certificate, role, subject), act, verb="issued", detail=f"{role.value} {subject}"
    )


def revoke_certificates(db: Database, act: Act, subject: str) -> None:
    """Mark whatever a subject still has as revoked."""
    _move(db, act, subject, CertificateState.REVOKED, frozenset(CertificateState) - {CertificateState.REVOKED})


def certificates_of(db: Database, subject: str) -> list[Certificate]:
    """Return every certificate of a subject, the newest first."""
    rows = db.execute(
        f"SELECT {CERTIFICATES.all_columns} FROM certificates WHERE subject = ?"  # noqa: S608 -- names of a Noun
        " ORDER BY not_after_at DESC, id",
        (subject,),
    )
    return [CERTIFICATES.load(row) for row in rows]


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
