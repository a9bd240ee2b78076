"""A split that is up: addresses of names come, stay and go, and its table is whatever the plan says."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from pharos.caravel.errors import SystemModeError
from pharos.caravel.managed import SplitMode
from pharos.caravel.system import splitting
from pharos.caravel.system.commands import CommandError
from pharos.caravel.system.nft import nft_document
from pharos.caravel.system.plan import IpAddress, SystemPlan
from pharos.caravel.system.restore import Journal, Places, open_journal
from pharos.caravel.system.split import SplitPlan
from pharos.caravel.system.splitflows import deletion
from pharos.caravel.system.splitnft import Named, group_rules, names_document, split_document
from pharos.caravel.system.splittable import SPLIT
from pharos.caravel.system.splitting import INCLUDED, Split, open_split

PLAN = SystemPlan(addresses=("10.7.0.2/16", "fd07::2/64"), resolvers=("10.7.0.1",))


def ips(*texts: str) -> list[IpAddress]:
    return [ipaddress.ip_address(text) for text in texts]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What nft is told."""
    documents: list[dict[str, Any]] = []

    async def apply(document: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        documents.append(document)

    monkeypatch.setattr(splitting, "apply", apply)
    return documents


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(Places(running=tmp_path / "run", lasting=tmp_path / "lib")) as opened:
        yield opened


def split_of(**more: Any) -> Split:
    system: Any = SimpleNamespace(plan=PLAN)
    return Split(SplitPlan(mode=SplitMode.EXCLUDE, **more), system)


def added(document: dict[str, Any]) -> dict[str, int]:
    """Return the addresses that a document ends with, and their times."""
    found: dict[str, int] = {}
    for command in document["nftables"]:
        for each in command.get("add", {}).get("element", {}).get("elem", ()):
            found[each["elem"]["val"]] = each["elem"]["timeout"]
    return found


async def test_addresses_are_told_once_and_again_before_their_time_is_over(
    told: list[dict[str, Any]], autojump_clock: MockClock
) -> None:
    split = split_of(domains=("a.org",))
    await split.add(ips("192.0.2.1", "2001:db8::1"), 180.0)
    await split.add(ips("192.0.2.1"), 180.0)
    assert [added(one) for one in told] == [{"192.0.2.1": 180, "2001:db8::1": 180}]
    await trio.sleep(60)
    await split.add(ips("192.0.2.1"), 180.0)
    assert added(told[-1]) == {"192.0.2.1": 180}
    assert len(told) == 2


async def test_the_tunnels_own_addresses_are_led_nowhere(told: list[dict[str, Any]]) -> None:
    await split_of(domains=("a.org",)).add(ips("10.7.0.1", "10.7.3.4", "fd07::9"), 180.0)
    assert told == []


async def test_of_too_many_addresses_the_oldest_make_room(
    told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "MAX_NAMED", 2)
    split = split_of(domains=("a.org",))
    await split.add(ips("192.0.2.1"), 180.0)
    await split.add(ips("192.0.2.2"), 180.0)
    await split.add(ips("192.0.2.3", "2001:db8::1"), 180.0)
    gone = [
        each
        for command in told[-1]["nftables"]
        for each in command.get("delete", {}).get("element", {}).get("elem", ())
    ]
    assert "192.0.2.1" in gone
    assert {one for one in split._named if one.version == 4} == set(ips("192.0.2.2", "192.0.2.3"))


async def test_what_alone_goes_in_is_held_for_a_day(told: list[dict[str, Any]]) -> None:
    system: Any = SimpleNamespace(plan=PLAN)
    await Split(SplitPlan(mode=SplitMode.INCLUDE, domains=("a.org",)), system).add(ips("192.0.2.1"), 180.0)
    assert added(told[0]) == {"192.0.2.1": int(INCLUDED)}


async def test_what_could_not_be_told_is_told_again(
    monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    split, works = split_of(domains=("a.org",)), splitting.apply

    async def fail(document: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        raise CommandError("nft: no")

    monkeypatch.setattr(splitting, "apply", fail)
    with pytest.raises(SystemModeError):
        await split.add(ips("192.0.2.1"), 180.0)
    monkeypatch.setattr(splitting, "apply", works)
    await split.add(ips("192.0.2.1"), 180.0)
    assert added(told[0]) == {"192.0.2.1": 180}


def test_a_user_who_is_not_there_is_named() -> None:
    with pytest.raises(SystemModeError, match="no user nobody-at-all"):
        split_of(users=("nobody-at-all",))


def test_users_are_known_by_name_number_and_range() -> None:
    assert split_of(users=("root", "1000", "2000-2999"))._uids == [(0, 0), (1000, 1000), (2000, 2999)]


async def test_what_an_earlier_split_has_left_goes_where_none_is_wanted(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone: list[object] = []

    async def undo(body: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        undone.append(body)

    monkeypatch.setattr(splitting, "undo_split", undo)
    journal.note(SPLIT, {"table": "pharos-caravel-split"})
    system: Any = SimpleNamespace(plan=PLAN, journal=journal)
    async with open_split(SplitPlan(), system):
        assert undone == [{"table": "pharos-caravel-split"}]
        assert journal.entries == ()


async def test_control_groups_want_the_unified_hierarchy(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(splitting, "CGROUPS", tmp_path / "none")
    system: Any = SimpleNamespace(plan=PLAN, journal=journal)
    with pytest.raises(SystemModeError, match="no unified hierarchy"):
        async with open_split(SplitPlan(mode=SplitMode.EXCLUDE, cgroups=("x.slice",)), system):
            pass
    assert journal.entries == ()


async def test_a_control_group_that_goes_while_it_is_told_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    (tmp_path / "a.slice").mkdir()

    async def run_command(*words: str, stdin: str = "") -> str:
        await trio.lowlevel.checkpoint()
        said.append(stdin)
        if len(said) == 1:
            (tmp_path / "a.slice").rmdir()
        raise CommandError("nft: cgroupv2 path fails")

    monkeypatch.setattr(splitting, "CGROUPS", tmp_path)
    monkeypatch.setattr(splitting, "run_command", run_command)
    split = split_of(cgroups=("a.slice",))
    await split._put_groups()
    assert split._groups == {}
    # What a kernel cannot do at all is told.
    with pytest.raises(CommandError):
        await split._put_groups()
    assert "a.slice" in said[0]
    assert "a.slice" not in said[1]


def test_the_table_marks_what_is_excluded_outside_and_what_is_included_inside() -> None:
    def mark(mode: SplitMode) -> int:
        document = split_document(SplitPlan(mode=mode, users=("7",)), PLAN, [(7, 7)])
        rules = [one["add"]["rule"] for one in document["nftables"] if "rule" in one.get("add", {})]
        chosen = next(rule for rule in rules if rule["chain"] == "chosen")
        return int(chosen["expr"][0]["mangle"]["value"]["|"][1])

    assert mark(SplitMode.EXCLUDE) == PLAN.marks.outside
    assert mark(SplitMode.INCLUDE) == PLAN.marks.inside


def test_an_address_that_is_there_is_given_a_new_time_at_one_go() -> None:
    document = names_document([Named(address=ipaddress.ip_address("192.0.2.1"), seconds=90)])
    assert [next(iter(one)) for one in document["nftables"]] == ["add", "delete", "add"]


def test_control_groups_are_told_by_their_depth() -> None:
    text = group_rules(["a.slice", "a.slice/b.service"])
    assert text.splitlines()[0] == "flush chain inet pharos-caravel-split grouping"
    assert 'level 1 "a.slice" goto chosen' in text
    assert 'level 2 "a.slice/b.service" goto chosen' in text


def test_connections_are_forgotten_by_mark_and_mask() -> None:
    message = deletion(0x01000000, 0x01000000)
    assert len(message) == int.from_bytes(message[:4], sys.byteorder) == 36
    assert message[24:28] == message[32:36] == b"\x01\x00\x00\x00"


def test_what_shall_go_in_alone_is_judged_where_its_way_is_known() -> None:
    # On its way out a packet that was led elsewhere by its mark still shows the way from before.
    plan = SplitPlan(mode=SplitMode.INCLUDE, users=("7",)).fit(PLAN)

    def drops(*, kill_switch: bool) -> list[str]:
        document = nft_document(attrs.evolve(plan, kill_switch=kill_switch))
        rules = [one["add"]["rule"] for one in document["nftables"] if "rule" in one.get("add", {})]
        mark = {"&": [{"meta": {"key": "mark"}}, plan.marks.mask]}
        return [
            rule["chain"]
            for rule in rules
            if any(each.get("match", {}).get("right") == plan.marks.inside for each in rule["expr"])
            and any(each.get("match", {}).get("left") == mark for each in rule["expr"])
            and rule["expr"][-1] == {"drop": None}
        ]

    assert drops(kill_switch=True) == ["saving"]
    assert drops(kill_switch=False) == []
