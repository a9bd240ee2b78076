"""What a machine answers is read as data, and believed only of itself."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.onboard.errors import RemoteAnswerError
from pharos.helm.onboard.remote import Facts
from pharos.helm.onboard.ssh.facts import read_facts, read_sections, word
from pharos.helm.onboard.ssh.plain import plain
from pharos.helm.onboard.ssh.probe import ABOUT, ROOTS
from pharos.helm.onboard.ssh.rootway import SUDO, RootWay

DEBIAN = b"""
== os-release
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
# a comment
VERSION_ID="12"
ID=debian

== arch
arm64

== python
Python 3.11.2

== free
/usr 1000
/var 20
/tmp 5

== packages
pharos-buoy 0.1.0 installed
pharos-beacon 0.1.0 half-installed
pharos-helm  not-installed
"""
BUSY = b"""
== listeners
tcp 01BB socket:[10]
tcp 0016 socket:[11]
udp 01BB socket:[12]
udp CA6C socket:[0]

== holders
socket:[10] nginx
socket:[12] caddy server

== locks
812 apt-get
"""


def read(answers: bytes, root: str) -> Facts:
    return read_facts(read_sections(answers), root)


def test_answers_of_a_machine_in_use_are_read() -> None:
    facts = read(DEBIAN + BUSY, "sudo")
    assert (facts.distribution, facts.release, facts.arch, facts.python, facts.root) == (
        "debian",
        "12",
        "arm64",
        "3.11.2",
        "sudo",
    )
    assert facts.free == {"/usr": 1024000, "/var": 20480, "/tmp": 5120}
    assert facts.taken == {"tcp/443": "nginx", "tcp/22": "", "udp/443": "caddy server", "udp/51820": ""}
    assert facts.packages == {
        "pharos-buoy": ("0.1.0", "installed"),
        "pharos-beacon": ("0.1.0", "half-installed"),
        "pharos-helm": ("", "not-installed"),
    }
    assert facts.apt_lock == "apt-get (process 812)"


def test_bare_machine_has_no_python_and_no_packages() -> None:
    facts = read(b"== os-release\nID=ubuntu\nVERSION_ID='24.04'\n== arch\namd64\n== python\n== packages\n", "root")
    assert (facts.python, facts.packages, facts.taken, facts.apt_lock) == (None, {}, {}, "")
    assert (facts.distribution, facts.release) == ("ubuntu", "24.04")


@pytest.mark.parametrize("said", [b"", b"== arch\namd64\n", b"== os-release\nID=debian\n", b"\xff\xfe garbage"])
def test_machine_that_does_not_say_what_it_is_is_refused(said: bytes) -> None:
    with pytest.raises(RemoteAnswerError):
        read(said, "root")


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_whatever_is_answered_is_facts_or_a_refusal_and_harmless(about: bytes, roots: bytes) -> None:
    try:
        facts = read(DEBIAN + about + BUSY + roots, "root")
    except RemoteAnswerError:
        return
    said = [facts.distribution, facts.release, facts.arch, *facts.taken.values(), *facts.packages, facts.apt_lock]
    assert all(each.isprintable() and len(each) < 200 for each in said)


@given(st.text(max_size=900))
def test_text_made_plain_is_one_line_that_no_terminal_obeys(text: str) -> None:
    for made in (plain(text), plain(text.encode(errors="replace"))):
        assert made.isprintable()
        assert len(made) <= 600


def probed(script: str, *words: str) -> bytes:
    return subprocess.run(["sh", "-c", script, *words], check=True, capture_output=True).stdout


@contextmanager
def listening(kind: socket.SocketKind) -> Iterator[int]:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            sock.listen()
        yield sock.getsockname()[1]


def test_probe_tells_what_this_machine_is_and_who_listens_here() -> None:
    with listening(socket.SOCK_STREAM) as tcp, listening(socket.SOCK_DGRAM) as udp:
        said = probed(ABOUT, "sh", ROOTS, *RootWay(SUDO).words(("sh", "-c")))
        facts = read(said if os.geteuid() == 0 else said + probed(ROOTS), "root")
    if os.geteuid() == 0:
        assert word(read_sections(said)["root"]) == "root"
    known = platform.freedesktop_os_release()
    assert (facts.distribution, facts.release) == (known["ID"], known.get("VERSION_ID", ""))
    name = Path("/proc/self/comm").read_text().strip()
    assert (facts.taken[f"tcp/{tcp}"], facts.taken[f"udp/{udp}"]) == (name, name)
    assert all(facts.free[path] > 0 for path in ("/usr", "/var", "/tmp"))
