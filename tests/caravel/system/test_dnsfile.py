"""resolv.conf(5) read, written, taken over and put back exactly, whoever else writes there."""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.dnsfile import (
    MAX_BYTES,
    RESOLV_CONF,
    Original,
    ResolvConf,
    put,
    read_original,
    undo_resolv_conf,
)
from pharos.caravel.system.dnstext import HEAD, Server, askable, is_stub, read_servers, render
from pharos.caravel.system.restore import Journal, Places, open_journal
from pharos.caravel.system.undoing import UNDOERS

OURS = f"{HEAD}nameserver 10.7.0.1\n"
BEFORE = "# by hand\nnameserver 192.0.2.53\n"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(Places(running=tmp_path / "run", lasting=tmp_path / "lib")) as opened:
        yield opened


@attrs.frozen
class Etc:
    """Where a machine's files are."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "resolv.conf"


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    (tmp_path / "etc").mkdir()
    return Etc(tmp_path / "etc")


# -- the text


def test_servers_are_read_as_the_c_library_does() -> None:
    text = "; x\n# nameserver 192.0.2.9\nnameserver 192.0.2.1 more\n nameserver fe80::1%eth0\nnameserver nonsense\n"
    assert read_servers(text + "nameserver\nnameserver 192.0.2.1\n") == (Server("192.0.2.1"), Server("fe80::1%eth0"))


def test_what_is_written_keeps_options_but_no_trust_and_no_domains_of_the_network() -> None:
    before = "search evil.test\ndomain evil.test\noptions trust-ad edns0 timeout:1\noptions trust-ad\n"
    servers = [ipaddress.ip_address(f"10.7.0.{number}") for number in range(1, 6)]
    assert render(servers, before, search=False) == (
        f"{HEAD}nameserver 10.7.0.1\nnameserver 10.7.0.2\nnameserver 10.7.0.3\noptions edns0 timeout:1\n"
    )
    assert "search evil.test\n" in render(servers, before, search=True)


def test_a_stub_is_a_file_that_names_nobody_else() -> None:
    assert is_stub("nameserver 127.0.0.53\noptions edns0\n")
    assert not is_stub("nameserver 127.0.0.53\nnameserver 192.0.2.1\n")
    assert not is_stub("")


def test_nobody_is_asked_past_the_tunnel_who_would_ask_us() -> None:
    servers = read_servers("nameserver 127.0.0.1\nnameserver ::1\nnameserver 10.7.0.1\nnameserver fe80::1%eth0\n")
    assert askable(servers, own=[ipaddress.ip_address("10.7.0.1")]) == (Server("fe80::1%eth0"),)


@given(st.text(max_size=400))
def test_any_text_is_read(text: str) -> None:
    servers = read_servers(text)
    assert read_servers(render(servers, text, search=True))[:3] == servers[:3]


# -- the file


async def wait_ours(etc: Etc) -> None:
    while True:
        if etc.file.read_text() == OURS:
            return
        await trio.sleep(0.01)


async def test_a_file_is_put_back_with_its_mode(etc: Etc, journal: Journal) -> None:
    etc.file.write_text(BEFORE)
    etc.file.chmod(0o640)
    file = ResolvConf(etc.file, journal)
    file.take(OURS)
    assert etc.file.read_text() == OURS
    assert etc.file.stat().st_mode & 0o777 == 0o644
    assert file.machine_text() == BEFORE
    await journal.undo(UNDOERS)
    assert etc.file.read_text() == BEFORE
    assert etc.file.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in etc.file.parent.iterdir()) == ["resolv.conf"]


@pytest.mark.parametrize("target", ["../run/resolv.conf", "/nowhere/resolv.conf"])
async def test_a_link_is_put_back_as_the_link_it_was(etc: Etc, journal: Journal, target: str) -> None:
    etc.file.symlink_to(target)
    ResolvConf(etc.file, journal).take(OURS)
    assert not etc.file.is_symlink()
    await journal.undo(UNDOERS)
    assert etc.file.readlink() == Path(target)


def test_of_a_link_the_machine_is_asked_by_what_its_file_says_now(etc: Etc, journal: Journal) -> None:
    managed = etc.file.with_name("managed")
    etc.file.symlink_to("managed")
    file = ResolvConf(etc.file, journal)
    file.take(OURS)
    managed.write_text("nameserver 192.0.2.1\n")
    assert file.machine_text() == "nameserver 192.0.2.1\n"


async def test_where_nothing_was_nothing_is_afterwards(etc: Etc, journal: Journal) -> None:
    ResolvConf(etc.file, journal).take(OURS)
    await journal.undo(UNDOERS)
    assert not etc.file.exists()


async def test_what_others_have_written_since_is_left(etc: Etc, journal: Journal) -> None:
    etc.file.write_text(BEFORE)
    ResolvConf(etc.file, journal).take(OURS)
    etc.file.write_text("nameserver 192.0.2.99\n")
    await journal.undo(UNDOERS)
    assert etc.file.read_text() == "nameserver 192.0.2.99\n"
    assert journal.entries == ()


async def test_it_is_noted_before_it_is_done_and_the_note_outlives_a_reboot(
    etc: Etc, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    etc.file.write_text(BEFORE)

    def fail(*_args: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pharos.caravel.system.dnsfile.put", fail)
    with pytest.raises(OSError):
        ResolvConf(etc.file, journal).take(OURS)
    (entry,) = journal.entries
    assert (entry.kind, entry.lasting) == (RESOLV_CONF, True)
    monkeypatch.undo()
    # It was not done: there is nothing of ours to be put back.
    await journal.undo(UNDOERS)
    assert etc.file.read_text() == BEFORE


async def test_whoever_writes_meanwhile_is_noticed_and_his_is_put_back(
    etc: Etc, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    etc.file.write_text(BEFORE)
    file = ResolvConf(etc.file, journal)
    file.take(OURS)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(file.run)
            for number in (98, 99):
                scratch = etc.file.with_name("new")
                scratch.write_text(f"nameserver 192.0.2.{number}\n")
                scratch.rename(etc.file)
                await wait_ours(etc)
            nursery.cancel_scope.cancel()
    assert "somebody else wrote" in caplog.text
    assert len(journal.entries) == 1
    await file.give_back()
    assert etc.file.read_text() == "nameserver 192.0.2.99\n"
    assert journal.entries == ()


def test_what_could_not_be_put_back_is_not_taken(etc: Etc, journal: Journal) -> None:
    etc.file.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(SystemModeError, match="no file of resolvers"):
        ResolvConf(etc.file, journal).take(OURS)
    etc.file.unlink()
    etc.file.mkdir()
    with pytest.raises(SystemModeError, match="no file of resolvers"):
        ResolvConf(etc.file, journal).take(OURS)
    assert journal.entries == ()


def test_a_file_that_cannot_be_replaced_is_written_into(etc: Etc, monkeypatch: pytest.MonkeyPatch) -> None:
    etc.file.write_text(BEFORE)

    def busy(self: Path, _target: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "rename", busy)
    number = etc.file.stat().st_ino
    put(etc.file, Original(content=b"x", owner=(os.geteuid(), os.getegid())))
    assert (etc.file.read_bytes(), etc.file.stat().st_ino) == (b"x", number)
    assert [one.name for one in etc.file.parent.iterdir()] == ["resolv.conf"]


@pytest.mark.parametrize(
    "body",
    [{}, {"path": "/x", "original": {"content": "!", "target": None, "mode": 0, "owner": [0, 0]}}, {"original": 7}],
)
async def test_a_note_that_is_not_ours_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(SystemModeError, match="is not ours"):
        await undo_resolv_conf(body)


@given(st.binary(max_size=100), st.integers(0, 0o7777), st.one_of(st.none(), st.text(min_size=1, max_size=30)))
def test_what_was_there_survives_the_journal(content: bytes, mode: int, target: str | None) -> None:
    original = Original(target=target, content=content, mode=mode, owner=(1, 2))
    assert Original.from_json(original.as_json()) == original


def test_what_stands_there_is_read_whole(etc: Etc) -> None:
    assert read_original(etc.file) == Original()
    etc.file.write_text(BEFORE)
    assert read_original(etc.file).content == BEFORE.encode()
