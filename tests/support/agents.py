"""Machines that join a fleet, with helm's part played by the test."""

import datetime
from pathlib import Path

from cryptography import x509

from pharos.wire.agent import AgentGrant, AgentKeys, AgentRequest, grant_of
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.issue import issue
from pharos.wire.pki.policy import authorize_issue
from pharos.wire.pki.roles import Identity, Role
from tests.support.pki import SampleFleet, ground_for, home_fleet, utc_now


def grant_for(
    request: AgentRequest,
    *,
    role: Role | None = None,
    fleet: SampleFleet | None = None,
    name: str = "one",
    now: datetime.datetime | None = None,
) -> AgentGrant:
    """Answer a request as helm does, or as it never would."""
    fleet, role = fleet or home_fleet(), role or request.role
    identity = Identity(fleet=fleet.id, role=role, id=name)
    certificate = issue(
        authorize_issue(identity, ground_for(identity)),
        verify_csr(request.csr),
        ca=fleet.trust.anchor(role.authority),
        ca_key=fleet.ca_key(role.authority),
        now=now or utc_now(),
        serial=x509.random_serial_number(),
    )
    return grant_of(certificate, trust=fleet.trust, role=role)


def joined(
    state: Path, role: Role = Role.NODE, name: str = "one", *, now: datetime.datetime | None = None
) -> AgentKeys:
    """Make a machine with keys in ``state`` a member of the home fleet."""
    keys = AgentKeys(state, role)
    keys.install(grant_for(keys.make_request(), name=name, now=now), now=now or utc_now())
    return keys
