"""What of a client's request reaches helm: an allow-list, and one value that the beacon itself vouches for."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final

from pharos.wire.passage.metadata import FINGERPRINT_HEADER, PURPOSE_HEADER

PASSAGE_PATH: Final = "/pharos.relay.v1.Passage/Open"

# Everything else is dropped, however it is spelt: a strip-list would have to know every spelling.
_ALLOWED: Final = frozenset({"te", "content-type", "grpc-timeout", PURPOSE_HEADER})
# What a peer without a certificate may ask for (its ticket id, or a login) and nothing else.
_ANONYMOUS: Final = re.compile(r"enrol\.[0-9a-f]{16}|login")
_KNOWN: Final = re.compile(r"device|enrol\.[0-9a-f]{16}|login")

Headers = list[tuple[str, str]]


class Refusal(enum.Enum):
    """Why a request is not forwarded."""

    UNKNOWN_METHOD = "only the passage is served here"
    NEEDS_CERTIFICATE = "this passage needs a device certificate"
    BAD_REQUEST = "not a passage request"
    TOO_OFTEN = "too many tries from this address"
    DEVICE_TOO_OFTEN = "too many tries by this device"
    TOO_MANY = "this device has too many passages open"
    BUSY = "this relay is busy"
    HELM_AWAY = "helm is not connected to this relay"


def forwarded_headers(headers: Iterable[tuple[str, str]], *, fingerprint: str | None) -> Headers | Refusal:
    """Return the headers for helm, or why there are none.

    ``fingerprint`` is SHA-256 of the verified client certificate in hexadecimal, None for a peer without one. Exactly
    one fingerprint header leaves this function for the former and none for the latter.
    """
    seen = list(headers)
    if dict(seen).get(":path") != PASSAGE_PATH or dict(seen).get(":method") != "POST":
        return Refusal.UNKNOWN_METHOD
    purposes = [value for name, value in seen if name == PURPOSE_HEADER]
    if len(purposes) != 1 or not _KNOWN.fullmatch(purposes[0]):
        return Refusal.BAD_REQUEST
    if fingerprint is None and not _ANONYMOUS.fullmatch(purposes[0]):
        return Refusal.NEEDS_CERTIFICATE
    out: Headers = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", PASSAGE_PATH),
        (":authority", "helm"),
    ]
    out += [(name, value) for name, value in seen if name in _ALLOWED]
    if fingerprint is not None:
        out.append((FINGERPRINT_HEADER, fingerprint))
    return out
