"""Users, groups, admins, tokens, alerts and settings by the commands, with helm asleep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.alerts.acts import raise_alert
from pharos.helm.cli import main
from pharos.helm.model.alerts import Severity
from pharos.helm.store.changes import Act
from pharos.helm.store.database import open_store
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


def helm(state: Path, *words: object) -> str:
    result = invoke(main, *words, "--state", state)
    assert result.exit_code == 0, result.output
    return result.output


def ask(state: Path, *words: object) -> Any:
    return invoke_json(main, *words, "--state", state)


def test_user_lives_and_goes(state: Path) -> None:
    user = ask(state, "users", "add", "Ada", "--email", "ada@example.org", "--expires", "2030-12-31", "--quota", 10**9)
    assert (user["expires_at"], user["quota_bytes"]) == ("2030-12-31T23:59:59Z", 10**9)
    assert ask(state, "users", "show", "Ada")["id"] == user["id"]
    assert "disabled" in helm(state, "users", "disable", user["id"])
    assert [u["name"] for u in ask(state, "users", "list", "--state-is", "disabled")] == ["Ada"]
    assert ask(state, "users", "list", "--search", "zoe") == []
    helm(state, "users", "enable", "Ada")
    assert "Ada" in helm(state, "users", "list")
    refused = invoke(main, "users", "remove", "Ada", "--state", state)
    assert refused.exit_code == Exit.USAGE
    helm(state, "users", "remove", "Ada", "--yes")
    assert invoke(main, "users", "show", "Ada", "--state", state).exit_code == Exit.FAILED


def test_names_are_words_and_never_markup(state: Path) -> None:
    helm(state, "users", "add", "[bold]x[/y]")
    assert "[bold]x[/y]" in helm(state, "users", "list")


def test_taken_name_is_a_conflict(state: Path) -> None:
    helm(state, "users", "add", "Ada")
    again = invoke(main, "users", "add", "Ada", "--state", state)
    assert again.exit_code == Exit.CONFLICT
    assert "same name" in again.output


def test_group_grants_to_its_members(state: Path) -> None:
    helm(state, "users", "add", "Ada")
    group = ask(state, "groups", "add", "office", "--tag", "eu", "--protocol", "reality")
    assert (group["node_tags"], group["protocols"]) == (["eu"], ["reality"])
    helm(state, "groups", "join", "office", "Ada")
    (line,) = [line for line in helm(state, "users", "show", "Ada").splitlines() if line.startswith("groups")]
    assert line.split() == ["groups", "office"]
    assert len(ask(state, "groups", "show", "office")["members"]) == 1
    helm(state, "groups", "leave", "office", "Ada")
    assert "all nodes" not in helm(state, "groups", "list")
    helm(state, "groups", "remove", "office", "--yes")


def test_owner_is_there_from_the_start_and_cannot_go(state: Path) -> None:
    (owner,) = ask(state, "admins", "list")
    assert (owner["name"], owner["role"], owner["state"]) == ("owner", "owner", "invited")
    assert owner.keys().isdisjoint({"password", "totp", "totp_step"})
    for words in (("role", "owner", "admin"), ("disable", "owner"), ("remove", "owner", "--yes")):
        refused = invoke(main, "admins", *words, "--state", state)
        assert refused.exit_code == Exit.CONFLICT
        assert "at least one owner" in refused.output
    assert len(ask(state, "admins", "list")) == 1


def test_admin_comes_in_by_a_link(state: Path) -> None:
    made = ask(state, "admins", "add", "bob", "--role", "viewer", "--web-port", 9000)
    assert made["link"].startswith("http://localhost:9000/#link=")
    again = helm(state, "admins", "link", "bob").strip()
    assert again != made["link"]
    assert "bob is admin" in helm(state, "admins", "role", "bob", "admin")
    assert "disabled" in helm(state, "admins", "disable", "bob")
    refused = invoke(main, "admins", "link", "bob", "--state", state)
    assert refused.exit_code == Exit.REFUSED
    helm(state, "admins", "enable", "bob")
    helm(state, "admins", "remove", "bob", "--yes")
    assert "bob" not in helm(state, "admins", "list")


def test_token_is_shown_once(state: Path) -> None:
    text = helm(state, "tokens", "add", "ci", "--admin", "owner", "--scope", "devices").strip()
    assert text.startswith("pharos_")
    (token,) = ask(state, "tokens", "list")
    assert (token["scopes"], token["role"], token["state"]) == (["devices"], "viewer", "active")
    assert text not in json.dumps(token)
    assert "revoked" in helm(state, "tokens", "revoke", "ci")


def test_alert_is_acknowledged_and_resolved(state: Path) -> None:
    with open_store(state) as store:
        act = Act(actor="helm", at=1_800_000_000_000_000, via="helm")

        async def raise_two() -> None:
            first = await store.run(raise_alert, act, "node_down", Severity.CRITICAL, "amsterdam is down", subject="n")
            again = await store.run(raise_alert, act, "node_down", Severity.CRITICAL, "amsterdam is down", subject="n")
            assert first == again

        trio.run(raise_two)
    (alert,) = ask(state, "alerts", "list")
    assert "amsterdam is down" in helm(state, "alerts", "list")
    acknowledged = ask(state, "alerts", "acknowledge", alert["id"])
    assert (acknowledged["state"], acknowledged["acknowledged_by"]) == ("acknowledged", "operator")
    assert invoke(main, "alerts", "acknowledge", alert["id"], "--state", state).exit_code == Exit.CONFLICT
    assert ask(state, "alerts", "resolve", alert["id"])["resolved_at"] is not None
    assert ask(state, "alerts", "list") == []
    assert len(ask(state, "alerts", "list", "--all")) == 1


def test_setting_is_set_and_reset(state: Path) -> None:
    before = {setting["id"]: setting for setting in ask(state, "settings", "list")}
    assert (before["devices.limit"]["value"], before["devices.limit"]["version"]) == (10, 0)
    assert "devices.limit is 3" in helm(state, "settings", "set", "devices.limit", 3)
    helm(state, "settings", "set", "devices.limit", 4)
    helm(state, "settings", "set", "protocols", '["amneziawg"]')
    after = {setting["id"]: setting for setting in ask(state, "settings", "list")}
    assert (after["devices.limit"]["value"], after["devices.limit"]["version"]) == (4, 2)
    assert after["devices.limit"]["updated_by"] == "operator"
    helm(state, "settings", "reset", "devices.limit")
    assert "10" in helm(state, "settings", "reset", "devices.limit")
    for name, value in (("devices.limit", "0"), ("devices.limit", "true"), ("protocols", "[]"), ("protocols", "[1]")):
        refused = invoke(main, "settings", "set", name, value, "--state", state)
        assert refused.exit_code == Exit.FAILED, (name, value)
        assert "has to be" in refused.output or "does not fit" in refused.output
    assert invoke(main, "settings", "set", "nonsense", "1", "--state", state).exit_code == Exit.FAILED
