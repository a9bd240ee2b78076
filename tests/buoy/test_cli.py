"""`buoy`: keys made once, a grant kept only if it is ours, and what the node is told, at a glance."""

from __future__ import annotations

import functools
import json
import stat
from pathlib import Path

import pytest
import trio

from pharos.buoy.cli import main
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys, AgentRequest
from pharos.wire.console import Exit
from pharos.wire.desired import Desired, Fence, Push
from pharos.wire.files import StateFile, lock_state_directory
from pharos.wire.keeping import Keeping
from pharos.wire.kept import Kept, trust_file
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.roles import Role
from tests.support.agents import grant_for, joined
from tests.support.commands import invoke, invoke_json, run_program
from tests.support.pki import home_fleet, utc_now
from tests.support.strategies import peer_of
from tests.support.trust import Signer


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "buoy").mkdir(mode=0o700)
    return tmp_path / "buoy"


def test_csr_prints_the_request_alone_and_the_same_each_time(tmp_path: Path) -> None:
    first, second = (AgentRequest.parse(invoke(main, "csr", "--state", tmp_path / "new").stdout) for _ in range(2))
    assert verify_csr(first.csr) == verify_csr(second.csr)
    assert (first.awg_key, first.derive_key) == (second.awg_key, second.derive_key)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "identity.json").stat().st_mode) == 0o600


def test_grant_is_kept_from_a_file_or_standard_input(state: Path, tmp_path: Path) -> None:
    request = AgentRequest.parse(invoke(main, "csr", "--state", state).stdout)
    grant = grant_for(request, name="node-1").render()
    (tmp_path / "grant.json").write_text(grant)
    for source, stdin in ((tmp_path / "grant.json", None), ("-", grant)):
        result = invoke(main, "csr", "--state", state, "--install", source, stdin=stdin)
        assert (result.exit_code, result.stdout) == (Exit.DONE, "")
        assert f"spiffe://{home_fleet().id}/node/node-1" in result.stderr


@pytest.mark.parametrize("grant", [b"", b"{}", b"\xff\xfe", b"[" * 50_000])
def test_grant_that_is_none_is_one_sentence(state: Path, tmp_path: Path, grant: bytes) -> None:
    invoke(main, "csr", "--state", state)
    before = (state / "identity.json").read_bytes()
    (tmp_path / "grant.json").write_bytes(grant)
    result = invoke(main, "csr", "--state", state, "--install", tmp_path / "grant.json")
    assert (result.exit_code, "not a document" in result.output) == (Exit.FAILED, True)
    assert (state / "identity.json").read_bytes() == before


def test_grant_for_another_machine_is_one_sentence(state: Path, tmp_path: Path) -> None:
    invoke(main, "csr", "--state", state)
    (tmp_path / "other").mkdir(mode=0o700)
    other = AgentRequest.parse(invoke(main, "csr", "--state", tmp_path / "other").stdout)
    result = invoke(main, "csr", "--state", state, "--install", "-", stdin=grant_for(other).render())
    assert (result.exit_code, "another machine's key" in result.output) == (Exit.FAILED, True)


def test_status_shows_who_the_node_is_and_what_it_serves(state: Path) -> None:
    joined(state, name="node-1")
    push = Push(fence=Fence(5, 2, 7), snapshot=True, upsert=(peer_of(1), peer_of(2)))
    trio.run(DesiredState(state).replace, Desired().after(push))
    facts = invoke_json(main, "status", "--state", state)
    assert facts["id"] == "node-1"
    assert (facts["fleet"], facts["fence"], facts["peers"]) == (home_fleet().id, "5.2.7", 2)
    assert (facts["trust_manifest"], facts["deny_list"], facts["revoked"]) == (0, "none", 0)
    request = AgentKeys(state, Role.NODE).make_request()
    assert (bytes.fromhex(facts["awg_key"]), bytes.fromhex(facts["derive_key"])) == (
        request.awg_key,
        request.derive_key,
    )
    assert "peers" in invoke(main, "status", "--state", state).output


def test_status_shows_whom_the_node_believes_and_denies(state: Path) -> None:
    keys, helm = joined(state), Signer()
    keeping = Keeping(state, keys, keys.membership(now=utc_now()))
    deny_list = helm.deny_list(home_fleet().identity(Role.DEVICE, "lost"), version=3)
    trio.run(functools.partial(keeping.take, manifest=helm.manifest(2), deny_list=deny_list))
    before = (state / "trust.json").read_bytes()
    facts = invoke_json(main, "status", "--state", state)
    assert (facts["trust_manifest"], facts["deny_list"], facts["revoked"]) == (2, "1.3", 1)
    assert (state / "trust.json").read_bytes() == before


def test_status_of_a_damaged_trust_file_says_what_to_do(state: Path) -> None:
    joined(state)
    StateFile(state / "trust.json", "pharos/agent-trust/v1", "").save({"manifest": 3})
    result = invoke(main, "status", "--state", state)
    assert (result.exit_code, "restore it from a copy" in result.output) == (Exit.FAILED, True)


@pytest.mark.parametrize("command", [["status"], ["run"]])
def test_machine_without_a_fleet_says_what_to_do(state: Path, command: list[str]) -> None:
    result = invoke(main, *command, "--state", state)
    assert result.exit_code == Exit.FAILED
    assert "make a request, and install helm's grant" in result.stderr


@pytest.mark.parametrize("name", ["identity.json", "desired.json", "trust.json", "usage.json"])
def test_buoy_with_a_damaged_state_file_does_not_start_and_leaves_it_alone(state: Path, name: str) -> None:
    joined(state)
    trio.run(DesiredState(state).replace, Desired().after(Push(fence=Fence(1, 1, 1), snapshot=True)))
    trust_file(state).save(Kept().as_json())
    QuotaMeter(state).save()
    damaged = (state / name).read_bytes()[:-9]
    (state / name).write_bytes(damaged)
    # Orders are kept twice.
    (state / "desired.copy.json").write_bytes(damaged)
    done = run_program("buoy", "run", "--state", state, "--host", "127.0.0.1", "--control-port", "0", "--awg-port", "0")
    assert done.returncode == Exit.FAILED
    assert f"{state / name} is corrupt" in done.stderr
    assert "move it away" in done.stderr
    assert "Traceback" not in done.stderr
    assert (state / name).read_bytes() == damaged


def test_second_buoy_in_one_directory_is_refused(state: Path) -> None:
    joined(state)
    with lock_state_directory(state):
        result = invoke(main, "run", "--state", state)
    assert (result.exit_code, "in use by process" in result.stderr) == (Exit.FAILED, True)


@pytest.mark.parametrize("text", ["port = 1", 'control_port = "7443"', "awg_port = 70000", "not toml"])
def test_configuration_that_does_not_fit_is_one_sentence(state: Path, tmp_path: Path, text: str) -> None:
    config = tmp_path / "buoy.toml"
    config.write_text(text)
    result = invoke(main, "run", "--state", state, "--config", config)
    assert result.exit_code == Exit.FAILED
    assert str(config) in result.output


def test_json_status_is_one_document(state: Path) -> None:
    joined(state)
    assert json.loads(invoke(main, "status", "--state", state, "--json").stdout)["peers"] == 0
