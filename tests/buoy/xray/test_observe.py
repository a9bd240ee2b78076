from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.xray.observe import open_access_log
from tests.buoy.xray.test_accesslog import LINE, alice


def write(path: Path, text: str) -> None:
    """As Xray does, which would wait where nobody reads."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


async def test_the_log_is_a_pipe_that_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "access.fifo"
    async with open_access_log(path) as connections:
        mode = path.stat().st_mode
        assert stat.S_ISFIFO(mode)
        assert stat.S_IMODE(mode) == 0o660
        write(path, LINE)
        assert await anext(connections) == alice()
        assert path.stat().st_size == 0


async def test_writers_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "access.fifo"
    with trio.fail_after(10):
        async with open_access_log(path) as connections:
            for _ in range(3):
                write(path, LINE)
                assert await anext(connections) == alice()


async def test_a_pipe_that_is_there_is_taken_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "access.fifo"
    path.write_text("somebody went to secret.example.org")
    async with open_access_log(path):
        assert stat.S_ISFIFO(path.stat().st_mode)
        pipe = path.stat().st_ino
    async with open_access_log(path):
        assert path.stat().st_ino == pipe


async def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "access.fifo", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    path.symlink_to(elsewhere)
    async with open_access_log(path):
        assert stat.S_ISFIFO(path.lstat().st_mode)
    assert elsewhere.read_text() == "mine"


async def test_a_directory_that_is_not_there_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be opened"):
        async with open_access_log(tmp_path / "nowhere" / "access.fifo"):
            pass
