"""The one place that starts ssh: in a group of its own, which ends with the block, and with bounds on what it says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.helm.onboard.errors import RemoteAnswerError, SshMissingError
from pharos.wire.units import MIB
from pharos.wire.world import this_world

GRACE: Final = 2.0
"""Seconds that ssh has to end by itself: it says goodbye in one round trip."""
MAX_OUTPUT: Final = 4 * MIB
"""More than a listing of packages and listeners of any machine; a hostile one may answer for ever."""
STDERR_KEPT: Final = 8192
"""Bytes; the end names the cause."""


@attrs.frozen
class Ended:
    """A program that has come to its end."""

    returncode: int
    stdout: bytes
    stderr: bytes
    """Its last ``STDERR_KEPT`` bytes."""


@asynccontextmanager
async def running(words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> AsyncIterator[trio.Process]:
    """Run a program, with pipes to it, for as long as the block; it and its children end with it.

    In a session of its own: it cannot ask on our terminal, for which there are ``Prompts``, and Ctrl-C is for us.

    Raises: SshMissingError — it is not there.
    """
    try:
        process = await this_world().open_process(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_inherited(), **(environment or {})},
            start_new_session=True,
        )
    except FileNotFoundError:
        raise SshMissingError(f"there is no {words[0]} here; install it: apt install openssh-client") from None
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


async def run_program(words: Sequence[str], *, stdin: bytes = b"") -> Ended:
    """Run a program to its end; the caller owns the timeout, and cancelling kills it.

    Raises: SshMissingError. RemoteAnswerError — it prints without end.
    """
    async with running(words) as process:
        return await finish(process, stdin)


async def finish(process: trio.Process, stdin: bytes = b"") -> Ended:
    """Give a program its input and read it to its end.

    Raises: RemoteAnswerError — it prints without end.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    printed, said = bytearray(), bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_feed, process.stdin, stdin)
        nursery.start_soon(keep_end, process.stderr, said)
        # One byte more tells too much from just enough.
        with contextlib.suppress(trio.ClosedResourceError):
            while len(printed) <= MAX_OUTPUT and (part := await process.stdout.receive_some()):
                printed += part
        if len(printed) > MAX_OUTPUT:
            nursery.cancel_scope.cancel()
    if len(printed) > MAX_OUTPUT:
        raise RemoteAnswerError(f"the machine answers without end: more than {MAX_OUTPUT // MIB} MiB")
    return Ended(await process.wait(), bytes(printed), bytes(said))


async def keep_end(stream: trio.abc.ReceiveStream, kept: bytearray) -> None:
    """Read a stream to its end, of which the last bytes stay in ``kept``."""
    while part := await stream.receive_some():
        kept += part
        del kept[:-STDERR_KEPT]


def _inherited() -> dict[str, str]:
    # What it says is read here, and by people who look for help with its words.
    inherited = {**os.environ, "LC_ALL": "C"}
    if inherited.get("SHELL", "").endswith(("/nologin", "/false")):
        # A service's user may have none, and ssh wants one for a ProxyCommand and a LocalCommand.
        inherited["SHELL"] = "/bin/sh"
    return inherited


async def _feed(stream: trio.abc.SendStream, data: bytes) -> None:
    # It may end before it has read all, and its own words tell why.
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(data)
    await stream.aclose()


async def _end(process: trio.Process) -> None:
    """End a program and what it has started."""
    ended = process.poll() is not None
    if not ended:
        _signal(process, signal.SIGTERM)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            await trio.aclose_forcefully(stream)
    if ended:
        # Nothing keeps its number from being another's by now.
        return
    with trio.move_on_after(GRACE):
        await process.wait()
    # Also what does not end by itself, such as a ProxyCommand: the number is its group's as long as one lives.
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: trio.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
