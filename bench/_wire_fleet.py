"""The fleet whose members the processes of bench.wire are; they share it by way of a folder, their second argument."""

import datetime
import functools
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from bench._rpc_ours import read_line, say
from pharos.wire.agent import Membership
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.keys import key_from_der, key_to_der
from pharos.wire.pki.roles import Identity, ListenerPolicy, Role
from pharos.wire.pki.tls import Credentials, client_context, server_context
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.rpc.transport import SecureStream, open_tls
from tests.support.pki import SampleFleet, make_fleet
from tests.support.rpc import HOST

HELM_KEY: Final = KeyPair.from_private_bytes(bytes([200] * 32))
DEVICE_KEY: Final = KeyPair.from_private_bytes(bytes([1] * 32))

# By the name of their files. grpc.aio's workers look for "server" and "client"; "direct" is helm's own port for
# devices, which only a relay's certificate can serve.
MEMBERS: Final = {
    "server": Role.NODE,
    "client": Role.CONTROLLER,
    "relay": Role.RELAY,
    "direct": Role.RELAY,
    "device": Role.DEVICE,
}


def make(folder: Path, fleet: SampleFleet | None = None) -> str:
    """Fill ``folder``; return what a TLS client asks the server for."""
    fleet = fleet or make_fleet()
    device_ca = fleet.trust.device_ca
    assert device_ca is not None
    for name, authority in (("root", fleet.trust.root), ("ca", fleet.trust.fleet_ca), ("device_ca", device_ca)):
        (folder / f"{name}.pem").write_bytes(_pem(authority))
    for name, role in MEMBERS.items():
        credentials = fleet.member(role, name)
        (folder / f"{name}.pem").write_bytes(_pem(credentials.certificate))
        (folder / f"{name}.der").write_bytes(key_to_der(credentials.key))
        (folder / f"{name}.key").write_bytes(
            credentials.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    server_name = fleet.identity(MEMBERS["server"], "server").dns_name
    assert server_name is not None
    return server_name


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


# In a worker.


def _certificate(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((Path(sys.argv[2]) / f"{name}.pem").read_bytes())


@functools.cache
def trust() -> Trust:
    return Trust(root=_certificate("root"), fleet_ca=_certificate("ca"), device_ca=_certificate("device_ca"))


@functools.cache
def credentials(name: str) -> Credentials:
    key = key_from_der((Path(sys.argv[2]) / f"{name}.der").read_bytes())
    return Credentials(certificate=_certificate(name), key=key)


def identity(name: str) -> Identity:
    return Identity(fleet=trust().fleet, role=MEMBERS[name], id=name)


def membership(name: str) -> Membership:
    return Membership(identity=identity(name), credentials=credentials(name), trust=trust())


def server_name(name: str) -> str:
    """Return what a TLS client asks this member for."""
    dns_name = identity(name).dns_name
    assert dns_name is not None
    return dns_name


def listener_context(name: str, policy: ListenerPolicy) -> ssl.SSLContext:
    return server_context(credentials(name), trust=trust(), policy=policy)


@functools.cache
def dialling_context(name: str) -> ssl.SSLContext:
    return client_context(trust=trust(), credentials=credentials(name))


async def dial(name: str, port: int, *, by: str, context: ssl.SSLContext | None = None) -> SecureStream:
    """Open a stream to the member ``name`` as the member ``by``, with the whole check."""
    stream = await open_tls(HOST, port, context or dialling_context(by), server_hostname=server_name(name))
    authorize_peer(stream.peer_certificate or b"", trust=trust(), roles={MEMBERS[name]}, peer_id=name, now=now())
    return stream


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


Task = Callable[..., Awaitable[dict[str, Any]]]


async def answer_requests(tasks: Mapping[str, Task]) -> None:
    """Do what `bench.support.Worker.ask` asks for, until standard input ends."""
    while line := await read_line():
        request = json.loads(line)
        say(**await tasks[request.pop("task")](**request))


async def cpu() -> dict[str, Any]:
    """Return the seconds of CPU that this process has used so far."""
    return {"seconds": time.process_time()}
