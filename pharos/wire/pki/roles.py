"""What a certificate can say about its holder, and who may speak to which listener.

The same five roles stand in every certificate, in every listener policy and in the matrix that tests them
(docs/protocols/pki.md). An identity is written as a SPIFFE id: SPIFFE-ID §2, `spiffe://<trust domain>/<path>`.
"""

import enum
import re
from typing import Final

import attrs
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pharos.wire.ids import FleetId, check_label, parse_fleet_id


class Authority(enum.Enum):
    """Which of the two intermediates signs a certificate; the root signs nothing but these two."""

    FLEET = "fleet"
    DEVICE = "device"


class Role(enum.Enum):
    """What the holder of a certificate is; the value is its path segment in the SPIFFE id."""

    CONTROLLER = "controller"
    NODE = "node"
    RELAY = "relay"
    DEVICE = "device"
    ADMIN = "admin"

    @property
    def authority(self) -> Authority:
        """The intermediate that alone can vouch for this role."""
        return Authority.DEVICE if self in (Role.DEVICE, Role.ADMIN) else Authority.FLEET

    @property
    def usage(self) -> x509.ObjectIdentifier:
        """The one extended key usage: a relay is never a TLS client, a controller never a TLS server."""
        return ExtendedKeyUsageOID.SERVER_AUTH if self in _DNS_LABEL else ExtendedKeyUsageOID.CLIENT_AUTH


# Roles that are TLS servers have a DNS name as well, under this label.
_DNS_LABEL: Final = {Role.NODE: "n", Role.RELAY: "r"}

_SPIFFE: Final = re.compile(
    "spiffe://([0-9a-f]{16})/(" + "|".join(role.value for role in Role) + r")/([a-z0-9-]{1,63})"
)


GRPC_ALPN: Final = ("h2",)


def _check_fleet(_instance: object, _attribute: object, value: FleetId) -> None:
    parse_fleet_id(value)


def _check_id(_instance: object, _attribute: object, value: str) -> None:
    check_label(value)


@attrs.frozen(kw_only=True)
class Identity:
    """One member of one fleet, as its certificate names it.

    Raises: ValueError — the fleet id or the id is not of its form.
    """

    fleet: FleetId = attrs.field(validator=_check_fleet)
    """The fleet whose root vouches for it."""
    role: Role
    """What it is."""
    id: str = attrs.field(validator=_check_id)
    """Its name within role and fleet: one lower-case DNS label."""

    @property
    def uri(self) -> str:
        """The SPIFFE id, the only URI in its certificate."""
        return f"spiffe://{self.fleet}/{self.role.value}/{self.id}"

    @property
    def dns_name(self) -> str | None:
        """What a TLS client asks for by SNI, whatever address it dialled; None for TLS clients."""
        label = _DNS_LABEL.get(self.role)
        return None if label is None else f"{self.id}.{label}.{self.fleet}.internal"

    @property
    def names(self) -> x509.SubjectAlternativeName:
        """The whole subject alternative name of its certificate: compared as one, not searched."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(self.uri)]
        if self.dns_name is not None:
            names.append(x509.DNSName(self.dns_name))
        return x509.SubjectAlternativeName(names)


def parse_identity(uri: str) -> Identity:
    """Return the identity whose `uri` is exactly these characters.

    Nothing is normalized: another case, a trailing slash, an escape or a user name is another string.

    Raises: ValueError — no identity is written so.
    """
    match = _SPIFFE.fullmatch(uri)
    if match is None:
        raise ValueError(f"{uri!r} is not the name of a fleet member")
    fleet, role, member = match.groups()
    return Identity(fleet=FleetId(fleet), role=Role(role), id=member)


@attrs.frozen(kw_only=True)
class ListenerPolicy:
    """Who may speak to a listener. All named roles have one authority, the listener's only trust anchor."""

    name: str
    """How logs and tests call the listener."""
    roles: frozenset[Role]
    """The roles admitted by certificate."""
    anonymous: bool = False
    """True: a peer may also come without a certificate, and then gets the enrolment and login passage only."""
    alpn: tuple[str, ...] = GRPC_ALPN
    """Application protocols offered, best first."""

    @property
    def authority(self) -> Authority:
        """The one intermediate that vouches for every admitted role."""
        (authority,) = {role.authority for role in self.roles}
        return authority


CONTROL: Final = ListenerPolicy(name="control", roles=frozenset({Role.CONTROLLER}))
"""A buoy's control port."""
TUNNEL: Final = ListenerPolicy(name="tunnel", roles=frozenset({Role.CONTROLLER}))
"""A beacon's port for helm."""
INGRESS: Final = ListenerPolicy(name="ingress", roles=frozenset({Role.DEVICE, Role.ADMIN}), anonymous=True)
"""A beacon's port for devices, remote or aboard helm."""
WEB: Final = ListenerPolicy(name="web", roles=frozenset({Role.ADMIN}), alpn=("h2", "http/1.1"))
"""helm's web edge with `web.tls`. Browsers open a WebSocket over HTTP/1.1, so that is offered too."""
