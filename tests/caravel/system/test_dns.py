"""Who is told of the tunnel's resolvers: whatever manages this machine's DNS, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.managed import SplitMode
from pharos.caravel.system import commands, dnsproxy, dnsresolvconf
from pharos.caravel.system.dns import DnsPlaces, open_dns
from pharos.caravel.system.dnsresolvconf import undo_resolvconf
from pharos.caravel.system.dnsresolved import Resolved
from pharos.caravel.system.plan import SystemPlan
from pharos.caravel.system.restore import Journal, Places, open_journal
from pharos.caravel.system.split import SplitPlan
from pharos.caravel.system.splitting import Split

PLAN = SystemPlan(addresses=("10.7.0.2/16",), resolvers=("10.7.0.1", "fd07::1"))
BEFORE = "nameserver 192.0.2.53\n"
STUB = "nameserver 127.0.0.53\n"
PROGRAM = """#!/bin/sh
echo "$*" >> {log}
case "$1" in
-a) cat > {record} ;;
-d) rm -f {record} ;;
esac
test -n "{rewrites}" && cat {record} > {file} || true
"""


@attrs.frozen(kw_only=True)
class Machine:
    """One with files of its own."""

    folder: Path
    journal: Journal

    @property
    def file(self) -> Path:
        return self.folder / "resolv.conf"

    @property
    def places(self) -> DnsPlaces:
        return DnsPlaces(resolv_conf=self.file, resolved=Resolved(folder=self.folder / "resolved"))

    def system(self, plan: SystemPlan = PLAN) -> Any:
        return SimpleNamespace(plan=plan, device="pharos0", journal=self.journal, protect=lambda sock: None)

    def install(self, name: str, *, rewrites: bool = True) -> Path:
        """Have a program of this name; return the log of what it is told."""
        log, record = self.folder / "log", self.folder / "record"
        text = PROGRAM.format(log=log, record=record, file=self.file, rewrites="yes" if rewrites else "")
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)
        return log


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "resolved").mkdir()
    (tmp_path / "resolv.conf").write_text(BEFORE)
    monkeypatch.setattr(commands, "PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(dnsresolvconf, "_RECORDS", (tmp_path / "records",))
    with open_journal(Places(running=tmp_path / "run", lasting=tmp_path / "lib")) as journal:
        yield Machine(folder=tmp_path, journal=journal)


def split_of(machine: Machine, **plan: Any) -> Split:
    return Split(SplitPlan(**plan), machine.system())


async def test_where_nobody_manages_it_the_file_is_ours_meanwhile(machine: Machine) -> None:
    async with open_dns(split_of(machine), machine.system(), places=machine.places) as dns:
        assert dns.manager == "file"
        # The tunnel carries no IPv6.
        assert [str(one) for one in dns.servers] == ["10.7.0.1"]
        assert machine.file.read_text().endswith("nameserver 10.7.0.1\n")
        assert [entry.kind for entry in machine.journal.entries] == ["resolv.conf"]
    assert machine.file.read_text() == BEFORE
    assert machine.journal.entries == ()


async def test_it_is_put_back_when_the_block_is_cancelled_or_fails(machine: Machine) -> None:
    with trio.CancelScope() as scope:
        async with open_dns(split_of(machine), machine.system(), places=machine.places):
            scope.cancel()
            await trio.sleep_forever()
    assert machine.file.read_text() == BEFORE
    with pytest.raises(RuntimeError, match="no"):
        async with open_dns(split_of(machine), machine.system(), places=machine.places):
            raise RuntimeError("no")
    assert machine.file.read_text() == BEFORE


@pytest.mark.parametrize("stub", [True, False])
async def test_resolved_is_told_by_interface_and_a_file_that_goes_past_it_taken(machine: Machine, stub: bool) -> None:
    log = machine.install("resolvectl", rewrites=False)
    machine.file.write_text(STUB if stub else BEFORE)
    with socket.socket(socket.AF_UNIX) as varlink:
        varlink.bind(str(machine.folder / "resolved" / "io.systemd.Resolve"))
        varlink.listen()
        async with open_dns(split_of(machine), machine.system(), places=machine.places) as dns:
            assert dns.manager == ("systemd-resolved" if stub else "systemd-resolved and file")
            assert ("10.7.0.1" in machine.file.read_text()) is not stub
            said = log.read_text().splitlines()
    assert said[0] == "dns pharos0 10.7.0.1"
    assert "domain pharos0 ~." in said
    assert "default-route pharos0 yes" in said
    assert said[-1] == "flush-caches"
    assert "revert pharos0" in log.read_text()
    assert machine.file.read_text() == (STUB if stub else BEFORE)


async def test_a_resolved_that_cannot_be_told_is_gone_round(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    (machine.folder / "bin" / "resolvectl").symlink_to("/bin/false")
    machine.file.write_text(STUB)
    with socket.socket(socket.AF_UNIX) as varlink:
        varlink.bind(str(machine.folder / "resolved" / "io.systemd.Resolve"))
        varlink.listen()
        async with open_dns(split_of(machine), machine.system(), places=machine.places) as dns:
            assert dns.manager == "file"
            assert "10.7.0.1" in machine.file.read_text()
    assert machine.file.read_text() == STUB
    assert "systemd-resolved is not told" in caplog.text


@pytest.mark.parametrize("rewrites", [True, False])
async def test_resolvconf_is_told_and_believed_only_if_it_does_it(machine: Machine, rewrites: bool) -> None:
    text = "# Generated by resolvconf\nnameserver 192.0.2.53\n"
    machine.file.write_text(text)
    log = machine.install("resolvconf", rewrites=rewrites)
    async with open_dns(split_of(machine), machine.system(), places=machine.places) as dns:
        assert dns.manager == ("resolvconf" if rewrites else "resolvconf and file")
        assert "nameserver 10.7.0.1\n" in machine.file.read_text()
        assert "resolvconf" in [entry.kind for entry in machine.journal.entries]
    assert log.read_text().splitlines() == ["-a pharos0.caravel -m 0 -x", "-d pharos0.caravel -f"]
    assert machine.journal.entries == ()
    if not rewrites:
        assert machine.file.read_text() == text


async def test_a_record_that_is_not_ours_is_not_removed(machine: Machine) -> None:
    log = machine.install("resolvconf")
    for record in ("eth0.dhcp", "-a.caravel", ""):
        with pytest.raises(SystemModeError, match="no record of ours"):
            await undo_resolvconf({"record": record})
    assert not log.exists()


async def test_a_profile_without_resolvers_leaves_it_and_says_so(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    bare = attrs.evolve(PLAN, resolvers=())
    async with open_dns(split_of(machine), machine.system(bare), places=machine.places) as dns:
        assert dns.manager == ""
        assert machine.file.read_text() == BEFORE
    assert "names no resolvers" in caplog.text
    split = split_of(machine, mode=SplitMode.EXCLUDE, domains=("a.org",))
    with pytest.raises(SystemModeError, match="names no resolvers"):
        async with open_dns(split, machine.system(bare), places=machine.places):
            pass


async def test_where_only_networks_go_in_names_are_asked_as_ever(machine: Machine) -> None:
    split = split_of(machine, mode=SplitMode.INCLUDE, routes=("198.51.100.0/24",))
    async with open_dns(split, machine.system(), places=machine.places) as dns:
        assert dns.manager == ""
        assert machine.file.read_text() == BEFORE


async def test_where_names_are_told_apart_programs_ask_us(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dnsproxy.DnsProxy] = []
    real = dnsproxy.open_proxy

    def open_proxy(proxy: dnsproxy.DnsProxy) -> Any:
        opened.append(proxy)
        return real(proxy, "127.112.104.53", 5399)

    monkeypatch.setattr(dnsproxy, "open_proxy", open_proxy)
    machine.file.write_text(f"search corp.test\n{BEFORE}")
    for mode, strict in ((SplitMode.EXCLUDE, False), (SplitMode.INCLUDE, True)):
        split = split_of(machine, mode=mode, domains=("a.org",))
        async with open_dns(split, machine.system(), places=machine.places) as dns:
            assert [str(one) for one in dns.servers] == ["127.112.104.53"]
            text = machine.file.read_text()
            assert "nameserver 127.112.104.53\n" in text
            # A network's domains are for names that are asked outside anyway.
            assert ("search corp.test" in text) is strict
        assert opened[-1]._strict is strict
    others = opened[-1]._others._servers()
    named = opened[-1]._named._servers()
    assert [one.host for one in others] == ["192.0.2.53"]
    assert [one.host for one in named] == ["10.7.0.1"]
