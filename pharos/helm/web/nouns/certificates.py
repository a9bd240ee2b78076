"""Certificates, as REST serves them: to be looked at; they come and go with their subjects."""

from __future__ import annotations

import ssl

from pharos.helm.model.certificates import Certificate, CertificateState
from pharos.helm.store.certificates import CERTIFICATES
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.times import microseconds, rfc3339
from pharos.helm.trust.overview import name_of
from pharos.helm.trust.renewals import renews_at
from pharos.helm.web.resources import Resource, View
from pharos.wire.pki.roles import Identity, Role


def _rows(db: Database, certificates: list[Certificate]) -> list[View]:
    fleet = get_fleet(db).id
    names: dict[str, str] = {}
    for one in certificates:
        if one.subject not in names:
            names[one.subject] = name_of(db, Identity(fleet=fleet, role=Role(one.role), id=one.subject))
    return [CERTIFICATES.view(one) | {"name": names[one.subject], "renews_at": _renews(one)} for one in certificates]


def _renews(certificate: Certificate) -> str | None:
    """Return when its holder is to ask for the next one; a browser does not, and who has a newer one has."""
    if certificate.state is not CertificateState.ACTIVE or certificate.role == Role.ADMIN.value:
        return None
    return rfc3339(microseconds(renews_at(certificate.certificate).timestamp()))


def _view(db: Database, certificate: Certificate) -> View:
    return _rows(db, [certificate])[0] | {"pem": ssl.DER_cert_to_PEM_cert(certificate.certificate)}


CERTIFICATE_RESOURCE: Resource[Certificate] = Resource(noun=CERTIFICATES, view=_view, rows=_rows)
