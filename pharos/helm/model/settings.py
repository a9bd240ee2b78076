"""What an operator sets for the whole fleet: each setting has a type, a range and a default by posture."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from pharos.helm.model.fleet import Posture
from pharos.helm.model.oidc import GROUPS_CLAIM, MAX_MAPPED, check_issuer, check_mapping, check_word
from pharos.helm.model.postures import POSTURES
from pharos.helm.model.reality import MAX_TARGETS, Target
from pharos.wire.desired import MAX_ADDRESSES, MAX_CLOSED, check_address, check_network
from pharos.wire.errors import ParameterError

Value = bool | int | str | list[str]


@attrs.frozen(kw_only=True)
class Setting:
    """A setting's record, once somebody has set it."""

    id: str
    """Its name."""
    value: Any
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""


@attrs.frozen(kw_only=True)
class Known:
    """What a setting may be."""

    says: str
    personal: Value
    enterprise: Value
    check: Callable[[Any], bool]
    wants: str
    """What ``check`` wants, for whoever got it wrong."""

    def default(self, posture: Posture) -> Value:
        """Return what holds while nobody has set it."""
        return self.personal if posture is Posture.PERSONAL else self.enterprise


def _by_posture(name: str) -> dict[str, Any]:
    row = POSTURES[name]
    return {"personal": row.personal, "enterprise": row.enterprise}


def _between(low: int, high: int) -> dict[str, Any]:
    return {
        "check": lambda value: type(value) is int and low <= value <= high,
        "wants": f"a whole number from {low} to {high}",
    }


def _protocols(values: list[Any]) -> bool:
    return all(value in ("amneziawg", "reality") for value in values)


def _texts(values: Any, most: int, usual: Callable[[str], str]) -> bool:
    """Tell whether it is a list of at most so many texts, each once and in its usual spelling."""
    if not isinstance(values, list) or len(values) > most or len(values) != len(set(map(str, values))):
        return False
    try:
        return all(isinstance(text, str) and usual(text) == text for text in values)
    except (ValueError, ParameterError):
        return False


def _is_target(text: str) -> str:
    Target.parse(text)
    return text


# One line above a sign-in.
MAX_NAME: Final = 60
_YES_OR_NO: Final[dict[str, Any]] = {"check": lambda value: type(value) is bool, "wants": "true or false"}

HEARD_BY_NODES: Final = frozenset(
    {
        *("protocols", "policy.peer_to_peer", "policy.internet", "policy.closed", "policy.resolvers"),
        "quota.throttle_kbit",
    }
)
"""Settings that change what nodes do."""
HEARD_BY_DEVICES: Final = frozenset({"protocols", "policy.resolvers"})
"""Settings that change profiles."""
SET_BY_OWNERS: Final = frozenset(
    {"admins.password", "oidc.issuer", "oidc.client_id", "oidc.roles", "oidc.groups_claim", "oidc.users"}
)
"""Settings that decide who comes in as what: whoever sets them could make themselves owner."""
# product.md, "Postures".
KNOWN: Final[Mapping[str, Known]] = {
    "fleet.name": Known(
        says="What people call this fleet; empty: they do not",
        personal="",
        enterprise="",
        check=lambda value: (
            type(value) is str and len(value) <= MAX_NAME and value.isprintable() and value == value.strip()
        ),
        wants=f"a name of at most {MAX_NAME} printable characters, or empty",
    ),
    "audit.days": Known(says="Days that audit rows are kept", **_by_posture("audit.days"), **_between(1, 3650)),
    "metrics.days": Known(says="Days that metrics are kept", **_by_posture("metrics.days"), **_between(1, 730)),
    "copies.hourly": Known(says="Hourly copies of the record", **_by_posture("copies.hourly"), **_between(1, 720)),
    "devices.limit": Known(says="Devices a user may have", **_by_posture("devices.limit"), **_between(1, 1000)),
    "endpoints.rotate": Known(
        says="Give nodes new parameters and targets by themselves", **_by_posture("endpoints.rotate"), **_YES_OR_NO
    ),
    "endpoints.days": Known(
        says="Days after which a node gets them, where they rotate", personal=30, enterprise=30, **_between(1, 365)
    ),
    "admins.password": Known(
        says="Admins may sign in by password and code", **_by_posture("admins.password"), **_YES_OR_NO
    ),
    "account.sync": Known(says="Serve account logins to devices", **_by_posture("account.sync"), **_YES_OR_NO),
    "protocols": Known(
        says="Protocols offered",
        **_by_posture("protocols"),
        check=lambda value: (
            isinstance(value, list) and 0 < len(value) == len(set(map(str, value))) and _protocols(value)
        ),
        wants='a list of "amneziawg" and "reality", at least one',
    ),
    "reality.targets": Known(
        says="Sites that nodes' REALITY stands before, one a node in turn",
        **_by_posture("reality.targets"),
        check=lambda value: bool(value) and _texts(value, MAX_TARGETS, _is_target),
        wants=f'a list of 1 to {MAX_TARGETS} like "www.example.org:443", other names behind it after a space',
    ),
    "quota.throttle_kbit": Known(
        says="Rate each way of whoever has used up a quota that throttles, kbit/s",
        personal=1024,
        enterprise=1024,
        # Below 64 a page of text takes minutes, and TCP gives up; 10 Gbit/s is no throttle.
        **_between(64, 10_000_000),
    ),
    "policy.peer_to_peer": Known(
        says="Devices reach each other through nodes", personal=False, enterprise=False, **_YES_OR_NO
    ),
    "policy.internet": Known(says="Devices reach the Internet", personal=True, enterprise=True, **_YES_OR_NO),
    "policy.closed": Known(
        says="Networks that devices never reach",
        personal=[],
        enterprise=[],
        check=lambda value: _texts(value, MAX_CLOSED, check_network),
        wants=f"a list of at most {MAX_CLOSED} networks such as 192.168.0.0/16",
    ),
    "policy.resolvers": Known(
        says="DNS resolvers of devices in the tunnel",
        personal=[],
        enterprise=[],
        check=lambda value: _texts(value, MAX_ADDRESSES, lambda text: str(ipaddress.ip_address(check_address(text)))),
        wants=f"a list of at most {MAX_ADDRESSES} IP addresses",
    ),
    "oidc.issuer": Known(
        says="OpenID provider that signs people in; empty: none",
        personal="",
        enterprise="",
        check=lambda value: value == "" or _texts([value], 1, check_issuer),
        wants="the issuer's https:// address, exactly as the provider spells it, or empty",
    ),
    "oidc.client_id": Known(
        says="What helm is called at the OpenID provider",
        personal="",
        enterprise="",
        check=lambda value: value == "" or _texts([value], 1, check_word),
        wants="the client id that the provider gave, or empty",
    ),
    "oidc.roles": Known(
        says="Roles of admins by their groups at the OpenID provider",
        personal=[],
        enterprise=[],
        check=lambda value: _texts(value, MAX_MAPPED, check_mapping),
        wants=f'a list of at most {MAX_MAPPED} like "vpn-admins=admin"; the roles are owner, admin, operator, viewer',
    ),
    "oidc.groups_claim": Known(
        says="The claim that names somebody's groups",
        personal=GROUPS_CLAIM,
        enterprise=GROUPS_CLAIM,
        check=lambda value: _texts([value], 1, check_word),
        wants="a claim's name, such as groups",
    ),
    "oidc.users": Known(
        says="Users log in on devices by the OpenID provider's device code",
        personal=False,
        enterprise=False,
        **_YES_OR_NO,
    ),
}
