"""Which certificates may be issued, and on what ground: the only maker of an `Authorization`.

An issuing path that forgets to ask is how certificate authorities fall (CVE-2025-44005), so `issue.issue`
takes nothing else, and a test reads the source to see that nobody else makes one.
"""

from typing import Final, final

import attrs

from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.pki.roles import Identity, Role


@attrs.frozen(kw_only=True)
class Setup:
    """helm makes a certificate for itself: its own, and that of the beacon it carries aboard."""


@attrs.frozen(kw_only=True)
class Adoption:
    """An operator brings a machine into the fleet and carries its CSR over a channel they trust."""

    operator: str
    """Who, for the audit log."""


@attrs.frozen(kw_only=True)
class TicketClaim:
    """A ticket was consumed, in the transaction that the certificate is recorded in."""

    ticket_id: TicketId
    """Which."""
    device_id: DeviceId
    """The device that the ticket was written for, or that the claim created."""


@attrs.frozen(kw_only=True)
class AccountLogin:
    """A user has shown who they are, and the device is recorded as theirs in the same transaction."""

    user_id: str
    """Whose."""
    device_id: DeviceId
    """The device that the login created."""


@attrs.frozen(kw_only=True)
class AdminGrant:
    """An operator gives a person a browser certificate."""

    operator: str
    """Who, for the audit log."""


@attrs.frozen(kw_only=True)
class Renewal:
    """The holder of a certificate that still verifies asks for its successor."""

    holder: Identity
    """What `authorize_peer` returned for the certificate that the request came with."""


Ground = Setup | Adoption | TicketClaim | AccountLogin | AdminGrant | Renewal

# Ground → the roles it can ever justify. Default: none.
_GRANTS: Final[dict[type[Ground], frozenset[Role]]] = {
    Setup: frozenset({Role.CONTROLLER, Role.RELAY}),
    Adoption: frozenset({Role.NODE, Role.RELAY}),
    TicketClaim: frozenset({Role.DEVICE}),
    AccountLogin: frozenset({Role.DEVICE}),
    AdminGrant: frozenset({Role.ADMIN}),
    Renewal: frozenset(Role),
}


@final
@attrs.frozen(kw_only=True, init=False)
class Authorization:
    """Leave to issue one certificate. Made by `authorize_issue` only; never stored."""

    identity: Identity
    """Who the certificate will name."""
    ground: Ground
    """Why; for the audit log."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        raise LocalProtocolError("an authorization is made by authorize_issue() only")


def authorize_issue(identity: Identity, ground: Ground) -> Authorization:
    """Return leave to issue a certificate for `identity`.

    Raises:
        PeerRejectedError — a renewal asks for another name than the holder's.
        LocalProtocolError — the ground cannot justify the role, or is about somebody else: a bug of ours.
    """
    if identity.role not in _GRANTS[type(ground)]:
        raise LocalProtocolError(f"{type(ground).__name__} never justifies a {identity.role.value} certificate")
    match ground:
        case Renewal(holder=holder) if holder != identity:
            raise PeerRejectedError(f"{holder.uri} asked to renew the certificate of {identity.uri}")
        case TicketClaim(device_id=device_id) if device_id != identity.id:
            raise LocalProtocolError(f"a ticket for device {device_id} was used for {identity.uri}")
        case AccountLogin(device_id=device_id) if device_id != identity.id:
            raise LocalProtocolError(f"a login for device {device_id} was used for {identity.uri}")
    authorization = Authorization.__new__(Authorization)
    authorization.__attrs_init__(identity=identity, ground=ground)
    return authorization
