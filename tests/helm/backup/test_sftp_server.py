"""A backup to a real OpenSSH server on loopback: with the operator's keys, known hosts and aliases, and no question."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from pharos.demo.processes import free_port
from pharos.helm.backup.targets import SftpTarget
from pharos.helm.cli import main
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/libexec")
# A server that root starts wants this directory of its system; anybody else's does not.
STARTS = os.getuid() != 0 or Path("/run/sshd").is_dir()
pytestmark = pytest.mark.skipif(
    not (SSHD and STARTS and shutil.which("sftp") and shutil.which("ssh-keygen")),
    reason="no OpenSSH server can be started here",
)


@attrs.frozen
class Server:
    """A running server, and how a client of it is configured."""

    config: Path
    known_hosts: Path

    @property
    def program(self) -> tuple[str, ...]:
        """What runs instead of plain ``sftp``, which would read ``~/.ssh``."""
        return "sftp", "-F", str(self.config)


def make_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    port = free_port(socket.SOCK_STREAM)
    host_key = make_key(folder / "host")
    (folder / "authorized").write_text(make_key(folder / "me"))
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\n"
    )
    config = folder / "config"
    config.write_text(
        f"Host nas\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder}/me\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    assert SSHD is not None
    words = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            # It says so when it listens; a server that cannot start ends its words instead.
            said = next((line for line in process.stderr if "Server listening" in line), "")
            assert said, "sshd did not start"
            yield Server(config, folder / "known")
        finally:
            process.terminate()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


@pytest.fixture
def target(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """What stands after ``--to``."""
    monkeypatch.setattr(
        "pharos.helm.backup.targets.SftpTarget",
        lambda address, folder: SftpTarget(address, folder, server.program),
    )
    (tmp_path / "backups").mkdir()
    return f"sftp:nas:{tmp_path}/backups"


def test_backup_goes_to_a_server_and_is_restored_from_there(target: str, tmp_path: Path) -> None:
    kit = invoke_json(main, "init", "--state", tmp_path / "other")["recovery_kit"]
    made = invoke_json(main, "backup", "--to", target, "--state", tmp_path / "other")
    (file,) = (tmp_path / "backups").iterdir()
    assert made["file"] == f"sftp:nas:{file}"
    assert (file.stat().st_size, file.stat().st_mode & 0o077) == (made["size"], 0)
    restored = invoke_json(main, "restore", file, "--state", tmp_path / "new", "--kit", "-", stdin=kit)
    assert restored["fleet"] == made["fleet"]


def test_server_whose_key_is_not_known_gets_nothing(state: Path, target: str, server: Server, tmp_path: Path) -> None:
    server.known_hosts.write_text("")
    result = invoke(main, "backup", "--to", target, "--state", state)
    assert (result.exit_code, "Host key verification failed" in result.stderr) == (Exit.FAILED, True)
    assert list((tmp_path / "backups").iterdir()) == []


def test_folder_that_is_not_there_is_said_in_the_servers_words(state: Path, target: str) -> None:
    result = invoke(main, "backup", "--to", f"{target}/absent", "--state", state)
    assert (result.exit_code, "No such file or directory" in result.stderr) == (Exit.FAILED, True)
