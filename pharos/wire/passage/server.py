"""helm's end of a passage."""

import enum
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from multidict import MultiDict

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId, FleetId, TicketId
from pharos.wire.noise.handshake import PSK_LENGTH, Handshake
from pharos.wire.noise.keys import KEY_LENGTH, KeyPair
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import CrowdedError, Door
from pharos.wire.passage.beaconpace import BeaconPace
from pharos.wire.passage.carrier import CallFrames, ServerCall
from pharos.wire.passage.metadata import PassageRequest, Purpose, key_id, read_metadata
from pharos.wire.passage.pace import FramePace
from pharos.wire.passage.session import SESSION_LIMIT as SESSION_LIMIT
from pharos.wire.passage.session import Session
from pharos.wire.rpc.limits import CLOSE_GRACE
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes

FIRST_MESSAGE_TIMEOUT: Final = 10 * SECONDS
CONFIRM_TIMEOUT: Final = 10 * SECONDS
"""From our handshake message to the first authentic frame: ten round trips of a bad mobile link."""
REFUSAL: Final = "passage"
"""All that a refused peer, or a beacon that tries things out, is ever told."""

BUSY: Final = "busy"
"""What is told to those who come while too many wait."""


class Trouble(enum.Enum):
    """What became of a passage that did not go well."""

    MALFORMED = "the request is malformed"
    CROWDED = "too many wait to be confirmed"
    HANDSHAKE = "the handshake failed"
    REPEATED = "the first message has come before"
    UNKNOWN_DEVICE = "no device has this key"
    FINGERPRINT = "the certificate is not this device's"
    UNCONFIRMED = "no authentic frame followed the handshake"
    BROKEN = "the session broke"


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


FindPsk = Callable[[TicketId], Awaitable[bytes | None]]
FindDevice = Callable[[bytes], Awaitable[DeviceRecord | None]]
Audit = Callable[[Incident], Awaitable[None]]


@asynccontextmanager
async def accept_passage(
    call: ServerCall,
    *,
    fleet: FleetId,
    keys: Sequence[KeyPair],
    door: Door,
    beacon: str,
    find_psk: FindPsk,
    find_device: FindDevice,
    audit: Audit,
    pace: BeaconPace | None = None,
    generate: Callable[[], KeyPair] = KeyPair.generate,
) -> AsyncIterator[AcceptedPassage]:
    """Take a call of ``pharos.relay.v1.Passage/Open`` as a passage, in the handler of that call.

    ``keys`` are helm's own static keys, two during a rotation; ``door`` and ``pace`` are helm's one, and ``beacon``
    names who carries the call. The block is entered with the first authentic transport frame, and not before: a first
    message can be a replay, so nothing may change by it. For the same reason ``find_psk`` and ``find_device`` must only
    look. When the block ends the peer gets an authenticated end, and a reset if the session broke; after 24 hours the
    block is cancelled.

    Raises: GRPCError — before the block: UNAUTHENTICATED and ``REFUSAL``, or UNAVAILABLE if too many wait at the door;
    the reason went to ``audit``. trio.BrokenResourceError — the carrier was lost.
    """
    pace = pace or BeaconPace()
    await pace.wait_for_call(beacon)
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
        with door.waiting(beacon, fingerprint):
            frames = CallFrames(call)
            wait = functools.partial(pace.wait_for_handshake, beacon)
            handshake = await _read_first_message(frames, request, keys, door, wait, find_psk, generate)
            if request.purpose is Purpose.DEVICE:
                device = await _identify(handshake, find_device)
                verify_fingerprint(fingerprint, device)
            session = await _confirm(frames, handshake)
    except CrowdedError as crowded:
        await audit(incident(Trouble.CROWDED, str(crowded), None))
        # Not a refusal: it is said before anything was read, and the peer is to come again.
        raise GRPCError(Status.UNAVAILABLE, BUSY) from crowded
    except _RefusedError as refused:
        raise await _refuse(audit, incident(refused.trouble, refused.detail, device)) from refused
    try:
        try:
            # The session ends a little earlier by itself, and better: this is for a block that does not heed it.
            with trio.move_on_after(SESSION_LIMIT + 2 * CLOSE_GRACE):
                yield AcceptedPassage(session, request=request, device=device, fingerprint=fingerprint)
        finally:
            await session.aclose()
    except trio.BrokenResourceError:
        if session.failure is None:
            raise
    if session.failure is not None:
        await audit(incident(Trouble.BROKEN, str(session.failure), device))


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
    keys: Sequence[KeyPair],
    door: Door,
    wait: Callable[[], Awaitable[None]],
    find_psk: FindPsk,
    generate: Callable[[], KeyPair],
) -> Handshake:
    first: bytes | None = None
    try:
        with trio.move_on_after(FIRST_MESSAGE_TIMEOUT):
            first = await frames.receive_frame()
        if first is None:
            raise RemoteProtocolError("there was no first message")
        # Every pattern begins with the device's ephemeral key.
        named, message, ephemeral = first[:1], first[1:], first[1 : 1 + KEY_LENGTH]
        meant = [key for key in keys if bytes((key_id(key.public),)) == named]
        if not meant:
            raise RemoteProtocolError("the first message is for a key that we do not have")
        if door.is_repeat(ephemeral):
            raise _RefusedError(Trouble.REPEATED, f"ephemeral {ephemeral.hex()}")
        psk: bytes | None = None
        if request.ticket_id is not None:
            # An unknown ticket gets a psk that nobody knows, so that it fails where and as a wrong secret does.
            psk = await find_psk(request.ticket_id) or random_bytes(PSK_LENGTH)
        await wait()
        return _read_by_one_of(meant, message, request, psk, generate)
    except RemoteProtocolError as error:
        raise _RefusedError(Trouble.HANDSHAKE, str(error)) from error


def _read_by_one_of(
    keys: Sequence[KeyPair],
    message: bytes,
    request: PassageRequest,
    psk: bytes | None,
    generate: Callable[[], KeyPair],
) -> Handshake:
    """Read the first message with the key that it means; one rotation in 256 has two of the same id.

    Raises: RemoteProtocolError — it is for none of them.
    """
    *others, last = keys
    for key in others:
        with suppress(RemoteProtocolError):
            return _read_by(key, message, request, psk, generate)
    return _read_by(last, message, request, psk, generate)


def _read_by(
    key: KeyPair, message: bytes, request: PassageRequest, psk: bytes | None, generate: Callable[[], KeyPair]
) -> Handshake:
    handshake = Handshake(
        request.purpose.protocol,
        initiator=False,
        prologue=request.prologue,
        static=key,
        psks=() if psk is None else (psk,),
        generate=generate,
    )
    if handshake.read(message):
        raise RemoteProtocolError("the first message carries a payload; none is agreed on")
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


async def _confirm(frames: CallFrames, handshake: Handshake) -> Session:
    """Answer, and wait until a frame shows that the first message was no replay."""
    try:
        answer = handshake.write()
    except RemoteProtocolError as error:
        raise _RefusedError(Trouble.HANDSHAKE, str(error)) from error
    with trio.move_on_after(CONFIRM_TIMEOUT):
        await frames.send_frame(answer)
        session = Session(frames, handshake, device=False, pace=FramePace())
        try:
            await session.wait_confirmed()
        except trio.BrokenResourceError:
            if session.failure is None:
                raise
            raise _RefusedError(Trouble.UNCONFIRMED, str(session.failure)) from session.failure
        return session
    raise _RefusedError(Trouble.UNCONFIRMED, f"none within {CONFIRM_TIMEOUT:g} s")
