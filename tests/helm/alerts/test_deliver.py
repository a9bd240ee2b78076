"""Delivery: at least once, through a service that is down, slow or unwell, and through a helm that is killed."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from pharos.helm.alerts import deliver, queue
from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.alerts.deliver import Deliveries, Post
from pharos.helm.alerts.mutes import add_mute, end_mutes, remove_mute
from pharos.helm.alerts.queue import LONGEST_DELAY
from pharos.helm.alerts.send import Compose
from pharos.helm.alerts.targets import change_target
from pharos.helm.ca.vault import Vault, open_vault
from pharos.helm.live.board import now_us
from pharos.helm.model.alerts import Alert, AlertTarget, Outcome, Severity
from pharos.helm.store.database import Database, Store, open_store
from pharos.helm.store.deliveries import KEPT_FOR, deliveries_of, pending_deliveries, prune_deliveries
from tests.support.alerts import InlineStore, add_sample_target
from tests.support.helm import SampleHelm, core_in_memory, open_helm, sample_act
from tests.support.webhook import running_webhook

TIMEOUT = 30


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "GATHER", 300_000)
    monkeypatch.setattr(queue, "FIRST_DELAY", 400_000)
    monkeypatch.setattr(deliver, "BETWEEN_LOOKS", 0.05)


def down(db: Database, subject: str = "n1", severity: Severity = Severity.CRITICAL, at: int | None = None) -> Alert:
    return raise_alert(db, sample_act(at=at), "unreachable", severity, f"node {subject} is down", subject=subject)


@asynccontextmanager
async def delivering(helm: SampleHelm, *, chance: float = 0.0) -> AsyncIterator[Deliveries]:
    with trio.fail_after(TIMEOUT):
        async with trio.open_nursery() as nursery:
            deliveries = Deliveries(helm.store, Post(helm.vault), chance=lambda: chance)
            nursery.start_soon(deliveries.run)
            yield deliveries
            nursery.cancel_scope.cancel()


async def outcomes(store: Store, alert: Alert) -> list[tuple[str, str]]:
    return [(one.what.value, one.outcome.value) for one in await store.read(deliveries_of, alert.id)]


async def wait_outcomes(store: Store, alert: Alert, wanted: list[tuple[str, str]]) -> None:
    while True:
        commits = store.commits
        if await outcomes(store, alert) == wanted:
            return
        await store.wait_commit(commits)


async def test_alert_arrives_and_so_does_its_end(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, running_webhook() as hook, delivering(helm):
        await helm.store.run(add_sample_target, helm.vault, hook.url)
        alert = await helm.store.run(down)
        await hook.wait(lambda: len(hook.received) == 1)
        assert hook.received[0]["title"] == "Pharos: critical: node n1 is down"
        assert alert.id in hook.received[0]["message"]
        assert (hook.received[0]["type"], hook.paths) == ("failure", ["/hook"])
        await wait_outcomes(helm.store, alert, [("raised", "sent")])
        await helm.store.run(clear_alert, sample_act(), "unreachable", "n1")
        await wait_outcomes(helm.store, alert, [("raised", "sent"), ("resolved", "sent")])
        assert hook.received[1]["type"] == "success"


async def test_what_happens_together_is_one_message(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, running_webhook() as hook, delivering(helm):
        await helm.store.run(add_sample_target, helm.vault, hook.url)
        alerts = await helm.store.run(lambda db: [down(db, f"n{number}") for number in range(50)])
        await wait_outcomes(helm.store, alerts[-1], [("raised", "sent")])
        (message,) = hook.received
        assert message["title"] == "Pharos: 50 alerts"


async def test_alert_arrives_when_the_service_is_there_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_helm(tmp_path) as helm:
        async with running_webhook() as gone:
            port = gone.port
        await helm.store.run(add_sample_target, helm.vault, f"json://127.0.0.1:{port}/hook-canary")
        async with delivering(helm):
            alert = await helm.store.run(down)
            while True:
                commits = helm.store.commits
                (delivery,) = await helm.store.read(deliveries_of, alert.id)
                if delivery.attempts:
                    break
                await helm.store.wait_commit(commits)
            assert "connection error" in delivery.last_error.lower()
            async with running_webhook(port) as back:
                await wait_outcomes(helm.store, alert, [("raised", "sent")])
                assert len(back.received) == 1
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"alerts do not arrive at ops, and are tried again: {delivery.last_error}"
    ]


async def test_service_that_is_unwell_is_asked_again(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, running_webhook(status=500) as hook, delivering(helm):
        await helm.store.run(add_sample_target, helm.vault, hook.url)
        alert = await helm.store.run(down)
        await hook.wait(lambda: len(hook.received) == 2)
        hook.status = 204
        await wait_outcomes(helm.store, alert, [("raised", "sent")])
        assert all(alert.id in message["message"] for message in hook.received)


async def test_service_that_never_answers_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "SEND_TIMEOUT", 0.5)
    async with open_helm(tmp_path) as helm, running_webhook(silent=True) as silent, running_webhook() as hook:
        await helm.store.run(add_sample_target, helm.vault, silent.url, name="silent")
        await helm.store.run(add_sample_target, helm.vault, hook.url, name="hook")
        async with delivering(helm):
            alert = await helm.store.run(down)
            while True:
                commits = helm.store.commits
                first, second = sorted(
                    await helm.store.read(deliveries_of, alert.id), key=lambda one: one.outcome.value
                )
                if first.attempts and second.done_at:
                    break
                await helm.store.wait_commit(commits)
            assert (first.last_error, second.outcome) == ("no answer within 0 s", Outcome.SENT)


async def test_target_hears_of_what_it_wants_only(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        store, vault = helm.store, helm.vault
        severe = await store.run(add_sample_target, vault, "json://a/", name="severe", minimum="critical")
        of_kind = await store.run(
            add_sample_target, vault, "json://b/", name="kind", minimum="info", kinds=["disk_low"]
        )
        off = await store.run(add_sample_target, vault, "json://c/", name="off")
        await store.run(change_target, sample_act(), off.id, off.version, {"enabled": False})

        def told(db: Database, alert: Alert) -> list[tuple[str, str]]:
            return [(one.target_id, one.what.value) for one in deliveries_of(db, alert.id)]

        alert = await store.run(down, severity=Severity.WARNING)
        assert await store.read(told, alert) == []
        assert (await store.run(down)).id == alert.id
        assert await store.read(told, alert) == [(severe.id, "worsened")]
        await store.run(clear_alert, sample_act(), "unreachable", "n1")
        assert await store.read(told, alert) == [(severe.id, "worsened"), (severe.id, "resolved")]
        full = await store.run(raise_alert, sample_act(), "disk_low", Severity.INFO, "disk")
        assert await store.read(told, full) == [(of_kind.id, "raised")]


class Recorder:
    """A service in virtual time, which fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.tries: list[float] = []

    async def __call__(self, _target: AlertTarget, message: Compose) -> str:
        message(1000)
        self.tries.append(trio.current_time())
        self.failures -= 1
        return "no" if self.failures >= 0 else ""


def wall() -> int:
    return 1_800_000_000_000_000 + int(trio.current_time() * 1e6)


@asynccontextmanager
async def in_virtual_time(recorder: Recorder) -> AsyncIterator[InlineStore]:
    with core_in_memory() as db:
        store: Any = InlineStore(db)
        add_sample_target(db, Vault(bytes(32)), "json://a/")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Deliveries(store, recorder, clock=wall, chance=lambda: 0.999999).run)
            yield store
            nursery.cancel_scope.cancel()


async def test_tries_grow_apart_until_they_are_a_day_apart(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "FIRST_DELAY", 15_000_000)
    monkeypatch.setattr(deliver, "LONGEST_WAIT", 3_600)
    recorder = Recorder(failures=16)
    async with in_virtual_time(recorder) as store:
        await store.run(down, at=wall())
        began = trio.current_time()
        await trio.sleep(20 * 86_400)
        waits = [later - earlier for earlier, later in itertools.pairwise(recorder.tries)]
        assert len(recorder.tries) == 17
        assert recorder.tries[0] - began < 5
        assert 15 <= waits[0] < 20
        assert all(later > 1.8 * earlier for earlier, later in itertools.pairwise(waits[1:12]))
        assert all(LONGEST_DELAY / 1e6 - 60 < wait < LONGEST_DELAY / 1e6 + 60 for wait in waits[13:])
        assert pending_deliveries(store.db) == {}


async def test_muted_alert_is_told_at_the_end_of_the_mute_if_it_stands(
    autojump_clock: trio.testing.MockClock,
) -> None:
    recorder = Recorder()
    async with in_virtual_time(recorder) as store:
        until = wall() + 3_600_000_000
        await store.run(add_mute, sample_act(at=wall()), {"kind": "unreachable", "until_at": until})
        await store.run(down, at=wall())
        await store.run(down, "n2", at=wall())
        await trio.sleep(1_800)
        await store.run(clear_alert, sample_act(at=wall()), "unreachable", "n1")
        await trio.sleep(1_700)
        assert recorder.tries == []
        await trio.sleep(200)
        assert len(recorder.tries) == 1
        rows = store.db.execute(
            "SELECT subject, what, outcome FROM alert_deliveries JOIN alerts ON alerts.id = alert_id"
            " ORDER BY subject, queued_at"
        ).fetchall()
        assert [tuple(row) for row in rows] == [
            ("n1", "raised", "muted"),
            ("n1", "resolved", "muted"),
            ("n2", "raised", "sent"),
        ]


async def test_alert_that_is_unmuted_is_told_at_once(autojump_clock: trio.testing.MockClock) -> None:
    recorder = Recorder()
    async with in_virtual_time(recorder) as store:
        mute = await store.run(add_mute, sample_act(at=wall()), {"kind": "all", "until_at": wall() + 10**12})
        await store.run(down, at=wall())
        await trio.sleep(100)
        assert recorder.tries == []
        await store.run(remove_mute, sample_act(at=wall()), mute.id, 1)
        await trio.sleep(5)
        assert len(recorder.tries) == 1


def test_mute_whose_time_is_over_goes() -> None:
    with core_in_memory() as db:
        now = now_us()
        add_mute(db, sample_act(at=now), {"kind": "unreachable", "until_at": now + 10})
        end_mutes(db, now + 9)
        assert db.execute("SELECT COUNT(*) FROM alert_mutes").fetchone()[0] == 1
        end_mutes(db, now + 10)
        assert db.execute("SELECT COUNT(*) FROM alert_mutes").fetchone()[0] == 0


def test_what_was_told_is_forgotten_after_a_month_and_what_could_not_be_told_is_given_up() -> None:
    with core_in_memory() as db:
        add_sample_target(db, Vault(bytes(32)), "json://a/")
        now = now_us()
        alert = down(db, at=now)
        prune_deliveries(db, at=now + KEPT_FOR)
        assert pending_deliveries(db) != {}
        prune_deliveries(db, at=now + KEPT_FOR + 1)
        assert [one.outcome for one in deliveries_of(db, alert.id)] == [Outcome.GIVEN_UP]
        prune_deliveries(db, at=now + 3 * KEPT_FOR)
        assert len(deliveries_of(db, alert.id)) == 1
        clear_alert(db, sample_act(at=now), "unreachable", "n1")
        prune_deliveries(db, at=now + 3 * KEPT_FOR)
        prune_deliveries(db, at=now + 5 * KEPT_FOR)
        assert deliveries_of(db, alert.id) == []


KILLED = """
import os, signal, sys, trio
from pathlib import Path
from pharos.helm.alerts.acts import raise_alert
from pharos.helm.model.alerts import Severity
from pharos.helm.store.changes import Act
from pharos.helm.store.database import open_store

async def main():
    with open_store(Path(sys.argv[1])) as store:
        act = Act(actor="helm", at=int(sys.argv[2]), via="helm")
        await store.run(raise_alert, act, "unreachable", Severity.CRITICAL, "node n1 is down", subject="n1")
        os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


async def test_helm_that_is_killed_between_an_alert_and_its_delivery_delivers_it_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with running_webhook() as hook:
        async with open_helm(tmp_path) as helm:
            await helm.store.run(add_sample_target, helm.vault, hook.url)
        words = [sys.executable, "-c", KILLED, str(tmp_path), str(now_us())]
        killed = await trio.run_process(words, check=False, capture_stderr=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert hook.received == []
        with open_store(tmp_path) as store, trio.fail_after(TIMEOUT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Deliveries(store, Post(open_vault(tmp_path))).run)
                await hook.wait(lambda: len(hook.received) == 1)
                nursery.cancel_scope.cancel()
        assert hook.received[0]["title"] == "Pharos: critical: node n1 is down"


async def test_helm_that_ends_before_it_could_note_a_delivery_delivers_it_again(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, running_webhook() as hook:
        await helm.store.run(add_sample_target, helm.vault, hook.url)
        alert = await helm.store.run(down)
        post, sent = Post(helm.vault), trio.Event()

        async def post_and_die(target: AlertTarget, message: Compose) -> str:
            assert await post(target, message) == ""
            sent.set()
            await trio.sleep_forever()
            raise AssertionError

        with trio.fail_after(TIMEOUT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Deliveries(helm.store, post_and_die).run)
                await sent.wait()
                nursery.cancel_scope.cancel()
        async with delivering(helm):
            await wait_outcomes(helm.store, alert, [("raised", "sent")])
        # Who is told twice knows it by the alert's id.
        assert [alert.id in message["message"] for message in hook.received] == [True, True]
