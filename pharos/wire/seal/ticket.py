"""Links by which a device joins: a ticket (secret, for one device) and a fleet link (for whoever may log in).

    pharosvpn://enroll?v=1&b=<relay id>@<host>:<port>[&b=…]&r=<root hash>&k=<helm's key>&t=<ticket id>&s=<secret>
    pharosvpn://fleet?v=1&b=<relay id>@<host>:<port>[&b=…]&r=<root hash>

Binary values are base64url without padding. A link has one spelling: the fields in this order, nothing escaped, an
IPv6 address compressed and in brackets. Whatever would be rendered otherwise than it was read is refused.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Callable
from typing import Any, Final, Self

import attrs
from attrs.validators import max_len, min_len
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pharos.wire.errors import LinkFormatError
from pharos.wire.ids import FLEET_ID_LENGTH, FleetId, RelayId, TicketId, check_label

TICKET_ID_LENGTH: Final = 8
TICKET_SECRET_LENGTH: Final = 16
"""128 bits: guessing is hopeless, so that wrong tries need not burn a ticket (security.md row 67)."""

MAX_BEACONS: Final = 8
MAX_LINK: Final = 1024
"""Characters. A ticket takes 160 and each beacon some 30; eight with names of 70 still fit, and so does a QR code."""

_VERSION: Final = "1"
_ENROLL: Final = "pharosvpn://enroll?"
_FLEET: Final = "pharosvpn://fleet?"
_CONTEXT: Final = b"pharos/ticket/v1"
_MAX_HOST: Final = 253
"""RFC 1035's 255 octets of a name without the outer two length octets."""


def _exactly(length: int) -> list[Callable[[Any, Any, Any], Any]]:
    return [min_len(length), max_len(length)]


@attrs.frozen(kw_only=True)
class BeaconAddress:
    """Where a beacon listens, and who must answer there.

    Raises: ValueError — no relay id, host or port.
    """

    relay: RelayId
    """Its certificate must be for ``<relay>.r.<fleet>.internal``."""
    host: str
    """A lower-case host name, or an IP address in its canonical form without brackets."""
    port: int

    def __attrs_post_init__(self) -> None:
        check_label(self.relay)
        if not 0 < self.port < 65536:
            raise ValueError(f"{self.port} is not a port")
        if ":" in self.host:
            if "%" in self.host or str(ipaddress.IPv6Address(self.host)) != self.host:
                raise ValueError("an IPv6 address stands in its compressed form (RFC 5952), without a zone")
            return
        labels = self.host.split(".")
        if labels[-1].isdigit():
            ipaddress.IPv4Address(self.host)
        elif len(self.host) > _MAX_HOST or not all(check_label(label) for label in labels):
            raise ValueError("not a lower-case host name (RFC 1123 §2.1)")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.relay}@{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` gives.

        Raises: ValueError — it is something else.
        """
        relay, _, address = text.partition("@")
        host, _, port = address.rpartition(":")
        beacon = cls(relay=RelayId(relay), host=host.removeprefix("[").removesuffix("]"), port=int(port))
        if str(beacon) != text:
            raise ValueError("not the one spelling of a beacon's address")
        return beacon


@attrs.frozen(kw_only=True)
class FleetLink:
    """Where a fleet is and how to know it; not secret."""

    beacons: tuple[BeaconAddress, ...] = attrs.field(validator=[min_len(1), max_len(MAX_BEACONS)])
    root_hash: bytes = attrs.field(validator=_exactly(32))
    """SHA-256 of the root certificate's SubjectPublicKeyInfo."""

    @property
    def fleet(self) -> FleetId:
        return FleetId(self.root_hash.hex()[:FLEET_ID_LENGTH])

    def render(self) -> str:
        return _render(_FLEET, _common_fields(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises: LinkFormatError — it is no fleet link."""
        try:
            beacons, values = _take_apart(_FLEET, text)
            link = cls(beacons=beacons, root_hash=_decode(values["r"]))
        except (KeyError, ValueError):
            raise LinkFormatError("this is not a complete fleet link; copy it whole") from None
        _check_spelling(link.render(), text)
        return link


@attrs.frozen(kw_only=True)
class TicketLink:
    """A one-time invitation; whoever holds its text can enrol a device."""

    beacons: tuple[BeaconAddress, ...] = attrs.field(validator=[min_len(1), max_len(MAX_BEACONS)])
    root_hash: bytes = attrs.field(validator=_exactly(32))
    """SHA-256 of the root certificate's SubjectPublicKeyInfo."""
    helm_key: bytes = attrs.field(validator=_exactly(32))
    """helm's Noise public key, which the enrolment passage pins."""
    ticket_id: TicketId = attrs.field(validator=_exactly(TICKET_ID_LENGTH))
    """Travels in the clear and proves nothing."""
    secret: bytes = attrs.field(repr=False, validator=_exactly(TICKET_SECRET_LENGTH))

    @property
    def fleet(self) -> FleetId:
        return FleetId(self.root_hash.hex()[:FLEET_ID_LENGTH])

    def keys(self) -> "TicketKeys":
        """Return what the secret stands for."""
        return expand_ticket_secret(self.secret, self.ticket_id)

    def render(self) -> str:
        """Return the link, which contains the secret: for a screen or a QR code, never for a log."""
        fields = _common_fields(self)
        fields += [("k", _encode(self.helm_key)), ("t", _encode(self.ticket_id)), ("s", _encode(self.secret))]
        return _render(_ENROLL, fields)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises: LinkFormatError — it is no ticket link. The error never quotes it."""
        try:
            beacons, values = _take_apart(_ENROLL, text)
            link = cls(
                beacons=beacons,
                root_hash=_decode(values["r"]),
                helm_key=_decode(values["k"]),
                ticket_id=TicketId(_decode(values["t"])),
                secret=_decode(values["s"]),
            )
        except (KeyError, ValueError):
            raise LinkFormatError("this is not a complete ticket link; copy it whole or ask for a new one") from None
        _check_spelling(link.render(), text)
        return link


@attrs.frozen(kw_only=True)
class TicketKeys:
    """The two halves of a ticket's secret: one opens the passage, the other claims the ticket inside it."""

    psk: bytes = attrs.field(repr=False)
    """Pre-shared key of ``Noise_NKpsk0``; helm keeps it, wrapped."""
    proof: bytes = attrs.field(repr=False)
    """Shown inside the session. helm keeps only its hash, so that a thief of helm's store cannot claim."""

    @property
    def proof_hash(self) -> bytes:
        """SHA-256 of ``proof``; compare it with ``hmac.compare_digest``."""
        return hashlib.sha256(self.proof).digest()


def expand_ticket_secret(secret: bytes, ticket_id: TicketId) -> TicketKeys:
    """Derive psk ‖ proof: RFC 5869 HKDF with BLAKE2s, the ticket id as salt (security.md §2b)."""
    expanded = HKDF(algorithm=hashes.BLAKE2s(32), length=64, salt=ticket_id, info=_CONTEXT).derive(secret)
    return TicketKeys(psk=expanded[:32], proof=expanded[32:])


def _common_fields(link: FleetLink | TicketLink) -> list[tuple[str, str]]:
    return [("v", _VERSION), *(("b", str(beacon)) for beacon in link.beacons), ("r", _encode(link.root_hash))]


def _render(start: str, fields: list[tuple[str, str]]) -> str:
    return start + "&".join(f"{name}={value}" for name, value in fields)


def _take_apart(start: str, text: str) -> tuple[tuple[BeaconAddress, ...], dict[str, str]]:
    """Split a link loosely; ``_check_spelling`` finds what is doubled, unknown or out of order.

    Raises: ValueError — too long, no such link, or a beacon's address that is none; LinkFormatError — another version.
    """
    if len(text) > MAX_LINK or not text.startswith(start):
        raise ValueError
    pairs = [field.partition("=")[::2] for field in text.removeprefix(start).split("&")]
    values = dict(pairs)
    if values["v"] != _VERSION:
        raise LinkFormatError("this link is of a version this program does not know; upgrade it")
    return tuple(BeaconAddress.parse(value) for name, value in pairs if name == "b"), values


def _check_spelling(rendered: str, text: str) -> None:
    if rendered != text:
        raise LinkFormatError("this link was altered on its way; copy it whole or ask for a new one")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
