"""From the node's flight to the client's Finished: the target listens all the while, and its end is the node's."""

from __future__ import annotations

import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.connection import HandshakeCompleted
from pharos.wire.reality.relaying import BROKEN, STRANGER_READ, RelayLimits, mirrored_reset
from pharos.wire.reality.server import ServerConnection


async def finish_handshake(
    client: trio.SocketStream, target: trio.SocketStream, connection: ServerConnection, limits: RelayLimits
) -> bool:
    """Send the flight and wait for the client's Finished; says whether it came. Owns neither stream.

    Until then the client's octets go to the target as well. Whoever sends anything but a Finished is answered by an
    alert as the target would, and sees the connection end when and as the target ends it.
    """
    completed = False

    async def wait_for_finished() -> None:
        nonlocal completed
        try:
            with mirrored_reset(client, target):
                completed = await _wait_for_finished(client, target, connection)
        except BROKEN:
            scope.cancel()

    async def drain() -> None:
        try:
            with mirrored_reset(client, target):
                while await target.receive_some(STRANGER_READ):
                    pass
        except BROKEN:
            pass
        scope.cancel()

    with trio.move_on_after(limits.handshake_timeout) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await wait_for_finished()
            nursery.cancel_scope.cancel()
    return completed


async def _wait_for_finished(
    client: trio.SocketStream, target: trio.SocketStream, connection: ServerConnection
) -> bool:
    await client.send_all(connection.take_output())
    # What came behind the hello has gone to the target with it.
    data: bytes | bytearray = b""
    failed = False
    while True:
        try:
            completed = not failed and isinstance(connection.next_event(), HandshakeCompleted)
        except RemoteProtocolError:
            failed, completed = True, False
        if output := connection.take_output():
            await client.send_all(output)
        if completed:
            return True
        await target.send_all(data)
        data = await client.receive_some(STRANGER_READ)
        if not data:
            await target.send_eof()
            await trio.sleep_forever()
        if not failed:
            connection.receive(data)
