"""Two HTTP/2 machines, mouth to ear."""

from typing import Any

from pharos.wire.rpc.flow import INNER
from pharos.wire.rpc.hotpath import HotMachine
from pharos.wire.rpc.machine import Machine


def pair(kind: type[Machine] = HotMachine, *, max_streams: int = 100) -> tuple[Any, Any]:
    """A client and a server that have exchanged settings."""
    client = kind(client_side=True, windows=INNER, max_streams=max_streams)
    server = kind(client_side=False, windows=INNER, max_streams=max_streams)
    client.initiate_connection()
    server.initiate_connection()
    for _ in range(2):
        move(client, server)
        move(server, client)
    return client, server


def move(source: Any, target: Any) -> list[Any]:
    """Hand the output of one machine to the other, and return the events."""
    events = target.receive_data(bytes(source.data_to_send()))
    while getattr(target, "unparsed", False):
        events += target.receive_data(b"")
    return events
