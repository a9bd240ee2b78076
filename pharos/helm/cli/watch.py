"""helm watch: the live feed on a terminal, or as JSON lines."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import click
import trio
import trio_websocket

from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import plain
from pharos.helm.config import SOCKET_NAME
from pharos.wire.console import CommandError, Exit, reports_errors
from pharos.wire.files import open_state_directory
from pharos.wire.link import Backoff
from pharos.wire.units import MIB, SECONDS

Json = dict[str, Any]

CONNECT_TIMEOUT: Final = 10 * SECONDS
# helm is on this machine: a restart takes a second or two, and asking costs nothing.
LONGEST_WAIT: Final = 10 * SECONDS
# A page of a replay is some 300 kB; a transaction that changes thousands of records has it all in one message.
MAX_MESSAGE: Final = 64 * MIB
_UNPRINTED: Final = frozenset({"sequence", "epoch"})


@click.command()
@click.option("--since", type=click.IntRange(0, 2**63 - 1), metavar="SEQUENCE", help="Begin behind this change.")
@state_option
@json_option
@reports_errors
def watch(since: int | None, state: Path, *, as_json: bool) -> None:
    """Follow what happens, as every open page does, until Ctrl-C.

    \b
    Example:
      helm watch
      helm watch --json --since 4711
    """
    follower = Follower(open_state_directory(state) / SOCKET_NAME, sequence=since, as_json=as_json)
    try:
        trio.run(follower.run)
    except* KeyboardInterrupt:
        # The way to end it is no failure.
        pass


@attrs.frozen
class _End:
    """How one connection ended."""

    why: str
    refused: bool = False
    """Trying again would be answered the same."""


@attrs.define
class Follower:
    """How far the feed was followed; it goes on from there over any number of connections."""

    socket: Path
    sequence: int | None
    as_json: bool
    say: Callable[[str], None] = click.echo
    """Takes one line."""
    epoch: int | None = None
    connected: bool = False

    async def run(self) -> NoReturn:
        """Follow until cancelled.

        Raises: CommandError — helm does not run, or refuses.
        """
        backoff = Backoff(random=random.random, cap=LONGEST_WAIT)
        while True:
            end = await self._follow_once(backoff)
            if end.refused:
                raise CommandError(f"helm refused: {end.why}", Exit.REFUSED)
            if not self.connected:
                raise CommandError(f"helm does not run here ({end.why}); start it with: helm run", Exit.UNREACHABLE)
            self._say({"lost": {"why": end.why}})
            await trio.sleep(backoff.next())

    async def _follow_once(self, backoff: Backoff) -> _End:
        try:
            stream = await trio.open_unix_socket(self.socket)
        except OSError as error:
            return _End(error.strerror or str(error))
        end = _End("no answer")
        try:
            async with stream, trio.open_nursery() as nursery:
                end = await self._follow(nursery, stream, backoff)
                nursery.cancel_scope.cancel()
        except* trio_websocket.HandshakeError as group:
            # It comes out of a task of the library's own.
            rejected = group.exceptions[0]
            if isinstance(rejected, trio_websocket.ConnectionRejected):
                refused = rejected.status_code != HTTPStatus.SERVICE_UNAVAILABLE
                end = _End(_detail(rejected.body), refused=refused)
        return end

    async def _follow(self, nursery: trio.Nursery, stream: trio.SocketStream, backoff: Backoff) -> _End:
        """Follow one connection to its end."""
        with trio.move_on_after(CONNECT_TIMEOUT) as scope:
            feed = await trio_websocket.wrap_client_stream(
                nursery, stream, "helm", self._target(), max_message_size=MAX_MESSAGE
            )
        if scope.cancelled_caught:
            return _End("no answer")
        self.connected = True
        backoff.reset()
        while True:
            try:
                message = await feed.get_message()
            except trio_websocket.ConnectionClosed as error:
                return _End((error.reason and (error.reason.reason or error.reason.name)) or "connection closed")
            self._take(json.loads(message))

    def _target(self) -> str:
        target = "/api/v1/live?snapshot=no"
        if self.sequence is not None:
            target += f"&since={self.sequence}"
        if self.epoch is not None:
            target += f"&epoch={self.epoch}"
        return target

    def _take(self, message: Json) -> None:
        for name in message:
            if name in ("deltas", "events"):
                for item in message[name]:
                    self._say({name.removesuffix("s"): item})
            elif name == "links":
                self._say({"following": {"sequence": message["sequence"], "epoch": message["epoch"]}})
            elif name not in _UNPRINTED:
                self._say({name: message[name]})
        # Only now, so that what was not printed is asked for again.
        self.sequence = message.get("sequence", self.sequence)
        self.epoch = message.get("epoch", self.epoch)

    def _say(self, line: Json) -> None:
        self.say(json.dumps(line, ensure_ascii=False) if self.as_json else sentence(line))


def sentence(line: Json) -> str:
    """Return one line for people: time, actor, what. Names are strangers' words: nothing in them moves the cursor."""
    ((kind, fact),) = line.items()
    if kind == "delta":
        name = (fact["record"] or {}).get("name") or fact["id"]
        return _columns(fact["at"], fact["actor"], fact["kind"], name, fact["detail"])
    if kind == "event":
        about = fact.get("name") or fact["device"]
        return _columns(fact["at"], "helm", fact["kind"], about, fact["text"] or (None if about else fact["node"]))
    if kind == "gap":
        text = f"gap: changes {fact['from']} to {fact['to']} are not shown; what is there now, lists say"
    elif kind == "lost":
        text = f"helm is away ({fact['why']}); waiting for it"
    else:
        text = f"following from change {fact['sequence']} on"
    return f"-- {plain(text)}"


def _columns(at: str, actor: str, what: str, *rest: str | None) -> str:
    clock = datetime.datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S")
    words = "  ".join(plain(word) for word in rest if word)
    return f"{clock}  {plain(actor):<12}  {plain(what.replace('_', ' ')):<22}  {words}".rstrip()


def _detail(body: bytes | None) -> str:
    try:
        return str(json.loads(body or b"")["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
