"""A SOCKS 5 proxy on loopback, whose streams and datagrams go through a tunnel."""

from __future__ import annotations

import functools
from typing import Final, NoReturn

import trio

from pharos.wire.errors import RemoteProtocolError, TruncatedError
from pharos.wire.reality.front import (
    LOOPBACK,
    READ_BYTES,
    TUNNEL_ERRORS,
    Failure,
    Limits,
    OpenTcp,
    OpenUdp,
    dismiss,
    failure_of,
    serve_front,
)
from pharos.wire.reality.relay import Early, open_for, relay
from pharos.wire.reality.socks import AssociateRequest, ConnectRequest, Credentials, Reply, SocksRequest, SocksServer
from pharos.wire.reality.socksudp import serve_association

REPLIES: Final = {
    Failure.REFUSED: Reply.CONNECTION_REFUSED,
    Failure.NETWORK_UNREACHABLE: Reply.NETWORK_UNREACHABLE,
    Failure.HOST_UNREACHABLE: Reply.HOST_UNREACHABLE,
    Failure.TIMED_OUT: Reply.TTL_EXPIRED,
    Failure.NOT_ALLOWED: Reply.NOT_ALLOWED,
    Failure.OTHER: Reply.GENERAL_FAILURE,
}


async def serve_socks(
    *,
    open_tcp: OpenTcp,
    open_udp: OpenUdp | None = None,
    host: str = LOOPBACK,
    port: int = 0,
    credentials: Credentials | None = None,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; ``started`` with the address. Without ``open_udp`` datagrams are refused.

    Without ``credentials`` every user and every program of this machine may use the tunnel.

    Raises: ConfigError — the address is not of loopback; AddressError — it cannot be listened on.
    """
    limits = limits or Limits()
    handle = functools.partial(_handle, open_tcp=open_tcp, open_udp=open_udp, credentials=credentials, limits=limits)
    await serve_front(handle, host, port, limits, task_status)


async def _handle(
    client: trio.SocketStream,
    *,
    open_tcp: OpenTcp,
    open_udp: OpenUdp | None,
    credentials: Credentials | None,
    limits: Limits,
) -> None:
    machine = SocksServer(credentials)
    with trio.fail_after(limits.request_timeout):
        request = await _receive_request(client, machine)
    match request:
        case ConnectRequest(address):
            early = Early(machine.take_early())
            try:
                upstream = await open_for(client, open_tcp, address.host, address.port, limits, early)
            except (*TUNNEL_ERRORS, trio.TooSlowError) as error:
                await dismiss(client, machine.fail(REPLIES[failure_of(error)]))
                return
            async with upstream:
                await client.send_all(machine.succeed())
                await relay(client, upstream, limits, early)
        case AssociateRequest():
            if open_udp is None:
                await dismiss(client, machine.fail(Reply.COMMAND_NOT_SUPPORTED))
                return
            await serve_association(client, machine, request, open_udp, limits)


async def _receive_request(client: trio.SocketStream, machine: SocksServer) -> SocksRequest:
    while True:
        data = await client.receive_some(READ_BYTES)
        if not data:
            raise TruncatedError("SOCKS: the client ended before it said what it wants")
        try:
            request = machine.receive_data(bytes(data))
        except RemoteProtocolError:
            await dismiss(client, machine.take_output())
            raise
        await client.send_all(machine.take_output())
        if request is not None:
            return request
