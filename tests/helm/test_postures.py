"""Each row of the table of postures (product.md) is something that a fleet does, and not only a number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from pharos.helm.accounts.claim import LoginClaim, claim_login
from pharos.helm.accounts.devices import check_device_limit
from pharos.helm.accounts.signin import SignIn
from pharos.helm.accounts.users import add_user
from pharos.helm.audit.pruning import kept_from, prune_next
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.config import HelmConfig
from pharos.helm.errors import ConflictError, NotAllowedError
from pharos.helm.fleet.endpoints import DAY, next_due
from pharos.helm.model.fleet import Posture
from pharos.helm.model.nodes import Node
from pharos.helm.model.postures import BEACON, POSTURES, posture_value
from pharos.helm.model.settings import KNOWN
from pharos.helm.profiles.record import read_record
from pharos.helm.relay.identity import settle_aboard
from pharos.helm.store.audit import oldest_sequence
from pharos.helm.store.checks import COPIES, list_copies
from pharos.helm.store.copies import make_copy
from pharos.helm.store.database import CORE, Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.relays import list_relays
from pharos.helm.store.samples import prune_gaps
from pharos.helm.store.settings import all_settings, put_setting, setting
from pharos.helm.telemetry.retention import get_retention
from pharos.helm.telemetry.rollups import Level
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from tests.support.audit import append_acts, sign_all
from tests.support.helm import (
    STARTED_AT,
    adopt_sample_node,
    enrol_sample_device,
    fleet_in_memory,
    open_helm,
    sample_act,
    sample_keys,
    telemetry_in_memory,
)
from tests.support.signin import invited

VAULT = Vault(bytes(32))
PASSWORD = "correct horse battery"
BOTH = pytest.mark.parametrize("posture", Posture)


@attrs.frozen
class Fleet:
    """A fleet of one posture, in memory."""

    db: Database
    authority: Authority
    posture: Posture

    def of(self, personal: object, enterprise: object) -> object:
        """What the table says of this one."""
        return personal if self.posture is Posture.PERSONAL else enterprise


def set_posture(db: Database, posture: Posture) -> None:
    """Make a fleet what `helm init` made of it; nobody changes it afterwards."""
    db.execute("UPDATE fleet SET posture = ?", (posture.value,))


@contextmanager
def fleet_of(posture: Posture) -> Iterator[Fleet]:
    with fleet_in_memory() as (db, authority):
        set_posture(db, posture)
        yield Fleet(db, authority, posture)


@pytest.fixture(params=Posture)
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with fleet_of(request.param) as fleet:
        yield fleet


def test_every_row_is_a_setting_with_the_tables_defaults_but_the_beacon() -> None:
    assert POSTURES.keys() - {BEACON} <= KNOWN.keys()
    for posture in Posture:
        with fleet_of(posture) as fleet:
            shown = {view["id"]: view["default"] for view in all_settings(fleet.db)}
            for name in POSTURES.keys() - {BEACON}:
                assert shown[name] == setting(fleet.db, name) == posture_value(name, posture)
                assert KNOWN[name].check(shown[name])


def test_beacon_is_aboard_in_a_personal_fleet(fleet: Fleet) -> None:
    plan = HelmConfig().aboard(get_fleet(fleet.db).posture)
    settle_aboard(fleet.db, fleet.authority, VAULT, plan, at=sample_act().at)
    assert [relay.aboard for relay in list_relays(fleet.db)] == fleet.of([True], [])


def test_both_protocols_are_open_to_a_device_until_an_admin_says_less(fleet: Fleet) -> None:
    node, _ = adopt_sample_node(fleet.db, fleet.authority)

    def offered() -> tuple[str, ...]:
        return read_record(fleet.db).rules.of(None).nodes[node.id]

    assert offered() in ((), ("amneziawg", "reality")), "no name stands for every protocol"
    put_setting(fleet.db, sample_act(), "protocols", 0, ["reality"])
    assert offered() == ("reality",)


def test_accounts_log_in_until_the_account_service_is_switched_off(fleet: Fleet) -> None:
    user = add_user(fleet.db, sample_act(), {"name": "Ada"})

    def log_in(number: int) -> str:
        claim = LoginClaim(
            csr=make_csr(generate_key()),
            keys=sample_keys(number),
            device_name="laptop",
            user_id=user.id,
            how="password",
        )
        device, _ = claim_login(fleet.db, sample_act(), fleet.authority, claim)
        return device.name

    assert log_in(1) == "laptop"
    put_setting(fleet.db, sample_act(), "account.sync", 0, value=False)
    with pytest.raises(NotAllowedError):
        log_in(2)


def test_audit_is_kept_for_a_month_or_a_year(fleet: Fleet) -> None:
    append_acts(fleet.db, 5)
    sign_all(fleet.db, fleet.authority, at=STARTED_AT + 1_000_000)
    append_acts(fleet.db, 1, at=STARTED_AT + DAY)
    days = int(str(fleet.of(30, 365)))

    def prune(day: int) -> int | None:
        at = STARTED_AT + day * DAY
        prune_next(fleet.db, fleet.authority, before=kept_from(fleet.db, at))
        return oldest_sequence(fleet.db)

    assert prune(days - 1) == 1
    assert prune(days + 1) != 1


def test_metrics_are_kept_for_a_week_or_three_months(fleet: Fleet) -> None:
    days = int(str(fleet.of(7, 90)))
    kept = get_retention(fleet.db).levels[Level.HOURS]
    with telemetry_in_memory() as telemetry:
        for day in (days - 1, days + 1):
            ended = STARTED_AT - day * DAY
            telemetry.execute("INSERT INTO gaps (node_id, began_at, ended_at) VALUES ('a', ?, ?)", (ended - 1, ended))
        prune_gaps(telemetry, before=STARTED_AT - kept)
        left = [row["ended_at"] for row in telemetry.execute("SELECT ended_at FROM gaps").fetchall()]
    assert left == [STARTED_AT - (days - 1) * DAY]


def test_copies_of_a_day_or_of_three_are_kept(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / CORE).write_bytes(fleet.db.serialize())
    (tmp_path / COPIES).mkdir()
    for hour in range(80):
        (tmp_path / COPIES / f"core-2026{1 + hour // 24:02}01T{hour % 24:02}0000Z.db").touch()
    make_copy(tmp_path, STARTED_AT, keep=setting(fleet.db, "copies.hourly"))
    assert len(list_copies(tmp_path)) == fleet.of(24, 72)


def test_endpoints_rotate_in_an_enterprise(fleet: Fleet) -> None:
    node, _ = adopt_sample_node(fleet.db, fleet.authority)
    due = next_due(fleet.db, node.created_at + 31 * DAY, {node.id})
    assert (due is not None) is (fleet.posture is Posture.ENTERPRISE)


def test_reality_stands_before_one_site_or_before_several_in_turn(fleet: Fleet) -> None:
    def target(node: Node) -> str:
        assert node.reality is not None
        return node.reality.target

    targets = {target(adopt_sample_node(fleet.db, fleet.authority, f"node-{number}")[0]) for number in range(2)}
    assert len(targets) == fleet.of(1, 2)


def test_user_has_ten_devices_or_five(fleet: Fleet) -> None:
    user = add_user(fleet.db, sample_act(), {"name": "Ada"})
    limit = int(str(fleet.of(10, 5)))
    for number in range(limit):
        check_device_limit(fleet.db, user.id)
        enrol_sample_device(fleet.db, number, user_id=user.id)
    with pytest.raises(ConflictError, match=f"may have {limit} devices"):
        check_device_limit(fleet.db, user.id)


@BOTH
async def test_admins_of_an_enterprise_come_in_by_no_password(posture: Posture, tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        await helm.store.run(set_posture, posture)
        door = SignIn(helm.store, helm.vault)
        signed = await door.by_link(await invited(helm.context), browser="a test")
        await door.set_password(signed.session, signed.admin, PASSWORD)
        code = ""
        if posture is Posture.PERSONAL:
            assert (await door.by_password("ada", PASSWORD, code, browser="a test")).admin.name == "ada"
        else:
            with pytest.raises(NotAllowedError, match=re.escape("admins.password")):
                await door.by_password("ada", PASSWORD, code, browser="a test")
