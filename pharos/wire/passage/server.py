"""helm's end of a passage."""

import enum
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from multidict import MultiDict

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId, FleetId, TicketId
from pharos.wire.noise.handshake import PSK_LENGTH, Handshake
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.carrier import CallFrames, ServerCall
from pharos.wire.passage.metadata import PassageRequest, Purpose, read_metadata
from pharos.wire.passage.stream import OnNote, PassageStream, ignore_note
from pharos.wire.units import HOURS, SECONDS

FIRST_MESSAGE_TIMEOUT: Final = 10 * SECONDS
CONFIRM_TIMEOUT: Final = 10 * SECONDS
"""From our handshake message to the first authentic frame: ten round trips of a bad mobile link."""
SESSION_LIMIT: Final = 24 * HOURS
"""security.md §2b; a device opens a new passage well before."""

REFUSAL: Final = "passage"
"""All that a refused peer, or a beacon that tries things out, is ever told."""


class Trouble(enum.Enum):
    """What became of a passage that did not go well."""

    MALFORMED = "the request is malformed"
    HANDSHAKE = "the handshake failed"
    UNKNOWN_DEVICE = "no device has this key"
    FINGERPRINT = "the certificate is not this device's"
    UNCONFIRMED = "no authentic frame followed the handshake"
    BROKEN = "the session broke"


@attrs.frozen(kw_only=True)
class DeviceRecord:
    """What helm knows of the owner of a static key."""

    id: DeviceId
    fingerprints: frozenset[str]
    """SHA-256 of each of its valid certificates in lower-case hexadecimal: two, during a renewal."""


@attrs.frozen(kw_only=True)
class Incident:
    """For the audit, which has to limit how many of these it keeps: a beacon can make any number."""

    trouble: Trouble
    detail: str
    request: PassageRequest | None = None
    """None if it was malformed."""
    fingerprint: str | None = None
    """What the beacon says."""
    device: DeviceId | None = None
    """Whose static key the first message named. Anybody can replay that message: only BROKEN blames the device, or
    whoever sits between."""


@attrs.frozen(kw_only=True)
class AcceptedPassage:
    """A passage whose peer has proven to be there now."""

    stream: PassageStream
    request: PassageRequest
    device: DeviceRecord | None
    """None in an enrolment or a login."""
    fingerprint: str | None
    """Of the certificate that the peer showed to the beacon, says the beacon; None if it showed none."""


FindPsk = Callable[[TicketId], Awaitable[bytes | None]]
FindDevice = Callable[[bytes], Awaitable[DeviceRecord | None]]
Audit = Callable[[Incident], Awaitable[None]]


@asynccontextmanager
async def accept_passage(
    call: ServerCall,
    *,
    fleet: FleetId,
    static: KeyPair,
    find_psk: FindPsk,
    find_device: FindDevice,
    audit: Audit,
    on_note: OnNote = ignore_note,
    generate: Callable[[], KeyPair] = KeyPair.generate,
) -> AsyncIterator[AcceptedPassage]:
    """Take a call of ``pharos.relay.v1.Passage/Open`` as a passage, in the handler of that call.

    The block is entered with the first authentic transport frame, and not before: a first message can be a replay, so
    nothing may change by it. For the same reason ``find_psk`` and ``find_device`` must only look. When the block ends
    the peer gets an authenticated end; after 24 hours the block is cancelled.

    Raises: GRPCError — always UNAUTHENTICATED and ``REFUSAL``, before the block or after one whose session broke; the
    reason went to ``audit``. trio.BrokenResourceError — the carrier was lost.
    """
    try:
        request, fingerprint = read_metadata(MultiDict(call.metadata or ()), fleet)
    except RemoteProtocolError as error:
        raise await _refuse(audit, Incident(trouble=Trouble.MALFORMED, detail=str(error))) from error

    def incident(trouble: Trouble, detail: str, device: DeviceRecord | None) -> Incident:
        return Incident(
            trouble=trouble,
            detail=detail,
            request=request,
            fingerprint=fingerprint,
            device=None if device is None else device.id,
        )

    device: DeviceRecord | None = None
    try:
        frames = CallFrames(call)
        handshake = await _read_first_message(frames, request, static, find_psk, generate)
        if request.purpose is Purpose.DEVICE:
            device = await _identify(handshake, find_device)
            verify_fingerprint(fingerprint, device)
        stream = await _confirm(frames, handshake, on_note)
    except _RefusedError as refused:
        raise await _refuse(audit, incident(refused.trouble, refused.detail, device)) from refused
    try:
        async with stream:
            with trio.move_on_after(SESSION_LIMIT):
                yield AcceptedPassage(stream=stream, request=request, device=device, fingerprint=fingerprint)
    except trio.BrokenResourceError:
        if stream.failure is None:
            raise
    if stream.failure is not None:
        raise await _refuse(audit, incident(Trouble.BROKEN, str(stream.failure), device)) from stream.failure


class _RefusedError(Exception):
    """Ends the acceptance; never leaves this module."""

    def __init__(self, trouble: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble
        self.detail = detail


async def _refuse(audit: Audit, incident: Incident) -> GRPCError:
    await audit(incident)
    return GRPCError(Status.UNAUTHENTICATED, REFUSAL)


async def _read_first_message(
    frames: CallFrames,
    request: PassageRequest,
    static: KeyPair,
    find_psk: FindPsk,
    generate: Callable[[], KeyPair],
) -> Handshake:
    message: bytes | None = None
    try:
        with trio.move_on_after(FIRST_MESSAGE_TIMEOUT):
            message = await frames.receive_frame()
        if message is None:
            raise RemoteProtocolError("there was no first message")
        psks: tuple[bytes, ...] = ()
        if request.ticket_id is not None:
            # An unknown ticket gets a psk that nobody knows, so that it fails where and as a wrong secret does.
            psks = (await find_psk(request.ticket_id) or secrets.token_bytes(PSK_LENGTH),)
        handshake = Handshake(
            request.purpose.protocol,
            initiator=False,
            prologue=request.prologue,
            static=static,
            psks=psks,
            generate=generate,
        )
        if handshake.read(message):
            raise RemoteProtocolError("the first message carries a payload; none is agreed on")
    except RemoteProtocolError as error:
        raise _RefusedError(Trouble.HANDSHAKE, str(error)) from error
    return handshake


async def _identify(handshake: Handshake, find_device: FindDevice) -> DeviceRecord:
    assert handshake.remote_static is not None, "IK's first message carries it"
    device = await find_device(handshake.remote_static)
    if device is None:
        raise _RefusedError(Trouble.UNKNOWN_DEVICE, f"key {handshake.remote_static.hex()}")
    return device


def verify_fingerprint(fingerprint: str | None, device: DeviceRecord) -> str:
    """Return ``fingerprint`` if it is of a certificate of ``device``.

    The static key alone says who the device is. A beacon that names another certificate is lying, or the device's key
    was copied to where its certificate is not.
    """
    if fingerprint not in device.fingerprints:
        raise _RefusedError(Trouble.FINGERPRINT, f"certificate {fingerprint}")
    return fingerprint


async def _confirm(frames: CallFrames, handshake: Handshake, on_note: OnNote) -> PassageStream:
    """Answer, and wait until a frame shows that the first message was no replay."""
    try:
        await frames.send_frame(handshake.write())
    except RemoteProtocolError as error:
        raise _RefusedError(Trouble.HANDSHAKE, str(error)) from error
    stream = PassageStream(frames, handshake, on_note=on_note)
    with trio.move_on_after(CONFIRM_TIMEOUT):
        try:
            await stream.wait_confirmed()
        except trio.BrokenResourceError:
            if stream.failure is None:
                raise
            raise _RefusedError(Trouble.UNCONFIRMED, str(stream.failure)) from stream.failure
        return stream
    raise _RefusedError(Trouble.UNCONFIRMED, f"none within {CONFIRM_TIMEOUT:g} s")
