"""What a passage says about itself in the clear, and the prologue that binds both ends to it (passage.md §6)."""

import enum
import hashlib
import re
from typing import Any, Final, Self

import attrs
from multidict import MultiMapping

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.ids import FleetId, TicketId
from pharos.wire.seal.fields import length_prefixed
from pharos.wire.seal.ticket import TICKET_ID_LENGTH
from pharos.wire.units import MILLISECONDS, SECONDS

PURPOSE_HEADER: Final = "x-passage"
FINGERPRINT_HEADER: Final = "x-pharos-device-fp"
"""Set by the beacon alone: SHA-256 of the peer's verified certificate (DER) in lower-case hexadecimal."""

RUN_HEADER: Final = "x-pharos-run"
"""Told by helm to its relays on each tunnel: which run of it this is, eight random octets in lower-case hexadecimal."""

RETRY_HEADER: Final = "x-retry-ms"
"""With a refusal: after so many milliseconds to try again is worth it. gRPC's own name for it (proposal A6) is one that
grpclib keeps to itself."""
MAX_RETRY: Final = 60 * SECONDS
"""Nobody waits longer because a relay says so, which could keep a device away for ever with one word."""

_CONTEXT: Final = b"pharos/passage/v1"
_KEY_ID_CONTEXT: Final = b"pharos/passage/v1/key"
_ENROL: Final = re.compile(rf"enrol\.([0-9a-f]{{{2 * TICKET_ID_LENGTH}}})")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


def read_retry(text: object) -> float:
    """Return the seconds that a refusal asks for; 0 for one that asks for none, or for nonsense."""
    if not isinstance(text, str) or not (text.isascii() and text.isdecimal() and len(text) <= 9):
        return 0.0
    return min(int(text) * MILLISECONDS, MAX_RETRY)


class Purpose(enum.Enum):
    """What a passage is for; decides the Noise pattern."""

    DEVICE = "device"
    """An enrolled device, known by its static key."""
    ENROL = "enrol"
    """Whoever holds a ticket."""
    LOGIN = "login"
    """Anybody; who it is turns out inside."""

    @property
    def protocol(self) -> str:
        return _PROTOCOLS[self]


_PROTOCOLS: Final = {
    Purpose.DEVICE: "Noise_IK_25519_ChaChaPoly_BLAKE2s",
    Purpose.ENROL: "Noise_NKpsk0_25519_ChaChaPoly_BLAKE2s",
    Purpose.LOGIN: "Noise_NK_25519_ChaChaPoly_BLAKE2s",
}


@attrs.frozen(kw_only=True)
class PassageRequest:
    """What both ends must mean alike before they shake hands.

    Raises: LocalProtocolError — a ticket id without enrolment, or the other way round.
    """

    purpose: Purpose
    fleet: FleetId
    ticket_id: TicketId | None = None
    """For enrolment only. It travels in the clear, for helm must find the psk by it."""

    def __attrs_post_init__(self) -> None:
        length = None if self.ticket_id is None else len(self.ticket_id)
        if length != (TICKET_ID_LENGTH if self.purpose is Purpose.ENROL else None):
            raise LocalProtocolError(f"a passage for {self.purpose.value} has a ticket id of length {length}")

    @property
    def metadata(self) -> str:
        """The value of ``PURPOSE_HEADER``: ``device``, ``enrol.<ticket id in hexadecimal>`` or ``login``."""
        return self.purpose.value if self.ticket_id is None else f"{self.purpose.value}.{self.ticket_id.hex()}"

    @property
    def prologue(self) -> bytes:
        """Noise mixes it in: a handshake for another purpose, fleet or ticket fails.

        The fingerprint is not in it. It is compared openly, so that a mismatch names the device in the audit, and both
        certificates of a renewal may be valid.
        """
        fields = (self.purpose.value.encode(), self.fleet.encode(), self.ticket_id or b"")
        return _CONTEXT + length_prefixed(*fields)

    @classmethod
    def parse(cls, text: str, fleet: FleetId) -> Self:
        """Read what ``metadata`` gives.

        Raises: RemoteProtocolError — none of the three forms.
        """
        if match := _ENROL.fullmatch(text):
            return cls(purpose=Purpose.ENROL, fleet=fleet, ticket_id=TicketId(bytes.fromhex(match[1])))
        if text in {Purpose.DEVICE.value, Purpose.LOGIN.value}:
            return cls(purpose=Purpose(text), fleet=fleet)
        raise RemoteProtocolError("the call does not say what passage it is")


def key_id(public: bytes) -> int:
    """Return the octet by which a device says which of helm's Noise keys it means.

    It stands before the first message, so that during a rotation helm need not try both. It names the key itself and
    not "current" or "next", which device and helm need not take alike. Noise binds it: helm's key is in the transcript
    from the start, so whoever changes the octet makes the handshake fail.
    """
    return hashlib.sha256(_KEY_ID_CONTEXT + public).digest()[0]


def read_metadata(metadata: MultiMapping[Any], fleet: FleetId) -> tuple[PassageRequest, str | None]:
    """Read the request and the fingerprint, which the beacon set if the peer showed a certificate.

    A peer without a certificate may enrol or log in, and nothing else (security.md row 26); one that has a certificate
    may do that too, to get a new one.

    Raises: RemoteProtocolError — not exactly one purpose, more than one fingerprint, or none where there has to be one.
    """
    purposes = metadata.getall(PURPOSE_HEADER, [])
    fingerprints = metadata.getall(FINGERPRINT_HEADER, [])
    if len(purposes) != 1:
        raise RemoteProtocolError(f"the call says {len(purposes)} times what passage it is")
    request = PassageRequest.parse(purposes[0], fleet)
    if not fingerprints and request.purpose is not Purpose.DEVICE:
        return request, None
    if len(fingerprints) != 1 or not _FINGERPRINT.fullmatch(fingerprints[0]):
        raise RemoteProtocolError("the call does not carry exactly one certificate fingerprint")
    return request, fingerprints[0]
