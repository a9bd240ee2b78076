"""helm sessions: who was where, as a table and as JSON."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from pharos.helm.cli import main
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.sessions import apply_events
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.helm import adopt_sample_node, enrol_sample_device, open_helm


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Lay a fleet down in which a phone was at a node twice, and is there now."""

    async def fill() -> None:
        async with open_helm(tmp_path) as helm:
            node, _ = await helm.store.run(adopt_sample_node, helm.authority)
            phone = await helm.store.run(enrol_sample_device, 1, "phone\x1b[2J")
            await helm.store.run(enrol_sample_device, 2, "laptop")
            now = time.time_ns() // 1_000
            events = [
                NodeEvent(at=at, kind="handshake", node_id=node.id, device_id=phone.id, detail="198.51.100.4:[1]")
                for at in (now - 3_600_000_000, now)
            ]
            await helm.store.record(lambda db: apply_events(db, add_events(db, events)))

    trio.run(fill)
    return tmp_path


def test_sessions_are_shown_by_the_names_of_things_and_nothing_in_them_moves_the_cursor(state: Path) -> None:
    shown = invoke(main, "sessions", "list", "--state", state)
    assert shown.exit_code == 0, shown.output
    assert "amsterdam" in shown.output
    assert "live" in shown.output
    assert "(silent)" in shown.output
    assert "\x1b[2J" not in shown.output


def test_sessions_are_selected_by_name_and_by_life(state: Path) -> None:
    assert len(invoke_json(main, "sessions", "list", "--state", state)) == 2
    (live,) = invoke_json(main, "sessions", "list", "--state", state, "--live", "--node", "amsterdam")
    assert live["live"]
    (ended,) = invoke_json(main, "sessions", "list", "--state", state, "--ended")
    assert ended["reason"] == "silent"
    assert invoke_json(main, "sessions", "list", "--state", state, "--device", "laptop") == []
    assert len(invoke_json(main, "sessions", "list", "--state", state, "--limit", "1")) == 1


def test_name_of_nobody_is_said_to_be_one(state: Path) -> None:
    failed = invoke(main, "sessions", "list", "--state", state, "--device", "toaster")
    assert failed.exit_code == Exit.FAILED
    assert "toaster" in failed.output


def test_session_that_is_over_is_not_ended_again_and_one_at_a_node_that_is_away_cannot_be(state: Path) -> None:
    live, over = invoke_json(main, "sessions", "list", "--state", state)
    refused = invoke(main, "sessions", "end", over["id"], "--state", state)
    assert (refused.exit_code, "has ended already" in refused.output) == (Exit.CONFLICT, True)
    away = invoke(main, "sessions", "end", live["id"], "--state", state)
    assert away.exit_code not in (0, Exit.CONFLICT)
    assert "does not answer" in away.output
    unknown = invoke(main, "sessions", "end", "nobody", "--state", state)
    assert (unknown.exit_code, "there is no session" in unknown.output) == (Exit.FAILED, True)
