"""Words arrive as they are, whatever is in them, and whoever's shell they pass."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh.words import Resolved, preferring, remote_command, resolve_words, scan_words
from pharos.wire.errors import LocalProtocolError

HOSTILE = [
    "a b",
    "it's",
    "$(touch /tmp/x)",
    "`id`",
    "\n",
    "a\n\n",
    "%s\\0145",
    '"',
    "\\",
    "é",
    "\udcff",
    "",
    "!!",
    "-n",
    "*",
]


def arrived(line: str, shell: str = "/bin/sh") -> list[bytes]:
    """Have a shell read the line as sshd gives it, and return the words that the command printed."""
    printed = subprocess.run([shell, "-c", line], check=True, capture_output=True).stdout
    return printed.split(b"\0")[:-1]


@pytest.mark.parametrize("shell", [each for each in ("sh", "bash", "fish", "tcsh", "zsh") if shutil.which(each)])
def test_hostile_words_arrive_as_they_are(shell: str) -> None:
    assert arrived(remote_command(["printf", "%s\\0", *HOSTILE]), shell) == [os.fsencode(word) for word in HOSTILE]


@settings(max_examples=25)
@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])), min_size=1, max_size=4))
def test_any_words_arrive_as_they_are(words: list[str]) -> None:
    assert arrived(remote_command(["printf", "%s\\0", *words])) == [word.encode() for word in words]


@settings(max_examples=50)
@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_shell_of_whoever_logs_in_sees_no_sign_that_it_could_read_otherwise(word: str) -> None:
    line = remote_command(["echo", word])
    frame = 'exec /bin/sh -c \'eval "$(printf %b "$0")"\' \''
    if line.startswith(frame):
        assert set(line.removeprefix(frame)) <= set("\\01234567'")
    else:
        assert not set(line) & set("'\"\\$`!*?[]{}()<>|&;~#\n")


@pytest.mark.parametrize("argv", [[], ["a\0b"]])
def test_no_command_and_a_nul_are_misuse(argv: list[str]) -> None:
    with pytest.raises(LocalProtocolError):
        remote_command(argv)


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        (b"hostname 203.0.113.7\nport 22\n", "203.0.113.7"),
        (b"hostname 203.0.113.7\nport 2222\n", "[203.0.113.7]:2222"),
        (b"hostname Web1.Example\nport 22\n", "web1.example"),
        (b"hostname 2001:db8::7\nport 2222\n", "[2001:db8::7]:2222"),
        (b"hostname 10.0.0.5\nport 2222\nhostkeyalias Behind-The-Jump\n", "behind-the-jump"),
    ],
)
def test_pin_has_the_name_that_ssh_looks_for(printed: bytes, name: str) -> None:
    assert Resolved.read(printed).name == name


def test_authorities_for_hosts_are_left_out() -> None:
    printed = b"hostname a\nport 22\nhostkeyalgorithms ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-512\n"
    assert Resolved.read(printed).algorithms == ("ssh-ed25519", "rsa-sha2-512")


def test_machine_is_asked_for_the_key_that_is_pinned_first() -> None:
    assert preferring(["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"], ["ssh-rsa"]) == [
        "rsa-sha2-512",
        "rsa-sha2-256",
        "ssh-ed25519",
    ]


def test_destination_is_never_an_option() -> None:
    words = resolve_words(("ssh",), Destination.parse("ada@[2001:db8::1]:2222"))
    assert words == ["ssh", "-G", "-l", "ada", "-p", "2222", "--", "2001:db8::1"]
    assert scan_words(("ssh",), Destination.parse("web1"), [])[-2:] == ["--", "web1"]
