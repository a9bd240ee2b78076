"""Profiles in whatever order, and what their rows say."""

from __future__ import annotations

from pathlib import Path

from pharos.helm.accounts.devices import move_device
from pharos.helm.model.devices import DeviceAct
from tests.support.helm import sample_act
from tests.support.nouns import operator
from tests.support.views import give_profile, order, rows, settle


async def test_profiles_are_those_of_devices_that_may_come_in(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        people = await settle(helm)
        await helm.store.run(give_profile, people.phone, sealed_ago=60, held=True, revision=7)
        await helm.store.run(give_profile, people.laptop, sealed_ago=50, held=False)
        await helm.store.run(give_profile, people.tablet, sealed_ago=8 * 86_400, held=False)
        await helm.store.run(give_profile, people.spare, sealed_ago=60, held=True)
        await helm.store.run(move_device, sample_act(), people.spare, 1, DeviceAct.DISABLE)

        async def named(**query: str) -> list[str]:
            return [people.names[one] for one in (await order(client, "profiles", **query))["ids"]]

        assert await named() == ["laptop", "phone", "tablet"]
        assert await named(sort="state") == ["tablet", "laptop", "phone"]
        assert await named(sort="-revision") == ["phone", "laptop", "tablet"]
        assert await named(sort="fetched") == ["phone", "laptop", "tablet"]
        assert await named(state="stale") == await named(user="bob") == await named(q="tab") == ["tablet"]
        found = await order(client, "profiles", user="ada")
        assert found["facets"] == {"state": {"sending": 1, "synced": 1}}

        phone, tablet = await rows(client, "profiles", people.phone, people.spare, people.tablet)
        assert (phone["state"], phone["revision"], phone["wanted"], phone["size"]) == ("synced", 7, 7, 100)
        assert (phone["made_at"], phone["user"]["name"]) == (phone["fetched_at"], "Ada")
        assert (tablet["state"], tablet["revision"], tablet["fetched_at"]) == ("stale", None, None)
        # Bob is in no group, and as soon as there is one, only its members may use nodes.
        assert (phone["nodes"], phone["protocols"], tablet["nodes"]) == (1, ["amneziawg"], 0)
