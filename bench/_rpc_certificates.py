"""The certificates that the processes of bench.rpc share by way of a folder, their second argument."""

import functools
import ssl
import sys
from pathlib import Path

from tests.support.rpc import SERVER_NAME, Pems, ThrowawayCa


def make(folder: Path) -> None:
    """Fill ``folder``."""
    ca = ThrowawayCa()
    (folder / "ca.pem").write_bytes(ca.certificate)
    for file, name in (("server", SERVER_NAME), ("client", "client.test")):
        pems: Pems = ca.issue(name)
        (folder / f"{file}.pem").write_bytes(pems.certificate)
        (folder / f"{file}.key").write_bytes(pems.key)


def read(name: str) -> bytes:
    """Read one file, in a worker."""
    return (Path(sys.argv[2]) / name).read_bytes()


@functools.cache
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    return _filled(context, "server")


@functools.cache
def client_context() -> ssl.SSLContext:
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "client")


def _filled(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    folder = Path(sys.argv[2])
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(folder / "ca.pem")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context
