"""What `helm doctor` says of the beacon in helm's own process."""

from __future__ import annotations

import pytest

from pharos.helm.ca.vault import Vault
from pharos.helm.doctor.reach import check_exposure, check_fleet, check_seen, members_of
from pharos.helm.errors import ConflictError
from pharos.helm.model.aboard import AboardPlan
from pharos.helm.onboard.readopt import readopt
from pharos.helm.relay.identity import settle_aboard
from pharos.helm.store.relays import list_relays
from pharos.wire.findings import Level
from pharos.wire.pki.roles import Role
from tests.support.helm import fleet_in_memory, relay_request, sample_act


def test_port_that_is_taken_is_told_with_the_key_that_chooses_another() -> None:
    with fleet_in_memory() as (db, authority):
        settle_aboard(db, authority, Vault(bytes(32)), AboardPlan(), at=sample_act().at)
        relays = list_relays(db)
    (member,) = members_of([], relays)
    assert member.aboard, "nobody dials it"
    (finding,) = check_seen([member], {member.id: {"link": "lost", "detail": "Address already in use"}})
    assert finding.level is Level.PROBLEM
    assert "Address already in use" in finding.says
    assert "beacon_port" in finding.todo
    # One that no ticket names lets nobody in from elsewhere.
    assert "relays" in [finding.id for finding in check_fleet([], relays)]


def test_address_that_others_reach_is_noted() -> None:
    assert check_exposure(None) == check_exposure("") == []
    (finding,) = check_exposure(AboardPlan(host="0.0.0.0").warning)
    assert (finding.level, "0.0.0.0:8441" in finding.says) == (Level.NOTE, True)


def test_beacon_aboard_is_not_readopted_by_a_machine() -> None:
    with fleet_in_memory() as (db, authority):
        relay_id = settle_aboard(db, authority, Vault(bytes(32)), AboardPlan(), at=sample_act().at)
        assert relay_id is not None
        with pytest.raises(ConflictError, match="own process"):
            readopt(db, sample_act(), authority, Role.RELAY, relay_id, 1, relay_request())
