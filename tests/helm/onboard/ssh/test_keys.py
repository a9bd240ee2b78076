"""Helm's own SSH key is one that ssh takes, and nobody else can read it."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pharos.helm.onboard.ssh.keys import SshKeys
from pharos.wire.errors import StateFileError
from tests.support.sshd import needs_sshd


@pytest.fixture
def keys(tmp_path: Path) -> SshKeys:
    tmp_path.chmod(0o700)
    return SshKeys.open_keys(tmp_path)


def test_key_is_made_once_and_is_private(keys: SshKeys) -> None:
    assert keys.public_line() is None
    line = keys.make()
    assert line.startswith("ssh-ed25519 AAAA")
    assert line.endswith(" pharos-helm")
    assert keys.make() == keys.public_line() == line
    assert keys.folder.stat().st_mode & 0o777 == 0o700
    assert keys.identity.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in keys.folder.iterdir()] == ["id_ed25519"]


@needs_sshd
def test_ssh_keygen_reads_the_same_key(keys: SshKeys) -> None:
    line = keys.make()
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(keys.identity)], check=True, capture_output=True, text=True)
    assert shown.stdout.split()[:2] == line.split()[:2]


def test_two_that_make_it_at_once_get_one_key(keys: SshKeys) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: keys.make(), range(8)))) == 1
    assert [path.name for path in keys.folder.iterdir()] == ["id_ed25519"]


def test_key_that_others_could_read_is_told_of(keys: SshKeys) -> None:
    keys.make()
    keys.identity.chmod(0o644)
    with pytest.raises(StateFileError, match="could be read by other users"):
        keys.public_line()


def test_damaged_key_is_left_as_it_is(keys: SshKeys) -> None:
    keys.make()
    keys.identity.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(StateFileError, match="damaged"):
        keys.make()
    assert keys.identity.read_text() == "-----BEGIN OPENSSH PRIVATE KEY-----\n"


def test_directory_that_is_open_to_others_is_refused(keys: SshKeys) -> None:
    keys.folder.chmod(0o750)
    with pytest.raises(StateFileError, match="chmod 700"):
        SshKeys.open_keys(keys.folder.parent)


def test_state_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="cannot be used"):
        SshKeys.open_keys(tmp_path / "nowhere")
