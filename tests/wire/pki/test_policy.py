import ast
import copy
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import pharos
from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.ids import DeviceId, FleetId, TicketId
from pharos.wire.pki.policy import (
    AccountLogin,
    AdminGrant,
    Adoption,
    Authorization,
    Ground,
    Renewal,
    Setup,
    TicketClaim,
    authorize_issue,
)
from pharos.wire.pki.roles import Identity, Role

FLEET = FleetId("0123456789abcdef")


def member(role: Role, name: str = "one") -> Identity:
    return Identity(fleet=FLEET, role=role, id=name)


def test_each_ground_justifies_its_roles_only() -> None:
    grounds: dict[Ground, set[Role]] = {
        Setup(): {Role.CONTROLLER, Role.RELAY},
        Adoption(operator="ann"): {Role.NODE, Role.RELAY},
        TicketClaim(ticket_id=TicketId(bytes(8)), device_id=DeviceId("one")): {Role.DEVICE},
        AccountLogin(user_id="ada", device_id=DeviceId("one")): {Role.DEVICE},
        AdminGrant(operator="ann"): {Role.ADMIN},
    }
    for ground, allowed in grounds.items():
        for role in Role:
            if role in allowed:
                authorization = authorize_issue(member(role), ground)
                assert (authorization.identity, authorization.ground) == (member(role), ground)
            else:
                with pytest.raises(LocalProtocolError, match="never justifies"):
                    authorize_issue(member(role), ground)


@pytest.mark.parametrize("role", Role)
def test_renewal_is_for_the_holder_only(role: Role) -> None:
    renewal = Renewal(holder=member(role))
    assert authorize_issue(member(role), renewal).identity == member(role)
    for other in (member(role, "two"), *(member(r) for r in Role if r is not role)):
        with pytest.raises(PeerRejectedError):
            authorize_issue(other, renewal)


def test_a_ticket_is_for_its_device_only() -> None:
    claim = TicketClaim(ticket_id=TicketId(bytes(8)), device_id=DeviceId("one"))
    with pytest.raises(LocalProtocolError, match="device one"):
        authorize_issue(member(Role.DEVICE, "two"), claim)


def test_a_login_is_for_its_device_only() -> None:
    login = AccountLogin(user_id="ada", device_id=DeviceId("one"))
    with pytest.raises(LocalProtocolError, match="device one"):
        authorize_issue(member(Role.DEVICE, "two"), login)


def test_nobody_else_makes_an_authorization() -> None:
    granted = authorize_issue(member(Role.CONTROLLER), Setup())
    with pytest.raises(LocalProtocolError):
        Authorization(identity=member(Role.NODE), ground=Setup())
    with pytest.raises(LocalProtocolError):
        attrs.evolve(granted, identity=member(Role.NODE))  # type: ignore[call-arg]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        granted.identity = member(Role.NODE)  # type: ignore[misc]
    assert copy.copy(granted) == granted


def names_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name.rpartition(".")[2]
            case ast.Constant(value=str(name)):
                yield name


def modules_naming(name: str, package: Path = Path(pharos.__file__).parent) -> set[str]:
    sources = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    return {
        path.relative_to(package).as_posix()
        for path, source in sources.items()
        if name in source and name in set(names_in(source))
    }


def test_one_module_makes_certificates() -> None:
    assert modules_naming("CertificateBuilder") == {"wire/pki/issue.py"}


def test_one_module_makes_authorizations() -> None:
    assert modules_naming("__attrs_init__") == {"wire/pki/policy.py"}


@pytest.mark.parametrize(
    "source",
    [
        "from cryptography.x509 import CertificateBuilder",
        "import cryptography.x509.CertificateBuilder",
        "from cryptography.x509 import CertificateBuilder as B",
        "x509.CertificateBuilder()",
        "getattr(x509, 'CertificateBuilder')()",
    ],
)
def test_the_reader_of_sources_sees_each_way_to_name_it(source: str) -> None:
    assert "CertificateBuilder" in set(names_in(source))
