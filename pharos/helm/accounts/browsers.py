"""Certificates of admins' browsers, by which alone the page is reached over TLS (`web_tls`).

An admin has one for each browser or machine. Each is a member of the fleet of its own, ``<admin's id>-<8 hex digits>``,
so that one can be revoked for ever and the admin goes on with another.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from pharos.helm.ca.authority import Authority
from pharos.helm.ca.keystores import draw_password, pack_key_store
from pharos.helm.errors import ConflictError, NotFoundError
from pharos.helm.model.admins import Admin
from pharos.helm.model.certificates import Certificate, CertificateState
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.certificates import CERTIFICATES, find_certificate, keep_certificate, revoke_certificates
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.helm.store.times import moment
from pharos.wire.chance import token_hex
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import Credentials

# More browsers than anybody uses. Each that is lost takes a place on the deny list for up to a year.
MAX_BROWSERS: Final = 16
_TAG: Final = 4
"""Octets that tell an admin's browsers apart."""
_SUBJECT: Final = re.compile(r"(?P<admin>[0-9a-f-]{36})-[0-9a-f]{8}")


@attrs.frozen(kw_only=True)
class BrowserKey:
    """What an admin takes to a browser; it is kept nowhere."""

    certificate: Certificate
    store: bytes = attrs.field(repr=False)
    """PKCS #12."""
    password: str = attrs.field(repr=False)


def add_browser(
    db: Database, act: Act, authority: Authority, admin_id: str, *, password: str | None = None, old: bool = False
) -> BrowserKey:
    """Make a key and its certificate for a browser of an admin; the password is drawn where none is given.

    ``old`` is for stores that cannot read what is encrypted as it is done now.

    Raises: ConflictError — the admin has too many. InvalidRequestError — the password is too short. NotFoundError.
    """
    admin = get_record(db, ADMINS, admin_id)
    if len(browsers_of(db, admin_id, at=act.at)) >= MAX_BROWSERS:
        raise ConflictError(
            f"{admin.name} has {MAX_BROWSERS} browser certificates already; revoke one that is not used any more"
        )
    key, member = generate_key(), f"{admin_id}-{token_hex(_TAG)}"
    certificate = authority.certify_browser(make_csr(key), member, operator=act.actor, now=moment(act.at))
    chosen = password or draw_password()
    label = f"{admin.name} at {authority.trust.fleet}"
    store = pack_key_store(Credentials(certificate=certificate, key=key), chosen, name=label, old=old)
    kept = keep_certificate(db, act, certificate, Role.ADMIN, member)
    return BrowserKey(certificate=kept, store=store, password=chosen)


def browsers_of(db: Database, admin_id: str, *, at: int) -> list[Certificate]:
    """Return the browser certificates of an admin that are in force, the newest first."""
    rows = db.execute(
        f"SELECT {CERTIFICATES.all_columns} FROM certificates"  # noqa: S608 -- names of a Noun
        " WHERE role = ? AND state = ? AND not_after_at > ? AND subject LIKE ? ORDER BY created_at DESC, id",
        (Role.ADMIN.value, CertificateState.ACTIVE.value, at, f"{admin_id}-%"),
    )
    return [CERTIFICATES.load(row) for row in rows]


def revoke_browser(db: Database, act: Act, admin_id: str, fingerprint: str) -> Admin:
    """Keep a browser out: its connections end at once.

    Raises: NotFoundError — the admin has no such certificate. ConflictError — the deny list is full.
    """
    admin = get_record(db, ADMINS, admin_id)
    certificate = find_certificate(db, fingerprint)
    if certificate is None or _owner(certificate) != admin_id:
        raise NotFoundError(f"{admin.name} has no browser certificate {fingerprint!r}")
    if certificate.state is not CertificateState.REVOKED:
        revoke_certificates(db, act, Role.ADMIN, certificate.subject)
    return admin


def revoke_browsers(db: Database, act: Act, admin_id: str) -> None:
    """Keep all browsers of an admin out.

    Raises: ConflictError — the deny list is full.
    """
    for certificate in browsers_of(db, admin_id, at=act.at):
        revoke_certificates(db, act, Role.ADMIN, certificate.subject)


def browser_owner(db: Database, fingerprint: str) -> str | None:
    """Return the id of the admin whose browser has the certificate with this fingerprint; None: no browser has."""
    certificate = find_certificate(db, fingerprint) if fingerprint else None
    return None if certificate is None else _owner(certificate)


def admin_of(member: Identity) -> str | None:
    """Return whose browser a member is; None: it is none."""
    match = _SUBJECT.fullmatch(member.id) if member.role is Role.ADMIN else None
    return None if match is None else match["admin"]


def _owner(certificate: Certificate) -> str | None:
    match = _SUBJECT.fullmatch(certificate.subject) if certificate.role == Role.ADMIN.value else None
    return None if match is None else match["admin"]
