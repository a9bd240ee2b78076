"""From conditions to alerts, over time."""

from __future__ import annotations

from pharos.helm.alerts.conditions import DAY, SETTLE, Condition, Found, Key
from pharos.helm.alerts.judge import Judge, Verdict
from pharos.helm.model.alerts import Severity

KEY = ("unreachable", "n1")
PATIENCE = SETTLE["unreachable"]
AT = 1_800_000_000_000_000
Standing = dict[Key, Severity]
DOWN: Standing = {KEY: Severity.CRITICAL}


def down(severity: Severity = Severity.CRITICAL) -> Found:
    condition = Condition(kind=KEY[0], subject=KEY[1], severity=severity, text="down")
    return Found(conditions={KEY: condition}, unsure=frozenset())


WELL = Found(conditions={}, unsure=frozenset())
UNSURE = Found(conditions={}, unsure=frozenset({KEY}))


def judge(judge: Judge, found: Found, standing: Standing, now: float, **closed: tuple[int, Severity]) -> Verdict:
    return judge.judge(found, standing, {KEY: closed["closed"]} if closed else {}, now=now, at=AT + int(now * 1e6))


def test_condition_is_raised_at_once_and_once() -> None:
    machine = Judge()
    assert [one.key for one in judge(machine, down(), {}, 0).raised] == [KEY]
    assert not judge(machine, down(), DOWN, 1)


def test_alert_ends_when_all_was_well_for_long_enough() -> None:
    machine = Judge()
    assert not judge(machine, WELL, DOWN, 0)
    assert not judge(machine, WELL, DOWN, PATIENCE - 1)
    assert judge(machine, WELL, DOWN, PATIENCE).cleared == [KEY]


def test_node_that_flaps_is_one_alert() -> None:
    machine, standing, raised, cleared = Judge(), dict[Key, Severity](), 0, 0
    for second in range(0, 3600, 20):
        verdict = judge(machine, down() if second // 20 % 2 else WELL, standing, second)
        for condition in verdict.raised:
            standing[condition.key] = condition.severity
            raised += 1
        cleared += len(verdict.cleared)
    assert (raised, cleared) == (1, 0)


def test_what_nobody_knows_ends_no_alert() -> None:
    machine = Judge()
    judge(machine, WELL, DOWN, 0)
    assert not judge(machine, UNSURE, DOWN, PATIENCE)
    assert not judge(machine, WELL, DOWN, PATIENCE + 1)
    assert judge(machine, WELL, DOWN, 2 * PATIENCE + 1).cleared == [KEY]


def test_helm_that_starts_anew_ends_the_alerts_of_before() -> None:
    assert judge(Judge(), WELL, DOWN, 0) == Verdict(raised=[], cleared=[])
    machine = Judge()
    judge(machine, WELL, DOWN, 100)
    assert judge(machine, WELL, DOWN, 100 + PATIENCE).cleared == [KEY]


def test_worse_condition_is_news_and_a_better_one_is_none() -> None:
    machine = Judge()
    assert judge(machine, down(Severity.CRITICAL), {KEY: Severity.WARNING}, 0).raised
    assert not judge(machine, down(Severity.INFO), {KEY: Severity.WARNING}, 1)


def test_what_somebody_closed_is_told_again_a_day_later_or_when_it_comes_back() -> None:
    machine = Judge()
    judge(machine, down(), {}, 0)
    closed = AT + 10_000_000, Severity.CRITICAL
    assert not judge(machine, down(), {}, 11, closed=closed)
    assert judge(machine, down(), {}, 11 + DAY / 1e6, closed=closed).raised
    machine = Judge()
    judge(machine, down(), {}, 0)
    judge(machine, WELL, {}, 20, closed=closed)
    judge(machine, WELL, {}, 20 + PATIENCE, closed=closed)
    assert judge(machine, down(), {}, 21 + PATIENCE, closed=closed).raised


def test_what_somebody_closed_is_told_again_when_it_is_worse() -> None:
    machine = Judge()
    judge(machine, down(Severity.WARNING), {}, 0)
    closed = AT + 1, Severity.WARNING
    assert not judge(machine, down(Severity.WARNING), {}, 1, closed=closed)
    assert judge(machine, down(Severity.CRITICAL), {}, 1, closed=closed).raised
