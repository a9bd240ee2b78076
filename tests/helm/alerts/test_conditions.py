"""What is an alert, and what is none."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from pharos.helm.alerts.conditions import DAY, HELM, SETTLE, Condition, Found, find_conditions
from pharos.helm.alerts.picture import Picture, Recorded
from pharos.helm.alerts.usage import Use
from pharos.helm.live.board import Sighting
from pharos.helm.model.alerts import Severity
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.users import QuotaAction
from pharos.helm.store.watched import Life, Member
from pharos.wire.desired import Fence
from pharos.wire.findings import note, ok, problem
from pharos.wire.link import LinkState
from pharos.wire.pki.roles import Role
from pharos.wire.reports import MachineReport

NOW = 1_800_000_000_000_000
YEAR = 365 * DAY
NODE = Member(id="n1", name="amsterdam", role=Role.NODE, state=NodeState.ACTIVE)
RELAY = Member(id="r1", name="gate", role=Role.RELAY, state=NodeState.ACTIVE)
HEALTHY = MachineReport(memory=2 * 10**9, memory_available=10**9, disk=20 * 10**9, disk_free=10 * 10**9)


def seen(state: LinkState = LinkState.UP, **values: Any) -> Sighting:
    return Sighting(since=0, state=state, **values)


def look(sightings: dict[str, Sighting] | None = None, settled: tuple[int, int] = (0, 0), **values: Any) -> Found:
    recorded = attrs.evolve(Recorded(epoch=1, revision=9), **values)
    return find_conditions(Picture(recorded=recorded, seen=sightings or {}, settled=settled), at=NOW)


def the_only(found: Found) -> Condition:
    (condition,) = found.conditions.values()
    assert condition.kind in SETTLE
    return condition


@pytest.mark.parametrize("member", [NODE, RELAY])
def test_node_or_relay_that_does_not_answer_is_down(member: Member) -> None:
    found = look({member.id: seen(LinkState.LOST, unreachable=True, detail="no route")}, members=[member])
    condition = the_only(found)
    assert (condition.key, condition.severity) == (("unreachable", member.id), Severity.CRITICAL)
    assert (condition.text, condition.noun) == (f"{member.called} does not answer: no route", member.role.value)


@pytest.mark.parametrize("state", [NodeState.DRAINING, NodeState.DISABLED])
@pytest.mark.parametrize("link", [LinkState.LOST, LinkState.REFUSED])
def test_member_that_is_worked_on_is_not_down(state: NodeState, link: LinkState) -> None:
    found = look({"n1": seen(link, unreachable=True)}, members=[attrs.evolve(NODE, state=state)])
    assert not found.conditions
    assert ("unreachable", "n1") not in found.unsure


def test_member_that_helm_has_not_waited_for_is_neither_down_nor_well() -> None:
    for sightings in ({}, {"n1": seen(LinkState.CONNECTING)}, {"n1": seen(LinkState.LOST)}):
        found = look(sightings, members=[NODE])
        assert not found.conditions
        assert ("unreachable", "n1") in found.unsure


def test_member_that_is_refused_is_an_alert_of_its_own() -> None:
    found = look({"n1": seen(LinkState.REFUSED, detail="another certificate")}, members=[NODE])
    assert the_only(found).key == ("link_refused", "n1")
    assert "another certificate" in the_only(found).text


def test_healthy_fleet_has_no_alert() -> None:
    found = look(
        {"n1": seen(machine=HEALTHY, applied=Fence(epoch=1, revision=9)), "r1": seen()},
        (1, 9),
        members=[NODE, RELAY],
        lives={"n1": Life(begins_at=NOW - YEAR // 2, ends_at=NOW + YEAR // 2)},
        authorities={"the root certificate": Life(begins_at=NOW - YEAR, ends_at=NOW + 9 * YEAR)},
        findings=[ok("backup", "fine."), note("backup", "a week."), ok("clock", "fine."), ok("disk", "fine.")],
        uses=[Use(user_id="u", name="ada", used=79, quota=100, action=QuotaAction.WARN)],
    )
    assert not found.conditions
    assert found.unsure == {("clock_skewed", "n1")}


@pytest.mark.parametrize(
    ("left", "severity"),
    [(YEAR * 30 // 100, None), (YEAR * 27 // 100, "warning"), (6 * DAY, "critical"), (-DAY, "critical")],
)
def test_certificate_that_was_not_renewed_in_time_is_a_warning_and_within_a_week_critical(
    left: int, severity: str | None
) -> None:
    life = Life(begins_at=NOW + left - YEAR, ends_at=NOW + left)
    for found in (
        look({"r1": seen()}, members=[RELAY], lives={"r1": life}),
        look(authorities={"the Device CA": life}),
    ):
        severities = [condition.severity.value for condition in found.conditions.values()]
        assert severities == ([] if severity is None else [severity])
        assert all(
            " ended on " in one.text if left < 0 else " ends on " in one.text for one in found.conditions.values()
        )


def test_disk_of_helm_is_a_warning_and_then_critical() -> None:
    assert the_only(look(findings=[note("disk", "900 MiB free.")])).severity is Severity.WARNING
    full = the_only(look(findings=[problem("disk", "1 MiB free.", "Make room")]))
    assert (full.key, full.severity, full.text) == (("disk_low", HELM), Severity.CRITICAL, "1 MiB free")


def test_disk_and_memory_of_a_node_are_looked_at_while_it_is_up() -> None:
    full = attrs.evolve(HEALTHY, disk_free=100_000_000, memory_available=10_000_000)
    found = look({"n1": seen(machine=full)}, members=[NODE])
    assert {key: one.severity for key, one in found.conditions.items()} == {
        ("disk_low", "n1"): Severity.WARNING,
        ("memory_low", "n1"): Severity.INFO,
    }
    away = look({"n1": seen(LinkState.LOST, machine=full)}, members=[NODE])
    assert not away.conditions
    assert {("disk_low", "n1"), ("memory_low", "n1")} <= away.unsure


def test_clock_of_a_relay_that_is_wrong_by_more_than_five_minutes_is_a_warning() -> None:
    for skew, text in ((-360_000_000, "6 minutes behind"), (360_000_000, "6 minutes ahead of")):
        condition = the_only(look({"r1": seen(skew=skew)}, members=[RELAY]))
        assert (condition.kind, condition.severity) == ("clock_skewed", Severity.WARNING)
        assert condition.text == f"the clock of relay gate is {text} helm's"
    assert not look({"r1": seen(skew=299_000_000)}, members=[RELAY]).conditions
    # A node's clock is judged where its report is heard.
    node = look({"n1": seen(skew=360_000_000, machine=HEALTHY, applied=Fence(epoch=1))}, members=[NODE])
    assert not node.conditions
    assert ("clock_skewed", "n1") in node.unsure


def test_clock_of_helm_that_is_behind_is_critical_and_a_late_backup_a_warning() -> None:
    assert the_only(look(findings=[problem("clock", "It is 1970.", "")])).kind == "clock_behind"
    late = the_only(look(findings=[problem("backup", "The last backup is 31 days old.", "")]))
    assert (late.kind, late.severity) == ("backup_overdue", Severity.WARNING)


@pytest.mark.parametrize(("used", "kind"), [(79, None), (80, "quota_near"), (99, "quota_near"), (100, "quota_used")])
@pytest.mark.parametrize("action", list(QuotaAction))
def test_quota_is_an_alert_at_four_fifths_and_at_its_end(used: int, kind: str | None, action: QuotaAction) -> None:
    found = look(uses=[Use(user_id="u", name="ada", used=used, quota=100, action=action)])
    assert [one.kind for one in found.conditions.values()] == ([] if kind is None else [kind])
    assert all(one.noun == "user" and one.evidence["action"] == action.value for one in found.conditions.values())


def test_node_that_has_not_taken_what_is_minutes_old_is_stale() -> None:
    behind = look({"n1": seen(machine=HEALTHY, applied=Fence(epoch=1, revision=7))}, (1, 8), members=[NODE])
    assert the_only(behind).key == ("node_stale", "n1")
    # Newer orders are on their way, and of an earlier epoch a revision says nothing.
    for applied, settled in ((Fence(epoch=1, revision=8), (1, 8)), (Fence(epoch=2, revision=1), (1, 8))):
        assert not look({"n1": seen(machine=HEALTHY, applied=applied)}, settled, members=[NODE]).conditions


def test_devices_that_have_not_synced_for_a_week_are_worth_knowing() -> None:
    one, many = the_only(look(unsynced=1)), the_only(look(unsynced=3))
    assert (one.severity, one.text) == (Severity.INFO, "a device has not synced for 7 days")
    assert many.text == "3 devices have not synced for 7 days"


def test_target_that_takes_no_alerts_is_an_alert() -> None:
    assert the_only(look(failing=[("t", "ops")])).text == "alerts have not arrived at ops for more than an hour"
