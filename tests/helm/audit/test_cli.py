"""`helm audit` over real files, with helm asleep."""

from __future__ import annotations

import base64
import importlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from pharos.helm.cli import main
from pharos.helm.store.audit import append_audit
from pharos.helm.store.database import open_store
from pharos.wire.console import Exit
from tests.support.audit import append_acts, sign_all
from tests.support.commands import invoke, invoke_json
from tests.support.helm import STARTED_AT, open_helm


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A fleet whose audit has six rows, five of them signed."""
    (tmp_path / "helm").mkdir(mode=0o700)

    async def fill() -> None:
        async with open_helm(tmp_path / "helm") as helm:
            await helm.store.run(append_acts, 5)
            await helm.store.run(sign_all, helm.authority)
            await helm.store.run(
                append_audit,
                at=STARTED_AT,
                actor="[/eve]",
                via="session",
                verb="sign_in_refused",
                detail="[bold]\x1b[2J",
            )

    trio.run(fill)
    return tmp_path / "helm"


def tamper(state: Path, *statements: str) -> None:
    with closing(sqlite3.connect(state / "core.db")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()
    # Whoever can do that can do this.
    (state / "core.db.sum").unlink(missing_ok=True)


def test_list_shows_the_newest_first(state: Path) -> None:
    rows = invoke_json(main, "audit", "list", "--state", state)
    assert [row["sequence"] for row in rows] == list(range(len(rows), 0, -1))
    lines = invoke(main, "audit", "list", "--state", state, "--limit", 2).output.splitlines()
    assert lines[0].split() == ["row", "time", "actor", "via", "act", "subject", "detail"]
    assert len(lines) == 3


def test_list_shows_what_strangers_wrote_as_text(state: Path) -> None:
    output = invoke(main, "audit", "list", "--state", state, "--limit", 1).output
    assert "[/eve]" in output
    assert "\x1b" not in output


def test_list_is_filtered(state: Path) -> None:
    def count(*options: object) -> int:
        return len(invoke_json(main, "audit", "list", "--state", state, *options))

    assert count("--actor", "ada") == 5
    assert count("--actor", "ada", "--limit", 3) == 3
    assert count("--verb", "sign_in_refused") == 1
    assert count("--noun", "user", "--subject", "id-3") == 1
    assert count("--since", "2027-01-15T08:00:03Z") == 2
    assert count("--since", "2027-01-15 09:00:04+01:00") == 1
    assert count("--since", "9999-01-01") == 0


@pytest.mark.parametrize("since", ["yesterday", "0h", "2w", ""])
def test_since_is_a_duration_or_a_time(state: Path, since: str) -> None:
    assert invoke(main, "audit", "list", "--state", state, "--since", since).exit_code == Exit.USAGE


def test_list_reads_page_after_page(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = invoke_json(main, "audit", "list", "--state", state)
    # By its module: the package has the command under the same name.
    monkeypatch.setattr(importlib.import_module("pharos.helm.cli.audit"), "_PAGE", 2)
    assert invoke_json(main, "audit", "list", "--state", state) == whole


def test_audit_that_holds_is_said_to(state: Path) -> None:
    result = invoke(main, "audit", "verify", "--state", state)
    assert result.exit_code == Exit.DONE
    assert "hold, signed up to row" in result.output
    found = invoke_json(main, "audit", "verify", "--state", state)
    assert found["ok"] is True
    assert found["rows"] == found["checkpoint"]["size"] + 1


def test_first_bad_row_is_named(state: Path) -> None:
    tamper(state, "UPDATE audit SET actor = 'eve' WHERE sequence = 3")
    result = invoke(main, "audit", "verify", "--state", state)
    assert result.exit_code == Exit.FAILED
    assert "the audit does not hold: audit row 3 " in result.stderr
    result = invoke(main, "audit", "verify", "--state", state, "--json")
    assert result.exit_code == Exit.FAILED
    assert (json.loads(result.stdout)["ok"], json.loads(result.stdout)["rows"]) == (False, 2)


@pytest.mark.parametrize("form", ["text", "octets"])
def test_checkpoint_that_was_kept_elsewhere_finds_what_was_cut_off(state: Path, tmp_path: Path, form: str) -> None:
    signed = invoke_json(main, "audit", "verify", "--state", state)["checkpoint"]["signed"]
    kept = tmp_path / "kept"
    kept.write_bytes(base64.urlsafe_b64decode(signed) if form == "octets" else f"{signed}\n".encode())
    assert invoke(main, "audit", "verify", "--state", state, "--checkpoint", kept).exit_code == Exit.DONE
    tamper(state, "DELETE FROM audit WHERE sequence > 3", "DELETE FROM checkpoints")
    assert invoke(main, "audit", "verify", "--state", state).exit_code == Exit.DONE
    result = invoke(main, "audit", "verify", "--state", state, "--checkpoint", kept)
    assert result.exit_code == Exit.FAILED
    assert "audit rows after 3 are gone" in result.stderr


def test_file_that_is_no_checkpoint_is_refused(state: Path, tmp_path: Path) -> None:
    for content in (b"", b"nothing", b"\xff" * 50, bytes(100)):
        (tmp_path / "kept").write_bytes(content)
        result = invoke(main, "audit", "verify", "--state", state, "--checkpoint", tmp_path / "kept")
        assert result.exit_code == Exit.FAILED, content
    assert invoke(main, "audit", "verify", "--state", state, "--checkpoint", tmp_path / "gone").exit_code == Exit.FAILED


def test_acts_by_the_command_line_are_in_the_audit(state: Path) -> None:
    with open_store(state) as store:
        trio.run(store.run, append_acts, 1)
    assert invoke_json(main, "audit", "verify", "--state", state)["ok"] is True
