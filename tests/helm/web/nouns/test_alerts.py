"""Alerts, their targets and mutes, by REST."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from pharos.helm.alerts.acts import raise_alert
from pharos.helm.model.alerts import Severity
from tests.support.helm import sample_act
from tests.support.nouns import API, match, operator
from tests.support.webhook import running_webhook

TARGETS = f"{API}/alert-targets"
MUTES = f"{API}/alert-mutes"


def in_hours(hours: float) -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)).isoformat()


def target(**changes: Any) -> dict[str, Any]:
    return {"name": "ops", "url": "jsons://example.org/canary"} | changes


async def test_target_lives_and_shows_its_url_to_nobody(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        made = await client.post(TARGETS, json=target(kinds=["unreachable", "unreachable"], minimum="critical"))
        assert made.status_code == 201, made.text
        assert made.headers["Location"] == f"{TARGETS}/{made.json()['id']}"
        shown = (await client.get(made.headers["Location"])).json()
        assert (shown["service"], shown["minimum"], shown["kinds"]) == ("jsons", "critical", ["unreachable"])
        assert (shown["enabled"], shown["waiting"], shown["last_error"]) == (True, 0, None)
        assert "url" not in shown
        path = made.headers["Location"]
        changed = await client.patch(path, json={"enabled": False, "kinds": [], "name": "desk"}, headers=match(1))
        assert (changed.json()["name"], changed.json()["kinds"], changed.json()["enabled"]) == ("desk", [], False)
        moved = await client.post(f"{path}/move", json={"url": "json://example.org/"}, headers=match(2))
        assert (moved.status_code, moved.json()["service"], moved.json()["version"]) == (200, "json", 3)
        assert (await client.post(f"{path}/move", json={"url": "json://x/"}, headers=match(2))).status_code == 409
        assert (await client.delete(path, headers=match(3))).status_code == 204
        verbs = [
            row["verb"] for row in (await client.get(f"{API}/audit", params={"noun": "alert_target"})).json()["items"]
        ]
        assert sorted(verbs) == [f"alert_target_{verb}" for verb in ("added", "changed", "moved", "removed")]


@pytest.mark.parametrize(
    "change",
    [{"url": "nothing://x"}, {"url": ""}, {"minimum": "fatal"}, {"kinds": ["No Kind"]}, {"name": " "}, {"more": 1}],
)
async def test_target_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    async with operator(tmp_path) as (_, client):
        assert (await client.post(TARGETS, json=target(**change))).status_code == 400
        assert (await client.get(TARGETS)).json()["items"] == []


async def test_there_are_only_so_many_targets_and_each_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pharos.helm.alerts.targets.MAX_TARGETS", 2)
    async with operator(tmp_path) as (_, client):
        assert (await client.post(TARGETS, json=target())).status_code == 201
        assert (await client.post(TARGETS, json=target())).status_code == 409
        assert (await client.post(TARGETS, json=target(name="desk"))).status_code == 201
        assert (await client.post(TARGETS, json=target(name="more"))).status_code == 409


async def test_test_says_whether_it_arrived(tmp_path: Path) -> None:
    async with running_webhook() as hook, operator(tmp_path) as (_, client):
        path = (await client.post(TARGETS, json=target(url=hook.url))).headers["Location"]
        assert (await client.post(f"{path}/test")).json() == {"delivered": True, "detail": None}
        assert hook.received[0]["title"] == "Pharos: a test"
        hook.status = 403
        failed = (await client.post(f"{path}/test")).json()
        assert failed["delivered"] is False
        assert "403" in failed["detail"]
        assert (await client.post(f"{TARGETS}/nobody/test")).status_code == 404


async def test_alert_says_who_was_told_and_until_when_it_is_muted(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await client.post(TARGETS, json=target())
        await client.post(MUTES, json={"kind": "disk_low", "until": in_hours(8)})
        alert = await helm.store.run(raise_alert, sample_act(), "disk_low", Severity.CRITICAL, "full", subject="helm")
        shown = (await client.get(f"{API}/alerts/{alert.id}")).json()
        assert shown["muted_until"] is not None
        (delivery,) = shown["deliveries"]
        assert (delivery["target"], delivery["what"], delivery["outcome"]) == ("ops", "raised", "waiting")
        (ops,) = (await client.get(TARGETS)).json()["items"]
        assert (await client.get(f"{TARGETS}/{ops['id']}")).json()["waiting"] == 1
        assert (await client.delete(f"{TARGETS}/{ops['id']}", headers=match(1))).status_code == 204
        assert (await client.get(f"{API}/alerts/{alert.id}")).json()["deliveries"] == []


async def test_mute_lives(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        made = await client.post(
            MUTES, json={"kind": "unreachable", "subject": "n1", "until": in_hours(1), "note": "work"}
        )
        assert made.status_code == 201, made.text
        (listed,) = (await client.get(MUTES, params={"kind": "unreachable"})).json()["items"]
        assert (listed["subject"], listed["note"], listed["updated_by"]) == ("n1", "work", "operator")
        assert (await client.delete(made.headers["Location"], headers=match(1))).status_code == 204
        assert (await client.get(MUTES)).json()["items"] == []


@pytest.mark.parametrize(
    "change",
    [{"until": in_hours(-1)}, {"until": in_hours(9_000)}, {"kind": ""}, {"subject": "a\nb"}, {"until": "soon"}],
)
async def test_mute_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    async with operator(tmp_path) as (_, client):
        body = {"kind": "unreachable", "until": in_hours(1)} | change
        assert (await client.post(MUTES, json=body)).status_code == 400
