"""A person at a terminal sees what is asked, and nobody sees a password."""

from __future__ import annotations

import os
import pty
import select
import sys

from pharos.helm.onboard.ssh.pins import HostKey

ASKS = """
import trio
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh import HostKey, TerminalPrompts

async def main():
    prompts = TerminalPrompts()
    key = HostKey("ssh-ed25519", b"key")
    web1 = Destination.parse("ada@web1")
    print("confirmed", await prompts.confirm_host_key(web1, key), await prompts.confirm_host_key(web1, key))
    print("given", (await prompts.ask("ada@web1's password: ", hidden=True) or "").upper())
    print("echoed", await prompts.ask("Are you sure (yes/no)? ", hidden=False))

trio.run(main)
"""


def test_terminal_shows_the_fingerprint_takes_only_a_yes_and_hides_a_password() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASKS])
    shown = b""
    try:
        for until, typed in (
            (b"[yes/no]: ", b"\n"),
            (b"[yes/no]: ", b"yes\n"),
            (b"ada@web1's password: ", b"open sesame\n"),
            (b"(yes/no)?: ", b"no\n"),
            (b"echoed no", b""),
        ):
            shown += read_until(terminal, until)
            os.write(terminal, typed)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        # Whoever is still there is hung up on.
        os.close(terminal)
    assert shown.count(HostKey("ssh-ed25519", b"key").fingerprint.encode()) == 2
    assert b"confirmed False True" in shown
    assert b"given OPEN SESAME" in shown
    assert b"open sesame" not in shown


def read_until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        assert select.select([terminal], [], [], 30)[0], seen
        seen += os.read(terminal, 4096)
    return seen
