"""What is delivered when: gathered, put off, muted."""

from __future__ import annotations

import itertools

from pharos.helm.alerts.queue import FIRST_DELAY, GATHER, LONGEST_DELAY, Plan, plan_deliveries, retry_at
from pharos.helm.model.alerts import AlertMute, AlertState, News
from tests.support.alerts import sample_alert, sample_pending, sample_target

NOW = 1_800_000_000_000_000


def plan(*items: object, mutes: tuple[AlertMute, ...] = (), now: int = NOW, busy: tuple[str, ...] = ()) -> Plan:
    return plan_deliveries({"t": items}, [sample_target()], mutes, now=now, busy=busy)  # type: ignore[dict-item]


def mute(**values: object) -> AlertMute:
    return AlertMute(**{"id": "m", "kind": "unreachable", "until_at": NOW + 1_000} | values)  # type: ignore[arg-type]


def ids(found: Plan) -> list[str]:
    return [item.delivery.id for batch in found.batches for item in batch.items]


def test_what_happens_together_is_one_batch_and_waits_for_the_rest_of_it() -> None:
    items = sample_pending(1, queued_at=NOW), sample_pending(2, queued_at=NOW + GATHER // 2)
    early = plan(*items, now=NOW + GATHER - 1)
    assert (early.batches, early.next_at) == ([], NOW + GATHER)
    (batch,) = plan(*items, now=NOW + GATHER).batches
    assert [item.alert.id for item in batch.items] == ["alert-001", "alert-002"]


def test_what_is_put_off_goes_along_as_soon_as_anything_is_due() -> None:
    later = sample_pending(1, queued_at=0, attempts=3, next_try_at=NOW + 10**9)
    assert plan(later) == Plan(batches=[], muted=[], next_at=NOW + 10**9)
    assert len(ids(plan(later, sample_pending(2, queued_at=0)))) == 2


def test_target_that_is_being_told_or_disabled_is_left_alone() -> None:
    item = sample_pending(1)
    assert plan(item, busy=("t",)) == Plan(batches=[], muted=[])
    disabled = plan_deliveries({"t": [item]}, [sample_target(enabled=False)], (), now=NOW)
    assert disabled == Plan(batches=[], muted=[])


def test_muted_alert_waits_for_the_end_of_the_mute_and_is_told_then_if_it_stands() -> None:
    item = sample_pending(1)
    held = plan(item, mutes=(mute(),))
    assert (held.batches, held.muted, held.next_at) == ([], [], NOW + 1_000)
    assert ids(plan(item, mutes=(mute(),), now=NOW + 1_000)) == [item.delivery.id]


def test_mute_is_of_a_kind_a_subject_or_all() -> None:
    item = sample_pending(1)
    for covering in (mute(), mute(subject="n1"), mute(kind="all"), mute(kind="all", subject="n1")):
        assert ids(plan(item, mutes=(covering,))) == []
    for passing in (mute(subject="n2"), mute(kind="disk_low"), mute(until_at=NOW)):
        assert ids(plan(item, mutes=(passing,))) == [item.delivery.id]


def test_what_was_over_before_anybody_was_told_is_told_to_nobody() -> None:
    over = sample_alert(1, state=AlertState.RESOLVED)
    raised = sample_pending(1, alert=over)
    resolved = sample_pending(1, News.RESOLVED, alert=over)
    assert plan(raised, resolved, mutes=(mute(),)).muted == [raised.delivery.id, resolved.delivery.id]
    # The mute has ended between the two.
    assert plan(resolved).muted == [resolved.delivery.id]
    assert ids(plan(sample_pending(1, News.RESOLVED, told=True))) == ["delivery-001-resolved"]
    assert ids(plan(raised, resolved)) == [raised.delivery.id, resolved.delivery.id]


def test_tries_are_twice_as_far_apart_each_time_and_a_day_at_most() -> None:
    delays = [retry_at(attempts, now=0, random=0.999999) for attempts in range(20)]
    assert delays[:3] == [14_999_992, 29_999_985, 59_999_970]
    assert all(later >= earlier for earlier, later in itertools.pairwise(delays))
    assert max(delays) <= LONGEST_DELAY
    assert retry_at(0, now=7, random=0.0) == 7 + FIRST_DELAY // 2
    assert retry_at(10**6, now=0, random=0.0) == LONGEST_DELAY // 2


def test_clock_that_was_set_back_puts_nothing_off_for_years() -> None:
    item = sample_pending(1, attempts=1, next_try_at=NOW + 365 * LONGEST_DELAY)
    assert ids(plan(item)) == [item.delivery.id]
    assert ids(plan(sample_pending(1, queued_at=NOW + 365 * LONGEST_DELAY))) == ["delivery-001-raised"]
