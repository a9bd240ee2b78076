"""A rotation over the record: whoever could talk still can, whatever is off line and wherever helm is killed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.store.database import transact
from pharos.helm.store.rotations import list_rotations
from pharos.helm.trust.rotation import begin_rotation
from pharos.wire.errors import PeerRejectedError, WireError
from pharos.wire.pki.roles import Role
from pharos.wire.pki.rotation import Subject
from tests.support.helm import revoke_sample_device, sample_act
from tests.support.rotating import RotatingFleet, rotating_fleet

MEMBERS = (Role.NODE, Role.RELAY, Role.DEVICE)


def secret_names(fleet: RotatingFleet) -> list[str]:
    return [row["name"] for row in fleet.db.execute("SELECT name FROM secrets")]


def run_to_end(fleet: RotatingFleet, *, killed: bool = False) -> int:
    """Let everybody be here, in turns with helm; return the rounds that it took."""
    for rounds in range(12):
        if fleet.state is None:
            return rounds
        for role in MEMBERS:
            fleet.meet(role)
            fleet.check_pairs()
        while fleet.step(killed=killed):
            fleet.check_pairs()
    pytest.fail(f"it stays {fleet.state}")


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed after each step"])
@pytest.mark.parametrize("subjects", [*((subject,) for subject in Subject), tuple(Subject)], ids=str)
def test_rotation_comes_to_its_end_and_everybody_uses_the_new(subjects: tuple[Subject, ...], killed: bool) -> None:
    with rotating_fleet() as fleet:
        before = fleet.authority
        fleet.begin(*subjects)
        run_to_end(fleet, killed=killed)
        after = fleet.authority
        assert (after.trust.fleet_ca != before.trust.fleet_ca) == (Subject.FLEET_CA in subjects)
        assert (after.trust.device_ca != before.trust.device_ca) == (Subject.DEVICE_CA in subjects)
        assert (after.signing != before.signing) == (Subject.SIGNING_KEY in subjects)
        assert (after.noise.public != before.noise.public) == (Subject.NOISE_KEY in subjects)
        assert after.trust.next_fleet_ca is after.trust.next_device_ca is None
        assert after.manifest_version == before.manifest_version + 3
        assert len(after.noise_keys) == 1
        assert not [name for name in secret_names(fleet) if name.endswith("-next")]
        # What the old key signed is still known to be the fleet's.
        assert bytes(before.signing.verify_key) in after.verify_keys


def names_of(roles: set[Role]) -> str:
    return "+".join(sorted(role.value for role in roles))


@pytest.mark.parametrize(
    "absent", [set(c) for n in range(1, 4) for c in itertools.combinations(MEMBERS, n)], ids=names_of
)
def test_rotation_waits_for_whoever_is_absent_and_breaks_nobody(absent: set[Role]) -> None:
    with rotating_fleet() as fleet:
        fleet.begin()
        for _ in range(6):
            for role in MEMBERS:
                if role not in absent:
                    fleet.meet(role)
                    fleet.check_pairs()
            while fleet.step():
                fleet.check_pairs()
        assert fleet.state is not None
        run_to_end(fleet)


@settings(max_examples=12, deadline=None)
@given(
    acts=st.lists(st.sampled_from([*MEMBERS, "step", "killed"]), max_size=24),
    subjects=st.sets(st.sampled_from(list(Subject)), min_size=1),
)
def test_whoever_could_talk_still_can_in_any_order_of_things(acts: list[Role | str], subjects: set[Subject]) -> None:
    with rotating_fleet() as fleet:
        fleet.begin(*sorted(subjects, key=lambda subject: subject.value))
        for act in acts:
            if isinstance(act, Role):
                fleet.meet(act)
            else:
                fleet.step(killed=act == "killed")
            fleet.check_pairs()
        run_to_end(fleet)


def test_pairs_fall_apart_where_acknowledgements_are_presumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above is one that can fail."""
    monkeypatch.setattr("pharos.helm.trust.rotation._Facts.has_done", lambda *_: True)
    with rotating_fleet() as fleet, pytest.raises((PeerRejectedError, WireError, AssertionError)):
        fleet.begin()
        while fleet.step():
            fleet.check_pairs()


def test_revoked_device_is_not_waited_for() -> None:
    with rotating_fleet() as fleet:
        device = fleet.members[Role.DEVICE]
        fleet.begin(Subject.DEVICE_CA)
        for _ in range(4):
            fleet.meet(Role.RELAY)
            while fleet.step():
                pass
        assert fleet.state is not None
        transact(fleet.db, revoke_sample_device, device.id)
        for _ in range(4):
            fleet.meet(Role.RELAY)
            while fleet.step():
                pass
        assert fleet.state is None


def test_second_rotation_begins_when_the_first_is_done() -> None:
    with rotating_fleet() as fleet:
        fleet.begin()
        with pytest.raises(ConflictError, match="under way"):
            fleet.begin()
        run_to_end(fleet)
        fleet.begin()
        run_to_end(fleet)
        assert len(list_rotations(fleet.db)) == 2


def test_root_opens_with_its_own_kit_only() -> None:
    with rotating_fleet() as fleet:
        for kit, subjects in ((RecoveryKit.create(), list(Subject)), (fleet.kit, [])):
            with pytest.raises(InvalidRequestError):
                transact(fleet.db, begin_rotation, sample_act(), fleet.vault, kit, subjects)
        assert fleet.state is None
