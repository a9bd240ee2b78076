"""helm alerts …, with helm asleep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.alerts.acts import raise_alert
from pharos.helm.cli import main
from pharos.helm.model.alerts import Alert, Severity
from pharos.helm.store.changes import Act
from pharos.helm.store.database import open_store
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


def helm(state: Path, *words: object, stdin: str | None = None) -> str:
    result = invoke(main, *words, "--state", state, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.output


def ask(state: Path, *words: object, stdin: str | None = None) -> Any:
    return invoke_json(main, *words, "--state", state, stdin=stdin)


def raised(state: Path, kind: str = "disk_low", subject: str = "helm") -> Alert:
    async def write() -> Alert:
        with open_store(state) as store:
            act = Act(actor="helm", at=1_800_000_000_000_000, via="helm")
            return await store.run(
                raise_alert, act, kind, Severity.CRITICAL, "the disk is full", subject=subject, evidence={"free": 1}
            )

    return trio.run(write)


def test_target_is_added_by_standard_input_or_a_file_and_never_by_a_word(state: Path, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("jsons://canary/path\n")
    said = helm(state, "alerts", "targets", "add", "hook", "--url-file", tmp_path / "url", "--kind", "disk_low")
    assert said == "hook (jsons); to try it: helm alerts targets test hook\n"
    assert helm(state, "alerts", "targets", "move", "hook", stdin="json://elsewhere-canary/\n") == "hook (json)\n"
    listed = helm(state, "alerts", "targets", "list")
    assert "disk_low" in listed
    assert "canary" not in listed
    changed = ask(state, "alerts", "targets", "change", "hook", "--all-kinds", "--disable")
    assert (changed["kinds"], changed["enabled"]) == ([], False)
    assert "canary" not in helm(state, "alerts", "targets", "show", "hook")
    helm(state, "alerts", "targets", "remove", "hook", "--yes")
    missing = invoke(main, "alerts", "targets", "show", "hook", "--state", state)
    assert (missing.exit_code, "helm alerts targets list" in missing.output) == (Exit.FAILED, True)


def test_test_that_does_not_arrive_says_why_and_fails(state: Path) -> None:
    # Nobody listens at the discard port.
    helm(state, "alerts", "targets", "add", "ops", stdin="json://127.0.0.1:9/canary\n")
    failed = invoke(main, "alerts", "targets", "test", "ops", "--state", state)
    assert failed.exit_code == Exit.UNREACHABLE
    assert "did not take it" in failed.output
    assert "canary" not in failed.output


def test_alert_is_looked_after(state: Path) -> None:
    helm(state, "alerts", "targets", "add", "ops", stdin="json://127.0.0.1:9/\n")
    alert = raised(state)
    assert ask(state, "alerts", "list", "--severity", "info") == []
    shown = helm(state, "alerts", "show", alert.id)
    assert "free 1" in shown
    assert "waiting" in shown
    assert "acknowledged" in helm(state, "alerts", "acknowledge", alert.id)
    assert [a["id"] for a in ask(state, "alerts", "list", "--kind", "disk_low")] == [alert.id]
    assert "open" in helm(state, "alerts", "reopen", alert.id)
    assert "resolved" in helm(state, "alerts", "resolve", alert.id)
    assert ask(state, "alerts", "list") == []
    assert [a["state"] for a in ask(state, "alerts", "list", "--all")] == ["resolved"]


def test_mute_lasts_for_as_long_as_it_is_told_and_ends_by_its_kind(state: Path) -> None:
    user = ask(state, "users", "add", "Ada")
    made = ask(state, "alerts", "mute", "quota_near", "--subject", "Ada", "--for", "2h", "--note", "she knows")
    assert (made["kind"], made["subject"], made["note"]) == ("quota_near", user["id"], "she knows")
    assert "disk_low: muted until" in helm(state, "alerts", "mute", "disk_low")
    assert "she knows" in helm(state, "alerts", "mutes")
    assert helm(state, "alerts", "unmute", made["id"]) == f"quota_near about {user['id']}: muted no more\n"
    helm(state, "alerts", "unmute", "disk_low")
    assert ask(state, "alerts", "mutes") == []
    assert invoke(main, "alerts", "unmute", "disk_low", "--state", state).exit_code == Exit.FAILED
