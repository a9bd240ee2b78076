"""Users in whatever order, and what their rows say."""

from __future__ import annotations

from pathlib import Path

from pharos.helm.accounts.devices import move_device
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import DeviceAct
from pharos.helm.model.users import Group, UserState
from pharos.helm.store.credentials import put_passphrase
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record
from pharos.helm.store.users import GROUPS
from tests.support.helm import sample_act
from tests.support.nouns import operator
from tests.support.views import SECOND, change_user, order, reading, rows, settle, tell


async def test_users_are_sorted_by_what_their_devices_do(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        people = await settle(helm)
        ada, bob = people.ada.id, people.bob.id
        await tell(helm, reading(people.node, ago=5, **{people.phone: (1, 2), people.tablet: (30, 40)}))

        async def ids(**query: str) -> list[str]:
            found: list[str] = (await order(client, "users", **query))["ids"]
            return found

        for sort in ("-devices", "-online", "used"):
            assert await ids(sort=sort) == [ada, bob], sort
        assert await ids() == [ada, bob]
        assert await ids(sort="-name") == await ids(sort="-used") == await ids(sort="online") == [bob, ada]
        # Who has no address is last.
        assert await ids(sort="email") == await ids(sort="-email") == [ada, bob]
        assert await ids(group="office") == await ids(q="EXAMPLE.org") == [ada]
        await helm.store.run(change_user, people.bob, state=UserState.DISABLED)
        found = await order(client, "users", status="disabled")
        assert (found["ids"], found["facets"]) == ([bob], {"status": {"active": 1, "disabled": 1}})


async def test_row_counts_devices_that_are_not_revoked_and_names_groups(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        people = await settle(helm)
        everybody = Group(id=fresh_id(), name="all", everybody=True)
        await helm.store.run(add_record, GROUPS, everybody, sample_act())
        await helm.store.run(put_passphrase, sample_act(), people.ada.id, "encoded")
        await helm.store.run(change_user, people.bob, expires_at=now_us() - SECOND)
        await helm.store.run(move_device, sample_act(), people.laptop, 1, DeviceAct.REVOKE)
        await tell(helm, reading(people.node, ago=5, **{people.phone: (1, 2)}))
        bob, ada = await rows(client, "users", people.bob.id, "nobody", people.ada.id)
        assert [group["name"] for group in ada["groups"]] == ["office", "all"]
        assert [group["name"] for group in bob["groups"]] == ["all"]
        assert (ada["devices"], ada["online"], ada["used_bytes"], ada["passphrase_set"]) == (1, 1, 3, True)
        assert (bob["devices"], bob["online"], bob["used_bytes"], bob["passphrase_set"]) == (1, 0, 0, False)
        assert (ada["status"], bob["status"], bob["state"]) == ("active", "expired", "active")
