"""What helm's web edge proves itself with: a self-signed certificate for localhost, made when it is first needed.

No member of the fleet believes it; browsers are told to, by hand. Its key is wrapped by the vault like any other.
"""

from __future__ import annotations

import datetime
from typing import Final

from pharos.helm.ca.authority import new_serial
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import NotInitialisedError
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_secret, put_secret
from pharos.wire.pki.issue import make_web_certificate
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.tls import Credentials

WEB_KEY: Final = "web-key"
WEB_CERTIFICATE: Final = "web-certificate"
"""Names of the two secrets. The certificate is none, and stays beside its key so that no other is ever read with it."""
_VERSION: Final = 1
# A browser was told to believe this one, so it is replaced late: a month is time to tell it anew.
RENEWED_BEFORE: Final = datetime.timedelta(days=30)


def web_credentials(db: Database, vault: Vault, *, now: datetime.datetime) -> Credentials:
    """Return the credentials of the web edge; made in this transaction where there are none, or they end soon.

    Raises: StateFileError — a secret does not open.
    """
    found = _stored(db, vault)
    return found if found is not None and not web_due(found, now=now) else _make(db, vault, now)


def web_due(credentials: Credentials, *, now: datetime.datetime) -> bool:
    """Tell whether the certificate ends within a month."""
    return credentials.certificate.not_valid_after_utc - RENEWED_BEFORE <= now


def _stored(db: Database, vault: Vault) -> Credentials | None:
    def secret(name: str) -> bytes:
        version, wrapped = get_secret(db, name)
        return vault.unwrap(name, version, wrapped)

    try:
        return Credentials(certificate=certificate_from_der(secret(WEB_CERTIFICATE)), key=key_from_der(secret(WEB_KEY)))
    except NotInitialisedError:
        return None


def _make(db: Database, vault: Vault, now: datetime.datetime) -> Credentials:
    key = generate_key()
    certificate = make_web_certificate(key, now=now, serial=new_serial())
    for name, secret in ((WEB_KEY, key_to_der(key)), (WEB_CERTIFICATE, certificate_to_der(certificate))):
        put_secret(db, name, _VERSION, vault.wrap(name, _VERSION, secret))
    return Credentials(certificate=certificate, key=key)
