"""An HTTP proxy on loopback that knows CONNECT, whose streams go through a tunnel."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import Final, NoReturn

import trio

from pharos.wire.errors import RemoteProtocolError, TruncatedError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.connect import ConnectServer
from pharos.wire.reality.front import (
    LOOPBACK,
    READ_BYTES,
    TUNNEL_ERRORS,
    Failure,
    Limits,
    OpenTcp,
    dismiss,
    failure_of,
    serve_front,
)
from pharos.wire.reality.relay import Early, open_for, relay
from pharos.wire.reality.socks import Credentials

STATUSES: Final = {
    Failure.REFUSED: HTTPStatus.BAD_GATEWAY,
    Failure.NETWORK_UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    Failure.HOST_UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    Failure.TIMED_OUT: HTTPStatus.GATEWAY_TIMEOUT,
    Failure.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    Failure.OTHER: HTTPStatus.BAD_GATEWAY,
}


async def serve_http_proxy(
    *,
    open_tcp: OpenTcp,
    host: str = LOOPBACK,
    port: int = 0,
    credentials: Credentials | None = None,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; ``started`` with the address.

    Without ``credentials`` every user and every program of this machine may use the tunnel.

    Raises: ConfigError — the address is not of loopback; AddressError — it cannot be listened on.
    """
    limits = limits or Limits()
    handle = functools.partial(_handle, open_tcp=open_tcp, credentials=credentials, limits=limits)
    await serve_front(handle, host, port, limits, task_status)


async def _handle(
    client: trio.SocketStream, *, open_tcp: OpenTcp, credentials: Credentials | None, limits: Limits
) -> None:
    machine = ConnectServer(credentials)
    with trio.fail_after(limits.request_timeout):
        address = await _receive_request(client, machine)
    early = Early(machine.take_early())
    try:
        upstream = await open_for(client, open_tcp, address.host, address.port, limits, early)
    except (*TUNNEL_ERRORS, trio.TooSlowError) as error:
        await dismiss(client, machine.fail(STATUSES[failure_of(error)]))
        return
    async with upstream:
        await client.send_all(machine.succeed())
        await relay(client, upstream, limits, early)


async def _receive_request(client: trio.SocketStream, machine: ConnectServer) -> Address:
    while True:
        data = await client.receive_some(READ_BYTES)
        if not data:
            raise TruncatedError("HTTP: the client ended before it said what it wants")
        try:
            address = machine.receive_data(bytes(data))
        except RemoteProtocolError:
            await dismiss(client, machine.take_output())
            raise
        if address is not None:
            return address
