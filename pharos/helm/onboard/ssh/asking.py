"""What ssh asks, brought to whoever answers: ssh starts a program, which asks at a socket that only we can reach."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn

import trio

from pharos.helm.onboard.ssh import askpass
from pharos.helm.onboard.ssh.plain import plain
from pharos.helm.onboard.ssh.prompts import Prompts
from pharos.helm.onboard.ssh.words import Runtime
from pharos.wire.files import PRIVATE_DIRECTORY
from pharos.wire.localsocket import listen_local

MAX_QUESTION: Final = 16 * 1024
"""Bytes: a server words its questions (RFC 4256), and nobody reads more."""
MAX_ASKED: Final = 20
"""Ssh asks three times for a password and three for each key's; who asks on is a server that wants to see many."""

GaveUp = Callable[[str], None]


def write_askpass(runtime: Runtime) -> dict[str, str]:
    """Write the program that ssh starts, and return the environment that tells ssh of it."""
    # Isolated, and without site-packages: a third of the time, and nothing of the operator's environment.
    words = shlex.join([sys.executable, "-I", "-S", str(Path(askpass.__file__)), str(runtime.questions)])
    runtime.askpass.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    runtime.askpass.chmod(0o700)
    return {"SSH_ASKPASS": str(runtime.askpass), "SSH_ASKPASS_REQUIRE": "force"}


async def serve_questions(
    runtime: Runtime,
    prompts: Prompts,
    deadline: trio.CancelScope,
    gave_up: GaveUp,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Answer what ssh asks until cancelled; a person's time is not counted against ``deadline``.

    ``gave_up`` is told of a question to which there was no answer.
    """
    asked = itertools.count(1)
    turn = trio.Lock()

    async def answer(stream: trio.SocketStream) -> None:
        if next(asked) > MAX_ASKED:
            gave_up("it asks without end")
        await _answer(stream, prompts, deadline, turn, gave_up)

    with listen_local(runtime.questions, directory_mode=PRIVATE_DIRECTORY) as listener:
        await trio.serve_listeners(answer, [listener], task_status=task_status)


async def _answer(
    stream: trio.SocketStream, prompts: Prompts, deadline: trio.CancelScope, turn: trio.Lock, gave_up: GaveUp
) -> None:
    async with stream:
        request = bytearray()
        while not request.endswith(b"\n") and len(request) <= MAX_QUESTION:
            if not (part := await stream.receive_some()):
                return
            request += part
        asked = json.loads(request[:MAX_QUESTION]) if len(request) <= MAX_QUESTION else {"question": "", "kind": ""}
        question = plain(asked["question"])
        if asked["kind"] == "none":
            # Until what it tells of has happened, when ssh ends the program.
            await prompts.tell(question)
            await stream.receive_some()
            return
        answer = await without_hurry(
            deadline, turn, lambda: prompts.ask(question, hidden=_is_secret(asked["question"]))
        )
        if answer is None:
            gave_up(question)
            return
        try:
            await stream.send_all(answer.encode(errors="surrogateescape") + b"\n")
        except trio.BrokenResourceError:
            return


async def without_hurry(
    deadline: trio.CancelScope, turn: trio.Lock, ask: Callable[[], Awaitable[str | None]]
) -> str | None:
    """Ask when it is one's turn, with the clock stopped for as long as it takes."""
    async with turn:
        left = deadline.deadline - trio.current_time()
        deadline.deadline = float("inf")
        try:
            return await ask()
        finally:
            deadline.deadline = trio.current_time() + left


def _is_secret(question: str) -> bool:
    """Tell a password from the question whether the host key of a jump host is right, which wants a whole yes."""
    return "(yes/no" not in question
