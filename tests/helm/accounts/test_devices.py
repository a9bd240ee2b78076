"""Acts on devices: a table of states, versions, limits, and what nodes hear of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from pharos.helm.accounts.devices import change_device, move_device
from pharos.helm.accounts.users import add_user, change_user
from pharos.helm.errors import ConflictError, InvalidRequestError, NotFoundError, StaleVersionError
from pharos.helm.model.devices import Device, DeviceAct, DeviceState
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.certificates import certificates_of, keep_certificate
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device, list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import entries_after
from pharos.wire.ids import TicketId
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import Role
from tests.support.helm import enrol_sample_device, fleet_in_memory, now, revoke_sample_device, sample_act


def test_revoking_grows_version_and_revision_and_is_told() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1, "Ada's phone")
        before = get_fleet(db).revision
        revoked = revoke_sample_device(db, device.id)
        assert (revoked.state, revoked.version) == (DeviceState.REVOKED, device.version + 1)
        assert get_device(db, device.id) == revoked
        assert get_fleet(db).revision == before + 1
        entry = entries_after(db, 0)[-1]
        assert (entry.kind, entry.subject, entry.actor, entry.detail) == (
            "device_revoked",
            device.id,
            "operator",
            "Ada's phone",
        )


def test_certificates_of_a_revoked_device_are_revoked_with_it() -> None:
    with fleet_in_memory() as (db, authority):
        device = enrol_sample_device(db, 1)
        certificate = authority.certify_device(make_csr(generate_key()), device.id, TicketId(bytes(16)), now=now())
        keep_certificate(db, sample_act(), certificate, Role.DEVICE, device.id)
        revoke_sample_device(db, device.id)
        assert [certificate.state.value for certificate in certificates_of(db, device.id)] == ["revoked"]


@pytest.mark.parametrize("verb", DeviceAct)
def test_revoked_device_is_revoked_for_ever(verb: DeviceAct) -> None:
    with fleet_in_memory() as (db, _):
        revoked = revoke_sample_device(db, enrol_sample_device(db, 1).id)
        told, revision = entries_after(db, 0), get_fleet(db).revision
        with pytest.raises(ConflictError, match="a device that is revoked cannot be"):
            move_device(db, sample_act(), revoked.id, revoked.version, verb)
        with pytest.raises(ConflictError, match="revoked"):
            change_device(db, sample_act(), revoked.id, revoked.version, {"note": "back"})
        assert (entries_after(db, 0), get_fleet(db).revision) == (told, revision)


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"note": "x" * 1001},
        {"expires_at": 0},
        {"quota_bytes": 0},
        {"quota_bytes": 2**62},
        {"rate_limit": -1},
    ],
)
def test_value_that_does_not_fit_changes_nothing(values: dict[str, Any]) -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        with pytest.raises(InvalidRequestError):
            change_device(db, sample_act(), device.id, 1, values)
        assert get_device(db, device.id) == device


def test_change_without_a_difference_is_heard_by_nobody() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        before = get_fleet(db).revision
        assert change_device(db, sample_act(), device.id, 1, {"name": device.name}) == device
        assert get_fleet(db).revision == before


def test_user_gets_as_many_devices_as_they_may_have() -> None:
    with fleet_in_memory() as (db, _):
        user = add_user(db, sample_act(), {"name": "ada", "device_limit": 2})
        devices = [enrol_sample_device(db, number) for number in range(3)]
        for device in devices[:2]:
            change_device(db, sample_act(), device.id, 1, {"user_id": user.id})
        with pytest.raises(ConflictError, match="ada may have 2 devices"):
            change_device(db, sample_act(), devices[2].id, 1, {"user_id": user.id})
        # What one has already is no reason to refuse a change of it.
        change_device(db, sample_act(), devices[0].id, 2, {"user_id": user.id, "note": "mine"})
        revoke_sample_device(db, devices[0].id)
        assert change_device(db, sample_act(), devices[2].id, 1, {"user_id": user.id}).user_id == user.id
        with pytest.raises(NotFoundError):
            change_device(db, sample_act(), devices[1].id, 2, {"user_id": "nobody"})


def test_user_without_a_limit_of_their_own_has_the_postures() -> None:
    with fleet_in_memory() as (db, _):
        user = add_user(db, sample_act(), {"name": "ada"})
        devices = [enrol_sample_device(db, number) for number in range(11)]
        for device in devices[:10]:
            change_device(db, sample_act(), device.id, 1, {"user_id": user.id})
        with pytest.raises(ConflictError, match="10 devices"):
            change_device(db, sample_act(), devices[10].id, 1, {"user_id": user.id})
        change_user(db, sample_act(), user.id, 1, {"device_limit": 11})
        change_device(db, sample_act(), devices[10].id, 1, {"user_id": user.id})


# Written down anew, so that a slip in the product's own table is seen.
MODEL = {
    ("active", "disable"): "disabled",
    ("active", "revoke"): "revoked",
    ("disabled", "enable"): "active",
    ("disabled", "revoke"): "revoked",
}


class Devices(RuleBasedStateMachine):
    """Several admins, each with the versions they happen to have seen, against a dictionary."""

    devices = Bundle("devices")
    seen: Bundle[tuple[str, int]] = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        self._scope = fleet_in_memory()
        self.db: Database = self._scope.__enter__()[0]
        self.model: dict[str, dict[str, Any]] = {}

    def teardown(self) -> None:
        self._scope.__exit__(None, None, None)

    @rule(target=devices)
    def enrol(self) -> str:
        device = enrol_sample_device(self.db, len(self.model) + 1)
        self.model[device.id] = {"name": device.name, "note": "", "state": "active", "version": 1}
        return device.id

    @rule(target=seen, device=devices)
    def look(self, device: str) -> tuple[str, int]:
        found = get_device(self.db, device)  # type: ignore[arg-type]
        return device, found.version

    @rule(seen=seen, verb=st.sampled_from(DeviceAct))
    def move(self, seen: tuple[str, int], verb: DeviceAct) -> None:
        device, version = seen
        known = self.model[device]
        target = MODEL.get((known["state"], verb.value))
        expected: type[Exception] | None = None
        if version != known["version"]:
            expected = StaleVersionError
        elif target is None:
            expected = ConflictError
        self.attempt(expected, lambda: move_device(self.db, sample_act(), device, version, verb))
        if expected is None:
            known["state"] = target
            known["version"] += 1

    @rule(seen=consumes(seen), note=st.sampled_from(["", "lost", "found"]))
    def change(self, seen: tuple[str, int], note: str) -> None:
        device, version = seen
        known = self.model[device]
        expected: type[Exception] | None = None
        if version != known["version"]:
            expected = StaleVersionError
        elif known["state"] == "revoked":
            expected = ConflictError
        self.attempt(expected, lambda: change_device(self.db, sample_act(), device, version, {"note": note}))
        if expected is None and known["note"] != note:
            known["note"] = note
            known["version"] += 1

    def attempt(self, expected: type[Exception] | None, act: Any) -> None:
        if expected is None:
            act()
            return
        with pytest.raises(expected) as caught:
            act()
        assert type(caught.value) is expected

    @invariant()
    def record_is_as_the_model_says(self) -> None:
        assert {device.id: facts(device) for device in list_devices(self.db)} == self.model

    @invariant()
    def every_version_has_its_audit_row(self) -> None:
        rows = [row for row in audit_rows(self.db, 0) if row.noun == "device"]
        for device, known in self.model.items():
            versions = [row.version for row in rows if row.subject == device]
            assert versions == list(range(1, known["version"] + 1))


def facts(device: Device) -> dict[str, Any]:
    return {"name": device.name, "note": device.note, "state": device.state.value, "version": device.version}


def test_devices_are_what_the_table_and_the_versions_make_of_them() -> None:
    run_state_machine_as_test(Devices, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
