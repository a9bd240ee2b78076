"""The book of host keys grows by one line for each machine, whoever writes in it at the same time."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.onboard.ssh.pins import HostKey, Pins, parse_fingerprint
from pharos.wire.errors import StateFileError
from tests.support.sshd import make_key, needs_sshd


def key(number: int) -> HostKey:
    kind = b"ssh-ed25519"
    return HostKey(kind.decode(), len(kind).to_bytes(4) + kind + number.to_bytes(36))


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    return Pins(tmp_path / "known_hosts")


def test_pinned_key_is_found_by_its_name_alone(pins: Pins) -> None:
    assert pins.of("203.0.113.7") == ()
    pins.add("203.0.113.7", key(1))
    pins.add("[203.0.113.7]:2222", key(2))
    assert pins.of("203.0.113.7") == (key(1),)
    assert pins.of("[203.0.113.7]:2222") == (key(2),)
    assert pins.of("203.0.113.70") == ()
    assert pins.path.stat().st_mode & 0o777 == 0o600


def test_second_key_of_a_name_is_not_taken(pins: Pins) -> None:
    pins.add("web1", key(1))
    pins.add("web1", key(1))
    with pytest.raises(ConflictError, match=key(1).fingerprint.replace("+", r"\+")):
        pins.add("web1", key(2))
    assert pins.path.read_text().count("\n") == 1


def test_all_pins_are_kept_that_are_made_at_once(pins: Pins) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: pins.add(f"host{number}", key(number)), range(48)))
    assert [pins.of(f"host{number}") for number in range(48)] == [(key(number),) for number in range(48)]


def test_one_of_two_keys_that_are_pinned_at_once_wins(pins: Pins) -> None:
    def add(number: int) -> bool:
        try:
            pins.add("web1", key(number))
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(add, range(8))) == 1
    assert len(pins.of("web1")) == 1


def test_what_an_operator_wrote_himself_stays(pins: Pins) -> None:
    before = f"# mine\n@revoked * {key(9).line}\nweb1,203.0.113.7 {key(1).line}\nnot a line\nweb2 ssh-ed25519 AAAA"
    pins.path.write_text(before)
    pins.add("web3", key(3))
    assert pins.path.read_text() == f"{before}\nweb3 {key(3).line}\n"
    assert pins.of("203.0.113.7") == (key(1),)
    assert pins.of("web2") == ()
    assert pins.of("*") == ()


@pytest.mark.parametrize("name", ["*", "a,b", "!a", "|1|a|b", "a b", "@revoked", "", "#"])
def test_name_that_would_stand_for_others_is_not_pinned(pins: Pins, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        pins.add(name, key(1))


def test_book_that_cannot_be_read_is_no_empty_one(pins: Pins) -> None:
    pins.path.mkdir()
    with pytest.raises(StateFileError, match="cannot be read"):
        pins.of("web1")


@needs_sshd
def test_fingerprint_and_removal_are_those_of_ssh_keygen(pins: Pins, tmp_path: Path) -> None:
    kind, encoded = make_key(tmp_path / "host").split()[:2]
    found = HostKey.parse(kind, encoded)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "host.pub")], check=True, capture_output=True, text=True
    ).stdout
    assert found.fingerprint == shown.split()[1] == parse_fingerprint(shown.split()[1])
    pins.add("[203.0.113.7]:2222", found)
    pins.add("web1", found)
    subprocess.run(pins.removal("[203.0.113.7]:2222"), shell=True, check=True, capture_output=True)
    assert (pins.of("[203.0.113.7]:2222"), pins.of("web1")) == ((), (found,))


@pytest.mark.parametrize(
    "text", ["", "MD5:aa:bb", "SHA256:short", "sha256:" + "A" * 43, "SHA256:" + "A" * 44, "A" * 43]
)
def test_what_is_no_fingerprint_is_refused_before_anybody_is_called(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_fingerprint(text)


@pytest.mark.parametrize("words", [("ssh-rsa", key(1).line.split()[1]), ("ssh-ed25519", "!"), ("ssh-ed25519", "")])
def test_key_that_is_not_of_its_kind_is_none(words: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"host key|base64"):
        HostKey.parse(*words)
