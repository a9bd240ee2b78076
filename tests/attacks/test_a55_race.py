"""Row 55. Position: two admins at once, a double click, somebody who just lost a role. Wants: both changes, or power.

Countermeasure: `UPDATE … WHERE version = ?`, and the check of privilege, inside the transaction that changes. The
model-based test of the same is ``tests/helm/store/test_records.py``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio

from pharos.helm.accounts.admins import change_admin
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.store import records
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.pages import Query, list_page
from pharos.helm.web import acting, app
from pharos.helm.web.app import make_loopback_app
from tests.support.figures import Fault, record
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in

HOSTS = {"localhost:8440"}
WRITERS = 64


async def race(helm: SampleHelm) -> tuple[Counter[int], int]:
    """Let 64 requests by two admins change one record that all of them saw; return answers and the last version."""
    async with asking(make_loopback_app(helm.context, HOSTS)) as client:
        both = [await sign_in(helm.context, name=name) for name in ("ada", "grace")]
        user = (await client.post("/api/v1/users", json={"name": "subject"}, headers=both[0])).json()
        path, codes = f"/api/v1/users/{user['id']}", Counter[int]()

        async def write(number: int) -> None:
            headers = [*both[number % 2], ("If-Match", '"1"')]
            answer = await client.patch(path, json={"note": f"writer {number}"}, headers=headers)
            codes[answer.status_code] += 1

        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(write, number)
        return codes, (await client.get(path, headers=both[0])).json()["version"]


async def test_a55_one_of_64_parallel_changes_is_made(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        codes, version = await race(helm)
    record(Fault.CONTENTION, "changes made of those that saw one version", codes[200], f"of {WRITERS}")
    assert (codes, version) == ({200: 1, 409: WRITERS - 1}, 2)


async def test_a55_turns_red_without_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the test above can fail: a build that takes whatever version was seen for today's."""
    change = records.change_record

    def blind(db: Database, noun: Any, record_id: str, version: int, *rest: Any, **more: Any) -> Any:
        current = records.get_record(db, noun, record_id)
        return change(db, noun, record_id, current.version, *rest, **more)

    monkeypatch.setattr("pharos.helm.accounts.users.change_record", blind)
    async with open_helm(tmp_path) as helm:
        assert await race(helm) == ({200: WRITERS}, WRITERS + 1)


async def rise(helm: SampleHelm, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> int:
    """Ask for power as an owner whose role ends while the request waits for its turn; return the answer's status."""
    falling = await sign_in(helm.context, name="mallory")
    run, waiting = helm.store.run, 0

    def demote(db: Database) -> None:
        mallory = next(admin for admin in list_page(db, ADMINS, Query()).items if admin.name == "mallory")
        change_admin(db, Act(actor="ada", at=now_us()), mallory.id, mallory.version, {"role": Role.VIEWER})

    async def overtaken(function: Any, *args: Any) -> Any:
        # The first is the edge's own, which lets the request in; the second is the change.
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            await run(demote)
        return await run(function, *args)

    with monkeypatch.context() as patched:
        patched.setattr(helm.store, "run", overtaken)
        answer = await client.post("/api/v1/admins", json={"name": "accomplice", "role": "owner"}, headers=falling)
    assert waiting == 2
    return answer.status_code


async def test_a55_role_that_ends_while_a_request_waits_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        owner = await sign_in(helm.context, name="ada")
        # Losing a role ends the session, too.
        assert await rise(helm, client, monkeypatch) == 401
        names = {admin["name"] for admin in (await client.get("/api/v1/admins", headers=owner)).json()["items"]}
        assert names == {"ada", "mallory"}


async def promote_itself(helm: SampleHelm, client: httpx.AsyncClient) -> Counter[int]:
    """Let an admin ask 64 times at once to be an owner (NetBird GO-2026-5646); return the answers' statuses."""
    mallory = await sign_in(helm.context, name="mallory", role=Role.ADMIN)
    found = (await helm.store.read(list_page, ADMINS, Query())).items
    own = next(admin for admin in found if admin.name == "mallory")
    codes = Counter[int]()

    async def ask(number: int) -> None:
        headers = [*mallory, ("If-Match", f'"{own.version}"')]
        body = {"role": "owner"} if number % 2 else {"role": "owner", "state": "active"}
        codes[(await client.patch(f"/api/v1/admins/{own.id}", json=body, headers=headers)).status_code] += 1

    async with trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(ask, number)
    return codes


@pytest.mark.red_inside
async def test_a55_admin_makes_itself_no_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm:
        async with asking(make_loopback_app(helm.context, HOSTS)) as client:
            await sign_in(helm.context, name="ada")
            assert await promote_itself(helm, client) == {403: WRITERS}
            owners = await helm.store.read(list_page, ADMINS, Query(filters={"role": "owner"}))
            assert [admin.name for admin in owners.items] == ["ada"]
    weak = tmp_path / "weak"
    weak.mkdir(mode=0o700)
    # Weakened: admins may write admins, at the edge and in the transaction.
    monkeypatch.setattr(app, "RESOURCES", tuple(attrs.evolve(r, writes=Role.ADMIN) for r in app.RESOURCES))
    async with open_helm(weak) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        await sign_in(helm.context, name="ada")
        assert (await promote_itself(helm, client))[200] == 1


async def test_a55_turns_red_where_the_edge_alone_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the test above can fail: a build that asks once, before the transaction."""

    def by_the_edge(_db: Database, principal: Principal, needed: Role, **_more: Any) -> Role:
        assert principal.role.includes(needed)
        return principal.role

    monkeypatch.setattr(acting, "check_principal", by_the_edge)
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        await sign_in(helm.context, name="ada")
        assert await rise(helm, client, monkeypatch) == 201
