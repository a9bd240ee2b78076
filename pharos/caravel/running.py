"""A connection that runs in one process, looked at and steered from others: lines of JSON over a Unix socket.

One question a connection: ``{"do": "status"}`` is answered by ``{"ok": {…}}`` or ``{"error": "…"}``. After
``{"do": "watch"}`` come lines until the asker goes: ``{"status": {…}}`` at once and every second, ``{"event": {…}}`` in
between.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import attrs
import trio

from pharos.caravel.errors import AlreadyRunningError, CaravelError, NotRunningError
from pharos.caravel.profiles.layout import split
from pharos.caravel.tunnel.session import Tunnel
from pharos.wire.errors import RemoteProtocolError, WireError
from pharos.wire.localsocket import listen_local, serve_managers
from pharos.wire.units import KIB, SECONDS

SOCKET_NAME: Final = "run.sock"
MAX_LINE: Final = 256 * KIB
"""A status names some nodes; an event is a sentence."""
TELL_EVERY: Final = 1 * SECONDS
ASK_TIMEOUT: Final = 5 * SECONDS
"""To connect and ask; what is asked for has a timeout of its own."""

ANSWER_TIMEOUT: Final = 1 * SECONDS
MAX_ECHOES: Final = 1000

Json: TypeAlias = dict[str, Any]
Act: TypeAlias = Callable[[Json], Awaitable[Json]]
"""Does what a question asks for. Raises: WireError — its text is the answer."""


@attrs.frozen(kw_only=True)
class Running:
    """What a running connection lets others do."""

    status: Callable[[], Json]
    watch: Callable[[], AsyncGenerator[Json, None]]
    """Events from now on; closed by who asked for it."""
    acts: Mapping[str, Act] = attrs.field(factory=dict)
    """By what is said in ``do``."""


def running_tunnel(tunnel: Tunnel, facts: Mapping[str, Any], acts: Mapping[str, Act]) -> Running:
    """Return a tunnel as others may look at it; ``facts`` go into each status."""

    async def switch(question: Json) -> Json:
        node = question.get("node")
        if not isinstance(node, str | None):
            raise RemoteProtocolError("a node's id or name is a text")
        return (await tunnel.switch(node)).as_json()

    async def ping(question: Json) -> Json:
        count = question.get("count")
        if not isinstance(count, int) or not 0 < count <= MAX_ECHOES:
            raise RemoteProtocolError(f"a count of echoes is 1 to {MAX_ECHOES}")
        report = await tunnel.ping(count)
        return {"name": tunnel.name, "received": report.received, "median": report.median}

    return Running(
        status=lambda: {**tunnel.status().as_json(), **facts},
        watch=lambda: _events(tunnel),
        acts={"switch": switch, "ping": ping, **acts},
    )


async def _events(tunnel: Tunnel) -> AsyncGenerator[Json, None]:
    watch = tunnel.watch()
    try:
        async for event in watch:
            yield event.as_json()
    finally:
        watch.close()


@asynccontextmanager
async def open_control(path: Path, running: Running) -> AsyncIterator[None]:
    """Answer while the block lasts. The socket is its directory's owner's, whoever runs this.

    Raises: AlreadyRunningError — another process runs this connection. OSError — it cannot be made here.
    """
    with contextlib.ExitStack() as stack:
        try:
            path = _of_device(path)
            listener = stack.enter_context(listen_local(path, directory_mode=0o700, private=True))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AlreadyRunningError(
                    f"another caravel has this connection up ({path}); see: caravel status, caravel down"
                ) from error
            raise
        _give_to_owner(path)
        async with trio.open_nursery() as nursery:

            async def converse(stream: trio.SocketStream) -> None:
                await _answer(stream, running)

            await nursery.start(serve_managers, converse, [listener])
            yield
            nursery.cancel_scope.cancel()


async def ask_running(path: Path, do: str, *, timeout: float = 30 * SECONDS, **words: Any) -> Json:
    """Ask the process that runs a connection.

    Raises: NotRunningError — none does. CaravelError — it says no, and why.
    """
    async with _asked(path, {"do": do, **words}) as lines:
        with trio.move_on_after(timeout):
            async for answer in lines:
                return _ok(answer)
            raise NotRunningError("the connection ended while it was asked")
    raise CaravelError(f"the running caravel did not answer within {timeout:g} s")


async def running_status(state: Path) -> Json | None:
    """Return the status of the connection that runs by a state directory; None if none does."""
    try:
        return await ask_running(state / SOCKET_NAME, "status")
    except NotRunningError:
        return None


@asynccontextmanager
async def watch_running(path: Path) -> AsyncIterator[AsyncIterator[Json]]:
    """Follow a connection: an iterator of ``{"status": …}`` and ``{"event": …}`` that ends with it.

    Raises: NotRunningError — none is up.
    """
    async with _asked(path, {"do": "watch"}) as lines:
        yield lines


async def _answer(stream: trio.SocketStream, running: Running) -> None:
    async with stream:
        lines = _Lines(stream)
        with trio.fail_after(ASK_TIMEOUT):
            question = await anext(lines, None)
        if question is None:
            return
        do = question.get("do")
        if do == "watch":
            await _tell(stream, running)
            return
        try:
            if do == "status":
                answer = running.status()
            elif isinstance(do, str) and do in running.acts:
                answer = await running.acts[do](question)
            else:
                raise RemoteProtocolError(f"this caravel does not know how to {do!r}")
        except WireError as error:
            await _say(stream, {"error": str(error)})
        else:
            # What was done may be our own end.
            with trio.move_on_after(ANSWER_TIMEOUT, shield=True):
                await _say(stream, {"ok": answer})


async def _tell(stream: trio.SocketStream, running: Running) -> None:
    """Send the status and events until the watcher goes."""
    turn = trio.Lock()

    async def say(line: Json) -> None:
        async with turn:
            await _say(stream, line)

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            while await stream.receive_some(KIB):
                pass
            nursery.cancel_scope.cancel()

        @nursery.start_soon
        async def _() -> None:
            async with aclosing(running.watch()) as events:
                async for event in events:
                    await say({"event": event})
                    await say({"status": running.status()})
            nursery.cancel_scope.cancel()

        while True:
            await say({"status": running.status()})
            await trio.sleep(TELL_EVERY)


@asynccontextmanager
async def _asked(path: Path, question: Json) -> AsyncIterator[AsyncIterator[Json]]:
    try:
        stream = await trio.open_unix_socket(_of_device(path))
    except (OSError, RuntimeError) as error:
        # Trio has no Unix sockets where the system has none.
        raise NotRunningError("no connection is up; run: caravel up, or: caravel proxy") from error
    async with stream:
        try:
            with trio.fail_after(ASK_TIMEOUT):
                await _say(stream, question)
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            raise NotRunningError("the connection ended while it was asked") from error
        yield _Lines(stream)


async def _say(stream: trio.SocketStream, line: Json) -> None:
    await stream.send_all(json.dumps(line, ensure_ascii=False).encode() + b"\n")


class _Lines:
    """Each line as a document; ends with the other end.

    Raises: RemoteProtocolError — a line is none, or too long.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._kept = b""
        self._whole: list[bytes] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Json:
        while not self._whole:
            try:
                piece = await self._stream.receive_some(64 * KIB)
            except trio.BrokenResourceError:
                raise StopAsyncIteration from None
            if not piece:
                raise StopAsyncIteration
            *whole, self._kept = (self._kept + piece).split(b"\n")
            if len(self._kept) > MAX_LINE:
                raise RemoteProtocolError(f"a line of more than {MAX_LINE} octets")
            self._whole = whole[::-1]
        return _document(self._whole.pop())


def _document(line: bytes) -> Json:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise RemoteProtocolError("a line that is no JSON") from error
    if not isinstance(document, dict):
        raise RemoteProtocolError("a line that is no object")
    return document


def _ok(answer: Json) -> Json:
    if "error" in answer:
        raise CaravelError(str(answer["error"]))
    told = answer.get("ok")
    if not isinstance(told, dict):
        raise RemoteProtocolError("the running caravel answers in another language; restart it")
    return told


def _of_device(path: Path) -> Path:
    """Return where the socket is: in the device's directory, whichever of its fleets was named."""
    root, _ = split(path.parent)
    return root / path.name


def _give_to_owner(path: Path) -> None:
    """A connection that root runs for somebody is theirs to look at."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        # Whose directory it is may have put a link in its place.
        os.lchown(path, owner.st_uid, owner.st_gid)
