"""From the node's flight to the client's Finished, seen from the client; the target goes on listening all the while."""

from __future__ import annotations

import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.connection import HandshakeCompleted
from pharos.wire.reality.relaying import STRANGER_READ
from pharos.wire.reality.server import ServerConnection


async def finish_handshake(
    client: trio.SocketStream, target: trio.SocketStream, connection: ServerConnection, answered: trio.Event
) -> None:
    """Send the flight, and return once the client's Finished is there. Owns neither stream.

    ``answered`` is set when the client has the flight, and the answer to what came behind its hello.

    Until then the client's octets go to the target as well. Whoever sends anything but a Finished is answered by an
    alert as the target would, and then waited for, for ever: it is the target's end that ends the connection, when and
    as the target ends it, and the caller who sees that.

    Raises: trio.BrokenResourceError.
    """
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
            return
        answered.set()
        if data:
            await target.send_all(data)
        data = await client.receive_some(STRANGER_READ)
        if not data:
            await target.send_eof()
            await trio.sleep_forever()
        if not failed:
            connection.receive(data)
