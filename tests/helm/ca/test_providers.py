"""What opens the data key: each provider gives it back, and nothing else does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pharos.helm.ca import providers
from pharos.helm.ca.providers import (
    Provider,
    Sources,
    provider_of,
    read_data_key,
    wrap_key_file,
    wrap_passphrase,
    wrap_systemd,
)
from pharos.helm.ca.vault import create_vault, key_file, open_vault
from pharos.helm.cli import main
from pharos.helm.errors import InvalidRequestError, NotInitialisedError
from pharos.wire.console import Exit
from pharos.wire.errors import StateFileError
from tests.support.commands import invoke, invoke_json

PASSPHRASE = "correct horse battery staple"
KEY = bytes(range(32))
FULL_COST = providers.OCTETS


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id as it is takes a second on a slow machine."""
    monkeypatch.setattr(providers, "OCTETS", 64 * 1024)


def test_new_fleet_has_a_key_file(tmp_path: Path) -> None:
    _, key = create_vault(tmp_path)
    assert provider_of(tmp_path) is Provider.KEY_FILE
    assert read_data_key(tmp_path, Sources()) == key
    assert stat.S_IMODE((tmp_path / "data.key").stat().st_mode) == 0o600


def test_cost_of_a_guess_is_what_the_design_says() -> None:
    assert (providers.PASSES, FULL_COST) == (3, 67_108_864)


def test_passphrase_opens_and_no_other_does(tmp_path: Path) -> None:
    wrap_passphrase(tmp_path, KEY, PASSPHRASE)
    assert KEY.hex() not in key_file(tmp_path).path.read_text()
    assert read_data_key(tmp_path, Sources(passphrase=PASSPHRASE)) == KEY
    with pytest.raises(StateFileError, match="not the passphrase"):
        read_data_key(tmp_path, Sources(passphrase=PASSPHRASE + " "))
    with pytest.raises(StateFileError, match="PHAROS_PASSPHRASE"):
        read_data_key(tmp_path, Sources())
    with pytest.raises(InvalidRequestError, match="12 characters"):
        wrap_passphrase(tmp_path, KEY, "too short")


def test_passphrase_may_come_as_a_credential_of_the_service(tmp_path: Path) -> None:
    wrap_passphrase(tmp_path, KEY, PASSPHRASE)
    (tmp_path / "pharos-passphrase").write_text(PASSPHRASE + "\n")
    assert read_data_key(tmp_path, Sources(credentials=tmp_path, passphrase="another that loses")) == KEY


@pytest.mark.parametrize(
    "changes", [{"passes": 10**6}, {"octets": 2**40}, {"octets": 1}, {"salt": "x"}, {"provider": "cloud"}, {"salt": 7}]
)
def test_data_key_file_that_was_tampered_with_costs_nothing(tmp_path: Path, changes: dict[str, object]) -> None:
    wrap_passphrase(tmp_path, KEY, PASSPHRASE)
    file = key_file(tmp_path)
    file.save((file.load() or {}) | changes)
    with pytest.raises(StateFileError, match="damaged"):
        read_data_key(tmp_path, Sources(passphrase=PASSPHRASE))


def test_systemd_keeps_the_key_out_of_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What stands in for systemd-creds turns the octets round, and so can be seen to have had them.
    tool = tmp_path / "bin" / "systemd-creds"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\ntest "$1 $2 $3" = "encrypt --name=pharos-data-key -" && tac -rs . > "$4"\n')
    tool.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    sealed = tmp_path / "sealed"
    wrap_systemd(tmp_path, KEY, sealed)
    assert sealed.exists()
    assert provider_of(tmp_path) is Provider.SYSTEMD
    with pytest.raises(StateFileError, match="start helm as its service"):
        read_data_key(tmp_path, Sources())
    passed = tmp_path / "credentials"
    passed.mkdir()
    with pytest.raises(StateFileError, match="did not pass"):
        read_data_key(tmp_path, Sources(credentials=passed))
    (passed / "pharos-data-key").write_bytes(KEY)
    assert read_data_key(tmp_path, Sources(credentials=passed)) == KEY
    (passed / "pharos-data-key").write_bytes(bytes(32))
    with pytest.raises(StateFileError, match="another fleet's"):
        read_data_key(tmp_path, Sources(credentials=passed))


def test_systemd_that_is_not_there_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrap_key_file(tmp_path, KEY)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidRequestError, match="cannot be run"):
        wrap_systemd(tmp_path, KEY, tmp_path / "sealed")
    (tmp_path / "systemd-creds").write_text("#!/bin/sh\necho no TPM >&2\nexit 1\n")
    (tmp_path / "systemd-creds").chmod(0o700)
    with pytest.raises(InvalidRequestError, match="no TPM"):
        wrap_systemd(tmp_path, KEY, tmp_path / "sealed")
    assert read_data_key(tmp_path, Sources()) == KEY


def test_command_changes_the_provider_and_the_kit_opens_what_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "s"
    kit = invoke_json(main, "init", "--yes", "--state", state)["recovery_kit"]
    done = invoke(
        main, "ca", "wrap", "--state", state, "--provider", "passphrase", "--passphrase-file", "-", stdin=PASSPHRASE
    )
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("PHAROS_PASSPHRASE", PASSPHRASE)
    assert invoke_json(main, "ca", "show", "--state", state)["manifest"]["version"] == 1
    monkeypatch.setenv("PHAROS_PASSPHRASE", "forgotten")
    assert invoke(main, "ca", "show", "--state", state).exit_code == Exit.FAILED
    lost = ("ca", "wrap", "--state", state, "--provider", "key-file")
    assert invoke(main, *lost).exit_code == Exit.FAILED
    assert invoke(main, *lost, "--kit", "-", stdin=kit).exit_code == 0
    open_vault(state)
    (state / "data.key").unlink()
    with pytest.raises(NotInitialisedError):
        open_vault(state)
    assert invoke(main, *lost, "--kit", "-", stdin=kit).exit_code == 0
    assert invoke_json(main, "ca", "show", "--state", state)["rotation"] is None


def test_rotation_begins_by_command_and_shows_who_it_waits_for(tmp_path: Path) -> None:
    state = tmp_path / "s"
    kit = invoke_json(main, "init", "--yes", "--state", state)["recovery_kit"]
    begun = invoke_json(main, "ca", "rotate", "--state", state, "--fleet-ca", "--kit", "-", stdin=kit)
    assert (begun["subjects"], begun["state"]) == (["fleet_ca"], "distributing")
    shown = invoke_json(main, "ca", "show", "--state", state)
    assert [one["name"] for one in shown["rotation"]["waiting"]] == ["helm"]
    assert shown["next_fleet_ca"]["key"] != shown["fleet_ca"]["key"]
    assert "distributing" in invoke(main, "ca", "show", "--state", state).output
    again = invoke(main, "ca", "rotate", "--state", state, "--kit", "-", stdin=kit)
    assert (again.exit_code, "under way" in again.output) == (Exit.CONFLICT, True)
