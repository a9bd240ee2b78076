"""The device's end of a passage."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpclib.client
import trio

from pharos.wire.errors import LinkLostError
from pharos.wire.ids import FleetId, TicketId
from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.keys import KeyPair
from pharos.wire.noise.stream import shake_hands
from pharos.wire.passage.carrier import open_call
from pharos.wire.passage.metadata import PassageRequest, Purpose
from pharos.wire.passage.stream import OnNote, PassageStream, ignore_note


@asynccontextmanager
async def open_passage(
    channel: grpclib.client.Channel,
    *,
    purpose: Purpose,
    fleet: FleetId,
    helm_key: bytes,
    static: KeyPair | None = None,
    psk: bytes | None = None,
    ticket_id: TicketId | None = None,
    on_note: OnNote = ignore_note,
    generate: Callable[[], KeyPair] = KeyPair.generate,
) -> AsyncIterator[PassageStream]:
    """Open a passage to the helm that owns ``helm_key``, over a channel to a beacon.

    A device gives its ``static`` key, an enrolment ``psk`` and ``ticket_id``, a login nothing. The block is entered
    when helm has proven itself; helm takes notice of the passage once something was sent in it. When the block ends,
    and nothing has failed, so does the passage: an authenticated end, the end of the call, helm's status, all within a
    second. The caller owns timeouts: a beacon can stay silent for ever.

    Raises:
        LinkRefusedError — helm or the beacon said no. helm says why to nobody but its audit.
        LinkLostError — helm cannot be reached, or went away meanwhile.
        RemoteProtocolError — the answer is not that helm's.
    """
    request = PassageRequest(purpose=purpose, fleet=fleet, ticket_id=ticket_id)
    handshake = Handshake(
        purpose.protocol,
        initiator=True,
        prologue=request.prologue,
        static=static,
        remote_static=helm_key,
        psks=() if psk is None else (psk,),
        generate=generate,
    )
    async with open_call(channel, request) as frames:
        try:
            await frames.send_frame(handshake.write())
            await frames.wait_accepted()
            await shake_hands(frames, handshake)
        except trio.BrokenResourceError as error:
            raise LinkLostError(f"the passage was not opened: {error}") from error
        async with PassageStream(frames, handshake, on_note=on_note) as stream:
            yield stream
