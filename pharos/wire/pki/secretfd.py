"""Hand a private key to OpenSSL, which takes it by path only, without its ever being a file.

The path names a descriptor of this process: a memfd where the system has it (Linux), else a pipe. Neither is in any
file system, neither is inherited, and either is gone when the descriptor is closed, which is at once.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import LocalProtocolError


def load_key_pair(
    context: ssl.SSLContext, chain: tuple[x509.Certificate, ...], key: ec.EllipticCurvePrivateKey
) -> None:
    """Make `context` present `chain`, its leaf first, and sign with `key`."""
    certificates = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    hand_over = memfd_path if hasattr(os, "memfd_create") else pipe_path
    # Two descriptors, because a pipe can be read only once and OpenSSL opens each path for itself.
    with hand_over(certificates) as certificates_path, hand_over(secret) as secret_path:
        context.load_cert_chain(certificates_path, secret_path)


@contextmanager
def memfd_path(data: bytes) -> Iterator[str]:
    """Yield a path that reads as `data`, of an anonymous file in memory (memfd_create(2), close-on-exec)."""
    with os.fdopen(os.memfd_create("pharos"), "wb") as memory:
        memory.write(data)
        memory.flush()
        yield f"/proc/self/fd/{memory.fileno()}"


@contextmanager
def pipe_path(data: bytes) -> Iterator[str]:
    """Yield a path that reads as `data` once, of a pipe that nothing inherits.

    Raises: LocalProtocolError — a pipe does not hold so much: 16 KiB on macOS, 64 KiB elsewhere. A chain and a key
    take 3 KiB, and to wait for a reader that is ourselves would be for ever.
    """
    reader, writer = os.pipe()
    try:
        try:
            os.set_blocking(writer, False)
            written = os.write(writer, data)
        finally:
            os.close(writer)
        if written != len(data):
            raise LocalProtocolError(f"{len(data)} bytes do not fit into a pipe")
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
