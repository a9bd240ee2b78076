"""Certificates, as REST serves them: to be looked at; they come and go with their subjects."""

from __future__ import annotations

import ssl

from pharos.helm.model.certificates import Certificate
from pharos.helm.store.certificates import CERTIFICATES
from pharos.helm.web.resources import Resource

CERTIFICATE_RESOURCE: Resource[Certificate] = Resource(
    noun=CERTIFICATES,
    view=lambda _db, certificate: (
        CERTIFICATES.view(certificate) | {"pem": ssl.DER_cert_to_PEM_cert(certificate.certificate)}
    ),
)
