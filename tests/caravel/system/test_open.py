"""System-wide mode where it cannot be had, and programs that it asks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system import commands, linux, open_system, restore_system
from pharos.caravel.system.commands import CommandError, run_command
from pharos.caravel.system.plan import SystemPlan

PLAN = SystemPlan(addresses=("10.7.0.2/24",))


async def test_elsewhere_than_on_linux_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SystemModeError, match="caravel proxy"):
        async with open_system(PLAN):
            pass
    with pytest.raises(SystemModeError, match="for Linux"):
        await restore_system()


async def test_without_the_right_it_says_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nCapEff:\t0000000000000000\n")
    monkeypatch.setattr(linux, "STATUS", status)
    with pytest.raises(SystemModeError, match="CAP_NET_ADMIN"):
        async with open_system(PLAN):
            pass


async def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PATH", "/nowhere")
    with pytest.raises(CommandError, match="nft is missing; install it: apt install nftables"):
        await run_command("nft")


async def test_what_a_program_says_when_it_fails_is_told_in_one_line() -> None:
    with pytest.raises(CommandError, match=r"^ls /does/not/exist: .*No such file[^\n]*$"):
        await run_command("ls", "/does/not/exist")


async def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PATIENCE", 0.05)
    with pytest.raises(CommandError, match="took more than"):
        await run_command("sleep", "60")


async def test_a_program_gets_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    assert "SECRET" not in await run_command("env")
