"""What is beyond the nodes: servers that send back what they get, by TCP and by UDP."""

from __future__ import annotations

import contextlib
import socket

import trio

from tests.system.lab.network import Lab

PORT = 5007


async def serve(lab: Lab, host: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve at a host until cancelled."""
    namespace, address = lab.namespace(host), lab.host(host).address4
    datagrams = await namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with datagrams:
        await datagrams.bind((address, PORT))
        async with await namespace.listen(address, PORT) as listener, trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, _echo, [listener])
            task_status.started()
            while True:
                data, source = await datagrams.recvfrom(2048)
                # Who asked may be gone, and says so by ICMP.
                with contextlib.suppress(OSError):
                    await datagrams.sendto(data, source)


async def _echo(stream: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        async for chunk in stream:
            await stream.send_all(chunk)
