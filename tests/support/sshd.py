"""A real OpenSSH server on loopback, which lets in whoever runs the tests, and how ssh is told of it alone."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from pharos.demo.processes import free_port
from pharos.helm.onboard.remote import Destination

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/libexec")
# A server that root starts wants this directory of its system; anybody else's does not.
_STARTS = os.getuid() != 0 or Path("/run/sshd").is_dir()
needs_sshd = pytest.mark.skipif(
    not (SSHD and _STARTS and shutil.which("ssh") and shutil.which("ssh-keygen")),
    reason="no OpenSSH server can be started here",
)


@attrs.define(kw_only=True)
class Server:
    """Where it listens, and with what."""

    folder: Path
    port: int
    pid: int = 0
    log: str = ""
    """All that it said, once it has ended."""

    @property
    def destination(self) -> Destination:
        """As somebody would write it."""
        return Destination(host="127.0.0.1", user=getpass.getuser(), port=self.port)

    @property
    def program(self) -> tuple[str, ...]:
        """What runs instead of plain ``ssh``, which would read ``~/.ssh``."""
        return "ssh", "-F", str(self.folder / "config")

    @property
    def key(self) -> Path:
        """Lets one in."""
        return self.folder / "me"

    @property
    def fingerprint(self) -> str:
        """Of its host key, by the word of ssh-keygen."""
        shown = subprocess.run(
            ["ssh-keygen", "-lf", str(self.folder / "host.pub")], check=True, capture_output=True, text=True
        )
        return shown.stdout.split()[1]

    def client(self, *lines: str) -> None:
        """Set the client's configuration."""
        (self.folder / "config").write_text("\n".join([*lines, "IdentityAgent none", "IdentitiesOnly yes", ""]))


def make_key(path: Path, kind: str = "ed25519") -> str:
    """Make a key that has no passphrase, and return its public line."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text()


@contextmanager
def running_sshd(folder: Path, *lines: str, port: int | None = None) -> Iterator[Server]:
    """Serve while the block lasts; ``lines`` of sshd_config go before the usual ones. Keys in the folder are kept."""
    folder.mkdir(mode=0o700, exist_ok=True)
    server = Server(folder=folder, port=port or free_port(socket.SOCK_STREAM))
    if not (folder / "host").exists():
        make_key(folder / "host")
    if not server.key.exists():
        (folder / "authorized").write_text(make_key(server.key))
    server.client(f"IdentityFile {server.key}")
    usual = (
        f"ListenAddress 127.0.0.1:{server.port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        # Bash takes a shell of sshd for one of a person's, and reads his .bashrc, unless it is inside another.
        "SetEnv SHLVL=9\n"
    )
    (folder / "sshd_config").write_text("\n".join([*lines, usual]))
    assert SSHD is not None
    words = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            # It says so when it listens; a server that cannot start ends its words instead.
            said = next((line for line in process.stderr if "Server listening" in line), "")
            assert said, "sshd did not start"
            server.pid = process.pid
            yield server
        finally:
            process.terminate()
            assert process.stderr is not None
            server.log = process.stderr.read()
