"""A quota is leased to nodes in shares, and what is leased is never more than there is."""

from __future__ import annotations

import datetime
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.accounts.devices import change_device
from pharos.helm.accounts.users import add_user
from pharos.helm.model.users import QuotaAction, QuotaPeriod
from pharos.helm.profiles.leases import current_leases, due_shares, renew_leases, run_leases
from pharos.helm.profiles.quota import LEAST, Budget, period_start, share_out
from pharos.helm.store.devices import get_device
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.leases import Share, list_shares, note_used, used_news
from pharos.helm.store.settings import put_setting
from pharos.wire.convert import PeerReport
from pharos.wire.desired import Fence, QuotaLease
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.units import MIB
from tests.support.helm import adopt_sample_node, enrol_sample_device, fleet_in_memory, open_helm, sample_act
from tests.support.strategies import quick

D, E = DeviceId("d"), DeviceId("e")
A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
GIB = 1024 * MIB
PLACES = {(D, A), (D, B), (D, C)}


def budget(**changes: object) -> Budget:
    values: dict[str, object] = {"places": PLACES, "period_at": 0, "devices": {D: GIB}}
    return Budget(**(values | changes))  # type: ignore[arg-type]


def apply(shares: list[Share], changed: list[Share]) -> list[Share]:
    kept = {(share.device_id, share.node_id): share for share in shares}
    return sorted((kept | {(share.device_id, share.node_id): share for share in changed}).values(), key=str)


def use(shares: list[Share], place: tuple[DeviceId, NodeId], octets: int) -> list[Share]:
    return [
        attrs.evolve(share, used=share.used + octets) if (share.device_id, share.node_id) == place else share
        for share in shares
    ]


def test_first_shares_leave_most_of_the_quota_at_helm() -> None:
    shares = share_out(budget(), [], revision=7)
    assert [share.node_id for share in shares] == [A, B, C]
    assert all(share.lease == 7 for share in shares)
    assert all(LEAST < share.octets < GIB // 4 for share in shares)
    assert share_out(budget(), shares, revision=8) == []


def test_lease_changes_only_where_a_new_share_is_given() -> None:
    shares = share_out(budget(), [], revision=1)
    spent = use(shares, (D, A), shares[0].octets * 3 // 4 + 1)
    (renewed,) = share_out(budget(), spent, revision=2)
    assert (renewed.node_id, renewed.lease, renewed.used, renewed.spent) == (A, 2, 0, spent[0].used)
    assert renewed.octets > spent[0].rest


def test_one_busy_node_can_spend_nearly_all_of_it() -> None:
    """What idle nodes hold comes back to it, half by half."""
    shares = share_out(budget(), [], revision=1)
    for revision in range(2, 400):
        busy = next(share for share in shares if share.node_id == A)
        shares = use(shares, (D, A), busy.rest)
        shares = apply(shares, share_out(budget(), shares, revision=revision))
    used = sum(share.spent + share.used for share in shares)
    assert GIB - 8 * LEAST < used <= GIB


@quick
@given(st.lists(st.tuples(st.sampled_from(sorted(PLACES)), st.integers(0, 2 * GIB)), max_size=30))
def test_leases_together_are_never_more_than_the_quota(uses: list[tuple[tuple[DeviceId, NodeId], int]]) -> None:
    shares = share_out(budget(), [], revision=1)
    for revision, (place, octets) in enumerate(uses, start=2):
        found = next(share for share in shares if (share.device_id, share.node_id) == place)
        shares = use(shares, place, min(octets, found.rest))
        shares = apply(shares, share_out(budget(), shares, revision=revision))
        assert sum(share.spent + share.octets for share in shares) <= GIB
        assert all(share.octets >= 0 and share.spent >= 0 for share in shares)


def test_quota_that_is_lowered_takes_leases_back() -> None:
    shares = share_out(budget(), [], revision=1)
    lower = budget(devices={D: 30 * MIB})
    shares = apply(shares, share_out(lower, shares, revision=2))
    assert sum(share.spent + share.octets for share in shares) <= 30 * MIB


def test_devices_of_a_user_share_the_users_quota() -> None:
    places = {(D, A), (E, A)}
    both = budget(places=places, user=GIB, devices={})
    shares = share_out(both, [], revision=1)
    assert {share.device_id for share in shares} == {D, E}
    assert sum(share.octets for share in shares) <= GIB
    shares = use(shares, (D, A), GIB)
    shares = apply(shares, share_out(both, shares, revision=2))
    assert sum(share.rest for share in shares) == 0


def test_new_period_begins_with_nothing_spent() -> None:
    shares = use(share_out(budget(), [], revision=1), (D, A), 10 * GIB)
    fresh = share_out(budget(period_at=5), shares, revision=2)
    assert all((share.spent, share.used, share.period_at) == (0, 0, 5) and share.octets for share in fresh)


def test_node_that_is_no_more_gives_its_rest_back() -> None:
    shares = use(share_out(budget(), [], revision=1), (D, C), 5)
    (gone,) = share_out(budget(places={(D, A), (D, B)}), shares, revision=2)
    assert (gone.node_id, gone.octets, gone.spent) == (C, 0, 5)


@pytest.mark.parametrize(
    ("period", "start"),
    [
        (QuotaPeriod.NEVER, None),
        (QuotaPeriod.DAY, "2026-07-16"),
        (QuotaPeriod.WEEK, "2026-07-13"),
        (QuotaPeriod.MONTH, "2026-07-01"),
    ],
)
def test_period_begins_at_midnight_utc(period: QuotaPeriod, start: str | None) -> None:
    at = int(datetime.datetime(2026, 7, 16, 13, 5, tzinfo=datetime.UTC).timestamp() * 1_000_000)
    began = (
        0 if start is None else int(datetime.datetime.fromisoformat(f"{start}T00:00:00+00:00").timestamp() * 1_000_000)
    )
    assert period_start(period, at) == began


def report(device_id: str, used: int) -> PeerReport:
    return PeerReport(
        device_id=DeviceId(device_id),
        awg_key=bytes(32),
        last_handshake=0,
        received=0,
        sent=0,
        commitment=bytes(8),
        quota_used=used,
    )


def test_report_of_a_lease_that_the_node_does_not_hold_yet_is_passed_over() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = enrol_sample_device(db, 1)
        change_device(db, sample_act(), device.id, device.version, {"quota_bytes": GIB})
        renew_leases(db, 0)
        (share,) = list_shares(db)
        epoch = get_fleet(db).epoch
        reports = [report(device.id, 9), report("stranger", 9)]
        for applied in (Fence(epoch, 1, share.lease - 1), Fence(epoch - 1, 9, share.lease)):
            assert used_news(db, node.id, applied, reports) == []
        note_used(db, used_news(db, node.id, Fence(epoch, 1, share.lease), reports))
        assert list_shares(db)[0].used == 9
        assert used_news(db, node.id, Fence(epoch, 1, share.lease), reports) == []


@pytest.mark.parametrize(
    ("action", "throttle"), [(QuotaAction.WARN, None), (QuotaAction.THROTTLE, 1_024_000), (QuotaAction.CUT, 0)]
)
def test_nodes_enforce_the_quotas_that_cut_and_throttle(action: QuotaAction, throttle: int | None) -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        user = add_user(db, sample_act(), {"name": "Ada", "quota_bytes": GIB, "quota_action": action})
        device = enrol_sample_device(db, 1, user_id=user.id)
        if throttle is None:
            assert current_leases(db) == {}
            assert due_shares(db, 0) == ([], set())
            return
        # Where it has no lease yet it may spend nothing, at that rate or not at all.
        leases = current_leases(db)[device.id]
        assert leases.at(node.id) == QuotaLease(id=0, octets=0, throttle=throttle)
        renew_leases(db, 0)
        leases = current_leases(db)[device.id]
        assert leases.at(node.id) == attrs.evolve(leases.rest, id=get_fleet(db).revision, octets=GIB // 4)
        # Everybody's device may have a quota of its own, with the action of its user.
        change_device(db, sample_act(), device.id, device.version, {"quota_bytes": 1})
        assert current_leases(db)[device.id].rest.throttle == throttle


def test_rate_of_whoever_has_used_a_quota_up_is_a_setting_that_nodes_hear_of() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority)
        user = add_user(db, sample_act(), {"name": "Ada", "quota_bytes": GIB, "quota_action": QuotaAction.THROTTLE})
        device = enrol_sample_device(db, 1, user_id=user.id)
        before = get_fleet(db).revision
        put_setting(db, sample_act(), "quota.throttle_kbit", 0, 256)
        assert get_fleet(db).revision > before
        assert current_leases(db)[device.id].rest.throttle == 256_000


async def test_running_helm_shares_a_quota_out_as_soon_as_it_is_set(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        await helm.store.run(adopt_sample_node, helm.authority)
        device = await helm.store.run(enrol_sample_device, 1)
        nursery.start_soon(run_leases, helm.store)
        before = (await helm.store.read(get_fleet)).revision
        await helm.store.run(change_device, sample_act(), device.id, device.version, {"quota_bytes": GIB})
        with trio.fail_after(10):
            while not await helm.store.read(list_shares):
                await helm.store.wait_commit(helm.store.commits)
        assert (await helm.store.read(get_fleet)).revision > before
        device = await helm.store.read(get_device, device.id)
        await helm.store.run(change_device, sample_act(), device.id, device.version, {"quota_bytes": None})
        with trio.fail_after(10):
            while await helm.store.read(list_shares):
                await helm.store.wait_commit(helm.store.commits)
        nursery.cancel_scope.cancel()
