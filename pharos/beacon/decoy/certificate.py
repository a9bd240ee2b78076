"""The certificate that strangers are shown: the operator's, read again when its files change, or one of our own."""

from __future__ import annotations

import datetime
import logging
import os
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pharos.wire.chance import draw_bits
from pharos.wire.errors import ConfigError
from pharos.wire.files import StateFile
from pharos.wire.pki.issue import make_web_certificate
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.profile import SERIAL_BITS
from pharos.wire.pki.secretfd import load_key_pair
from pharos.wire.units import DAYS, MINUTES

log = logging.getLogger(__name__)

# Certificates of public authorities are replaced weeks before they end; nobody waits for a look at two files.
LOOK: Final = 10 * MINUTES
# Our own lasts a year. A site that lets its certificate run out is nothing rare, but browsers say so.
RENEW_BEFORE: Final = datetime.timedelta(seconds=30 * DAYS)

# What a common recipe for web servers allows, where TLS 1.2 is spoken: forward secrecy and AEAD, the client chooses.
_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)

Clock = Callable[[], datetime.datetime]


class DecoyCertificate:
    """Gives the TLS context for the next stranger."""

    def __init__(self, load: Callable[[ssl.SSLContext], None], stamp: Callable[[], object], *, now: float) -> None:
        """``load`` gives a context its certificate, ``stamp`` says whether another one is there; both may fail.

        Raises: OSError, ssl.SSLError — the certificate cannot be had.
        """
        self._load, self._stamp = load, stamp
        self._seen = stamp()
        self._looked_at = now
        self._context = _context(load)

    def context(self, now: float) -> ssl.SSLContext:
        """Return it; ``now`` is in seconds and never goes back. A certificate that cannot be read changes nothing."""
        if now >= self._looked_at + LOOK:
            self._looked_at = now
            try:
                if (seen := self._stamp()) != self._seen:
                    self._context, self._seen = _context(self._load), seen
                    log.info("the decoy shows a new certificate")
            except (OSError, ssl.SSLError) as error:
                log.warning("the decoy's certificate cannot be read, the last one stays: %s", error)
        return self._context


def operators_certificate(certificate: str, key: str, *, now: float) -> DecoyCertificate:
    """Show the certificate chain in a PEM file; ``now`` as for `DecoyCertificate.context`.

    Raises: ConfigError — the files are none, or do not belong together.
    """

    def load(context: ssl.SSLContext) -> None:
        context.load_cert_chain(certificate, key, password=_no_password)

    def stamp() -> object:
        return [(found.st_mtime_ns, found.st_size, found.st_ino) for found in map(os.stat, (certificate, key))]

    try:
        return DecoyCertificate(load, stamp, now=now)
    except (OSError, ValueError) as error:
        raise ConfigError(f"decoy_certificate = {certificate!r}, decoy_key = {key!r}: {error}") from error


def own_certificate(state: Path, *, wall: Clock, now: float) -> DecoyCertificate:
    """Show a self-signed certificate for ``localhost``, kept in ``state``: one that changed at each start would tell.

    Raises: StateFileError — it is damaged.
    """
    file = StateFile(state / "decoy.json", "pharos/beacon-decoy/v1", "remove it, and another one is made")
    body = file.load()

    def stamp() -> object:
        nonlocal body
        if body is not None:
            certificate = certificate_from_der(b64decode(body["certificate"]))
            if wall() < certificate.not_valid_after_utc - RENEW_BEFORE:
                return body["certificate"]
        key = generate_key()
        # 0 is no serial (RFC 5280 §4.1.2.2).
        serial = draw_bits(SERIAL_BITS) or 1
        der = certificate_to_der(make_web_certificate(key, now=wall(), serial=serial))
        body = {"certificate": b64encode(der).decode(), "key": b64encode(key_to_der(key)).decode()}
        file.save(body)
        return body["certificate"]

    def load(context: ssl.SSLContext) -> None:
        assert body is not None, "it is stamped first"
        certificate = certificate_from_der(b64decode(body["certificate"]))
        load_key_pair(context, (certificate,), key_from_der(b64decode(body["key"])))

    return DecoyCertificate(load, stamp, now=now)


def _context(load: Callable[[ssl.SSLContext], None]) -> ssl.SSLContext:
    """Return a context that asks nobody for a certificate, and knows nothing of the fleet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options &= ~ssl.Options.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["h2", "http/1.1"])
    # As for members: by default a stranger may choose a group that costs our only thread 180 ms (CVE-2002-20001).
    context.set_ecdh_curve("prime256v1")
    load(context)
    return context


def _no_password() -> str:
    # Without it OpenSSL would ask on the terminal for the password of a key that has one.
    return ""
