"""An HTTP proxy on loopback that knows CONNECT, whose streams go through a tunnel."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import Final, NoReturn

import trio

from pharos.wire.reality.connect import ConnectServer
from pharos.wire.reality.front import LOOPBACK, Failure, Limits, OpenTcp, check_openness, serve_front
from pharos.wire.reality.relay import connect, receive_request
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
    anywhere: bool = False,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; ``started`` with the address.

    Without ``credentials`` every user and every program of this machine may use the tunnel; with them the address may
    be ``anywhere``.

    Raises: ConfigError — the address is not of loopback, or is open to all; AddressError — it cannot be listened on.
    """
    limits = limits or Limits()
    check_openness(anywhere=anywhere, credentials=credentials)
    handle = functools.partial(_handle, open_tcp=open_tcp, credentials=credentials, limits=limits)
    await serve_front(handle, host, port, limits, task_status, anywhere=anywhere)


async def _handle(
    client: trio.SocketStream, *, open_tcp: OpenTcp, credentials: Credentials | None, limits: Limits
) -> None:
    machine = ConnectServer(credentials)
    with trio.fail_after(limits.request_timeout):
        address = await receive_request(client, machine, "HTTP")
    await connect(client, machine, address, open_tcp=open_tcp, limits=limits, answers=STATUSES)
