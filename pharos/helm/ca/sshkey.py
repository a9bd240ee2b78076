"""Helm's own SSH key: what an operator may put into authorized_keys instead of a key of his."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_ssh_key() -> bytes:
    """Return a new Ed25519 key in OpenSSH's format (PROTOCOL.key), which ssh reads without asking for a passphrase."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def ssh_public_line(key: bytes, comment: str) -> str:
    """Return the line for authorized_keys. Raises: ValueError — that is no Ed25519 key of OpenSSH's format."""
    private = serialization.load_ssh_private_key(key, password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{public.decode()} {comment}"
