"""A process that owns a lab, to be ended in the middle of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tests.system.lab.relayprocess import ROOT


@asynccontextmanager
async def running_owner(script: str, *arguments: str) -> AsyncIterator[tuple[trio.Process, list[str]]]:
    """Run a script in a process of its own while the block lasts; yield it and the words of the first line it prints.

    The script has ``main(*arguments)`` to be run by Trio, and runs until it is killed.
    """
    program = f"{script}\nimport sys, trio\ntrio.run(main, *sys.argv[1:])\n"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    assert process.stdout is not None
    async with process.stdout:
        try:
            said = b""
            while not said.endswith(b"\n"):
                more = await process.stdout.receive_some()
                assert more, "the owner ended before it had its lab"
                said += more
            yield process, said.decode().split()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
