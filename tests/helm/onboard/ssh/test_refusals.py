"""What ssh says when it does not get in becomes one sentence that helps."""

from __future__ import annotations

import pytest

from pharos.helm.onboard.errors import ConnectionLostError, HostKeyError, LoginRefusedError, OnboardError
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh.refusals import explain
from pharos.wire.console import Exit, exit_code_of


@pytest.mark.parametrize(
    ("said", "kind", "says", "code"),
    [
        ("ada@web1: Permission denied (publickey,password).", LoginRefusedError, "publickey,password", Exit.FAILED),
        (
            "Received disconnect from 203.0.113.7 port 22:2: Too many authentication failures",
            LoginRefusedError,
            "too many keys",
            Exit.FAILED,
        ),
        ("Host key verification failed.", HostKeyError, "a host on the way", Exit.REFUSED),
        (
            "ssh: Could not resolve hostname web1: Name or service not known",
            ConnectionLostError,
            "Name or service not known",
            Exit.UNREACHABLE,
        ),
        (
            "ssh: connect to host web1 port 22: Connection timed out",
            ConnectionLostError,
            "Connection timed out",
            Exit.UNREACHABLE,
        ),
        (
            "Unable to negotiate with 203.0.113.7 port 22: no matching host key type found. Their offer: ssh-dss",
            ConnectionLostError,
            "Their offer: ssh-dss",
            Exit.UNREACHABLE,
        ),
        ("", ConnectionLostError, "it said nothing", Exit.UNREACHABLE),
        ("\x1b[2Jodd", ConnectionLostError, "�[2Jodd", Exit.UNREACHABLE),
    ],
)
def test_words_of_ssh_are_told_apart(said: str, kind: type[OnboardError], says: str, code: Exit) -> None:
    error = explain(Destination.parse("ada@web1:2222"), said.encode())
    assert type(error) is kind
    assert "ada@web1:2222" in str(error)
    assert says in str(error)
    assert str(error).isprintable()
    assert exit_code_of(error) is code
    assert kind is ConnectionLostError or "ssh -p 2222 ada@web1" in str(error)
