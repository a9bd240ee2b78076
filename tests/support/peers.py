"""Programs that we did not write, as peers: their certificates on disk, and whether they are here at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pharos.wire.pki.tls import Credentials

PACKAGES = {
    "gnutls-cli": "gnutls-bin",
    "h2load": "nghttp2-client",
    "nghttp": "nghttp2-client",
    "openssl": "openssl",
    "testssl": "testssl.sh",
}


def needed(program: str) -> str:
    """Return the path of a program, or skip the test with the way to get it."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is missing: apt install {PACKAGES[program]}")
    return path


@attrs.frozen
class Files:
    """Where a program finds a certificate and its key."""

    certificate: Path
    key: Path


def write_credentials(folder: Path, name: str, credentials: Credentials) -> Files:
    """Write a member's certificate and key for a program to read."""
    files = Files(folder / f"{name}.pem", folder / f"{name}.key")
    files.certificate.write_bytes(credentials.certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        credentials.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def write_certificates(path: Path, *certificates: x509.Certificate) -> Path:
    """Write certificates one after the other, as a program's trust anchors."""
    path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates))
    return path
