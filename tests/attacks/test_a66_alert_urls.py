"""Row 66. Position: somebody who reads logs, errors, the API, the audit or the database. Wants: a target's URL.

A webhook's URL is its password. Countermeasure: it is wrapped by the vault, no view shows it, and nothing that apprise
or the libraries under it say leaves the one module that calls them without being stripped of every piece of it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import trio

from pharos.helm.alerts import send as module
from pharos.helm.alerts.deliver import Post
from pharos.helm.alerts.message import TEST
from pharos.helm.ca.vault import Vault
from pharos.helm.store.deliveries import ALERT_TARGETS
from pharos.helm.store.records import get_record
from tests.support.nouns import API, match, operator
from tests.support.webhook import running_webhook

CANARIES = ("canary-user", "canary-word", "canary-path", "canary-query")


def url_at(port: int) -> str:
    return f"json://canary-user:canary-word@127.0.0.1:{port}/canary-path/x?-token=canary-query"


def content_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=[False, True], ids=["as built", "weakened"])
def weakened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether what apprise says is passed on as it is: then the attack succeeds."""
    weak: bool = request.param
    if weak:
        monkeypatch.setattr(module, "_without_secrets", lambda _url, text: text)
    return weak


@pytest.mark.red_inside
async def test_a66_reason_that_a_service_refuses_an_url_for_does_not_hold_it(weakened: bool, tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        body = {"name": "ops", "url": "nothing://canary-word/canary-path"}
        refused = await client.post(f"{API}/alert-targets", json=body)
        assert refused.status_code == 400
        assert any(canary in refused.text for canary in CANARIES) is weakened


async def test_a66_url_of_a_target_is_in_no_log_answer_audit_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    async with running_webhook(status=500) as hook, operator(tmp_path) as (helm, client):
        body = {"name": "ops", "url": url_at(hook.port)}
        made = await client.post(f"{API}/alert-targets", json=body)
        assert made.status_code == 201, made.text
        target = made.json()
        texts.append(made.text)
        tested = await client.post(f"{API}/alert-targets/{target['id']}/test")
        assert tested.json()["delivered"] is False
        texts.append(tested.text)
        moved = await client.post(
            f"{API}/alert-targets/{target['id']}/move", json={"url": url_at(1)}, headers=match(target["version"])
        )
        texts.append(moved.text)
        texts.append((await client.post(f"{API}/alert-targets/{target['id']}/test")).text)
        for path in ("alert-targets", f"alert-targets/{target['id']}", "audit", "status"):
            texts.append((await client.get(f"{API}/{path}")).text)
        record = await helm.store.read(get_record, ALERT_TARGETS, target["id"])
        texts.append(repr(record))
        rows = await helm.store.read(lambda db: [tuple(row) for row in db.execute("SELECT * FROM outbox")])
        texts.append(repr(rows))
        assert hook.paths == ["/canary-path/x?token=canary-query"]
    said = "\n".join([*texts, caplog.text, *(json.dumps(str(vars(record))) for record in caplog.records)])
    files = content_of(tmp_path)
    for canary in CANARIES:
        assert canary not in said, canary
        assert canary.encode() not in files, canary


async def test_a66_turns_red_where_loggers_below_apprise_speak(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_webhook() as hook:
        assert await trio.to_thread.run_sync(module.send, url_at(hook.port), lambda _room: TEST) == ""
        assert "canary" not in caplog.text
        logging.getLogger("urllib3").setLevel(logging.DEBUG)
        try:
            assert await trio.to_thread.run_sync(module.send, url_at(hook.port), lambda _room: TEST) == ""
        finally:
            logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)
        assert "canary-path" in caplog.text


async def test_a66_url_that_another_key_wrapped_does_not_open_and_is_not_told(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        made = await client.post(f"{API}/alert-targets", json={"name": "ops", "url": url_at(9)})
        target = await helm.store.read(get_record, ALERT_TARGETS, made.json()["id"])
        reason = await Post(Vault(bytes(32)))(target, lambda _room: TEST)
        assert "does not open" in reason
