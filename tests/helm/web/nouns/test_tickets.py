"""Tickets by REST: the link is told once, and what is still open can be withdrawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.wire.seal.ticket import TicketLink
from tests.support.helm import adopt_sample_relay
from tests.support.nouns import API, match, operator

TICKETS = f"{API}/tickets"


async def test_link_is_in_the_first_answer_and_nowhere_else(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(adopt_sample_relay, helm.authority)
        user = (await client.post(f"{API}/users", json={"name": "ada"})).json()
        body = {"device_name": "Ada's phone", "seconds": 900, "user": user["id"]}
        made = await client.post(TICKETS, json=body)
        assert made.status_code == 201
        ticket = made.json()
        link = TicketLink.parse(ticket["link"])
        assert link.helm_key == helm.authority.noise.public
        assert (ticket["id"], ticket["state"], ticket["user_id"]) == (link.ticket_id.hex(), "open", user["id"])
        assert made.headers["location"] == f"{TICKETS}/{ticket['id']}"
        later = [(await client.get(path)).text for path in (TICKETS, f"{TICKETS}/{ticket['id']}", f"{API}/audit")]
        for text in later:
            for secret in (ticket["link"].rpartition("s=")[2], link.secret.hex(), "psk", "proof", "used_keys"):
                assert secret not in text


async def test_ticket_is_withdrawn_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(adopt_sample_relay, helm.authority)
        ids = [(await client.post(TICKETS, json={"device_name": name})).json()["id"] for name in ("a", "b")]
        path = f"{TICKETS}/{ids[0]}/withdraw"
        assert (await client.post(path)).status_code == 428
        withdrawn = await client.post(path, headers=match(1))
        assert (withdrawn.json()["state"], withdrawn.json()["version"]) == ("withdrawn", 2)
        assert (await client.post(path, headers=match(1))).json()["current"]["state"] == "withdrawn"
        assert (await client.post(path, headers=match(2))).status_code == 409

        async def listed(state: str) -> list[str]:
            page = (await client.get(TICKETS, params={"state": state})).json()
            assert page["total"] == len(page["items"])
            return [item["id"] for item in page["items"]]

        assert (await listed("open"), await listed("withdrawn")) == ([ids[1]], [ids[0]])
        assert (await listed("used"), await listed("expired")) == ([], [])


@pytest.mark.parametrize("seconds", [0, -1, 59, 8 * 86400, 10**18, 1.5, "900", None])
async def test_ticket_with_a_life_that_does_not_fit_is_refused(tmp_path: Path, seconds: object) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(adopt_sample_relay, helm.authority)
        answer = await client.post(TICKETS, json={"device_name": "phone", "seconds": seconds})
        assert answer.status_code == 400


async def test_ticket_for_nobody_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(adopt_sample_relay, helm.authority)
        assert (await client.post(TICKETS, json={"device_name": "phone", "user": "nobody"})).status_code == 404
        assert (await client.post(TICKETS, json={"device_name": ""})).status_code == 400
