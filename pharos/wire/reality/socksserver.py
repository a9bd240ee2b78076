"""A SOCKS 5 proxy on loopback, whose streams and datagrams go through a tunnel."""

from __future__ import annotations

import functools
from typing import Final, NoReturn

import trio

from pharos.wire.reality.front import LOOPBACK, Failure, Limits, OpenTcp, OpenUdp, check_openness, dismiss, serve_front
from pharos.wire.reality.relay import connect, receive_request
from pharos.wire.reality.socks import AssociateRequest, ConnectRequest, Credentials, Reply, SocksServer
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
    anywhere: bool = False,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; ``started`` with the address. Without ``open_udp`` datagrams are refused.

    Without ``credentials`` every user and every program of this machine may use the tunnel; with them the address may
    be ``anywhere``.

    Raises: ConfigError — the address is not of loopback, or is open to all; AddressError — it cannot be listened on.
    """
    limits = limits or Limits()
    check_openness(anywhere=anywhere, credentials=credentials)
    handle = functools.partial(_handle, open_tcp=open_tcp, open_udp=open_udp, credentials=credentials, limits=limits)
    await serve_front(handle, host, port, limits, task_status, anywhere=anywhere)


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
        request = await receive_request(client, machine, "SOCKS")
    match request:
        case ConnectRequest(address):
            await connect(client, machine, address, open_tcp=open_tcp, limits=limits, answers=REPLIES)
        case AssociateRequest():
            if open_udp is None:
                await dismiss(client, machine.fail(Reply.COMMAND_NOT_SUPPORTED))
                return
            await serve_association(client, machine, request, open_udp, limits)
