"""One request to a relay's client port over real TLS, by a peer whose HTTP/2 checks nothing of what it sends."""

from __future__ import annotations

import ssl

import attrs
import h2.config
import h2.connection
import h2.events
import trio

from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import Credentials, client_context
from pharos.wire.rpc.h2stream import Headers
from pharos.wire.rpc.transport import open_tls
from tests.support.evilbeacon import HOST, RelayFleet
from tests.support.h2peer import ScriptedPeer


@attrs.frozen
class Request:
    """What to send, in this order; the request ends with it."""

    headers: Headers
    body: bytes = b""
    trailers: Headers | None = None
    ends: bool = True


async def ask(fleet: RelayFleet, request: Request, credentials: Credentials | None = None) -> str:
    """Send a request, and return what became of it: a gRPC status by number, ``open``, or how it was refused."""
    async with await _dial(fleet, credentials) as stream:
        peer = ScriptedPeer(stream, client_side=True)
        peer.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        await peer.start()
        peer.h2.send_headers(1, request.headers)
        if request.body:
            peer.h2.send_data(1, request.body)
        if request.trailers is not None:
            peer.h2.send_headers(1, request.trailers, end_stream=True)
        elif request.ends:
            peer.h2.end_stream(1)
        await peer.flush()
        return await _fate(peer)


async def _dial(fleet: RelayFleet, credentials: Credentials | None) -> trio.abc.Stream:
    trust = fleet.helm.authority.trust
    name = Identity(fleet=trust.fleet, role=Role.RELAY, id=fleet.relay.id).dns_name
    assert name is not None
    context = client_context(trust=trust, credentials=credentials)
    return await open_tls(HOST, fleet.relay.ingress_port, context, server_hostname=name)


async def _fate(peer: ScriptedPeer) -> str:
    try:
        while data := await peer.stream.receive_some(65536):
            for event in peer.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    headers = {str(name): str(value) for name, value in event.headers}
                    status = headers[":status"]
                    return headers.get("grpc-status", "open" if status == "200" else status)
                if isinstance(event, h2.events.StreamReset):
                    return "reset"
                if isinstance(event, h2.events.ConnectionTerminated):
                    return "goodbye"
            await peer.flush()
    except (trio.BrokenResourceError, ssl.SSLError):
        pass
    return "closed"
