"""`beacon`: the relay's own key, its grant, and who it is."""

from __future__ import annotations

from pathlib import Path

from pharos.beacon.cli import main
from pharos.wire.agent import AgentRequest
from pharos.wire.console import Exit
from pharos.wire.pki.roles import Role
from tests.support.agents import grant_for
from tests.support.commands import invoke, invoke_json
from tests.support.pki import home_fleet


def test_relay_joins_by_files_and_shows_who_it_is(tmp_path: Path) -> None:
    state = tmp_path / "beacon"
    request = AgentRequest.parse(invoke(main, "csr", "--state", state).stdout)
    assert (request.role, request.awg_key) == (Role.RELAY, None)
    grant = grant_for(request, name="relay-1").render()
    assert invoke(main, "csr", "--state", state, "--install", "-", stdin=grant).exit_code == Exit.DONE
    facts = invoke_json(main, "status", "--state", state)
    assert (facts["id"], facts["fleet"]) == ("relay-1", home_fleet().id)


def test_grant_of_a_node_is_refused(tmp_path: Path) -> None:
    request = AgentRequest.parse(invoke(main, "csr", "--state", tmp_path / "s").stdout)
    stdin = grant_for(request, role=Role.NODE).render()
    result = invoke(main, "csr", "--state", tmp_path / "s", "--install", "-", stdin=stdin)
    assert (result.exit_code, "does not verify" in result.output) == (Exit.FAILED, True)


def test_machine_without_a_fleet_says_what_to_do(tmp_path: Path) -> None:
    result = invoke(main, "run", "--state", tmp_path / "s")
    assert result.exit_code == Exit.FAILED
    assert "make a request, and install helm's grant" in result.stderr


def test_damaged_identity_stops_it_and_is_left_alone(tmp_path: Path) -> None:
    invoke(main, "csr", "--state", tmp_path / "s")
    path = tmp_path / "s" / "identity.json"
    damaged = path.read_bytes()[:-9]
    path.write_bytes(damaged)
    result = invoke(main, "status", "--state", tmp_path / "s")
    assert (result.exit_code, f"{path} is corrupt" in result.output) == (Exit.FAILED, True)
    assert path.read_bytes() == damaged
