"""The connection that everything goes through: first the host key, then the login, then as long as it lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import trio

from pharos.helm.errors import ConflictError
from pharos.helm.onboard.errors import (
    ConnectionLostError,
    HostKeyChangedError,
    HostKeyError,
    LoginRefusedError,
    OnboardError,
)
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh.asking import serve_questions, write_askpass
from pharos.helm.onboard.ssh.keys import SshKeys
from pharos.helm.onboard.ssh.pins import HostKey
from pharos.helm.onboard.ssh.plain import plain
from pharos.helm.onboard.ssh.process import Ended, finish, keep_end, running
from pharos.helm.onboard.ssh.prompts import Prompts
from pharos.helm.onboard.ssh.refusals import explain
from pharos.helm.onboard.ssh.words import (
    KEY_MARK,
    READY,
    Resolved,
    Runtime,
    guard_words,
    master_words,
    preferring,
    resolve_words,
    scan_words,
)
from pharos.wire.tasks import open_background
from pharos.wire.world import in_thread

PATIENCE: Final = 45.0
"""Seconds to a login, without those in which a person is asked: two hosts on the way, each with ssh's own 20."""
# Nothing but READY is expected; a shell's own greeting may come with it.
_MAX_PRINTED: Final = 4096


@attrs.frozen(kw_only=True)
class Caller:
    """Who calls one machine, and by what."""

    program: Sequence[str]
    destination: Destination
    keys: SshKeys
    runtime: Runtime
    prompts: Prompts

    async def resolve(self) -> Resolved:
        """Ask ssh what its configuration makes of the destination. Raises: OnboardError."""
        ended = await self._run(resolve_words(self.program, self.destination))
        if ended.returncode != 0:
            raise OnboardError(f"ssh does not take its configuration: {plain(ended.stderr)}")
        return Resolved.read(ended.stdout)

    async def agree_on_host_key(self, resolved: Resolved, given: str | None) -> tuple[HostKey, ...]:
        """Return the pinned keys of a machine; one that was never met is shown, and pinned if it is the right one.

        ``given`` is a fingerprint that somebody learnt from the machine itself.

        Raises: HostKeyError — nobody says that it is. ConnectionLostError, LoginRefusedError, StateFileError.
        """
        pins = self.keys.pins
        pinned = await in_thread(pins.of, resolved.name)
        if pinned:
            if given is not None and given not in {key.fingerprint for key in pinned}:
                raise HostKeyError(
                    f"{self.destination} was pinned with the host key {pinned[0].fingerprint}, and {given} was given"
                    f" now; if the new one is right, run: {pins.removal(resolved.name)}"
                )
            return pinned
        found = await self.scan(resolved.algorithms)
        if given is not None and given != found.fingerprint:
            raise HostKeyError(
                f"{self.destination} has the host key {found.fingerprint}, and {given} was given: it is another"
                " machine, or somebody stands between; nothing was sent"
            )
        if given is None and not await self.prompts.confirm_host_key(self.destination, found):
            raise HostKeyError(
                f"nobody confirmed the host key of {self.destination}, {found.fingerprint}; give the one that the"
                " machine itself shows with --host-key"
            )
        try:
            await in_thread(pins.add, resolved.name, found)
        except ConflictError as error:
            raise HostKeyError(f"{error}; try again") from error
        return (found,)

    async def scan(self, algorithms: Sequence[str]) -> HostKey:
        """Return the host key that the machine shows. Raises: ConnectionLostError, LoginRefusedError, HostKeyError."""
        ended = await self._run(scan_words(self.program, self.destination, algorithms))
        for line in ended.stderr.decode(errors="replace").splitlines():
            match line.split():
                case [mark, "HOSTNAME", kind, encoded] if mark == KEY_MARK:
                    try:
                        return HostKey.parse(kind, encoded)
                    except ValueError:
                        break
                case _:
                    pass
        raise explain(self.destination, ended.stderr)

    @asynccontextmanager
    async def open_master(self, resolved: Resolved, pinned: tuple[HostKey, ...]) -> AsyncIterator[trio.Process]:
        """Log in, and stay so while the block lasts.

        Raises: HostKeyChangedError — it is another machine than the one that was pinned, or somebody stands between.
        LoginRefusedError, ConnectionLostError, HostKeyError, SshMissingError.
        """
        own_key = await trio.Path(self.keys.identity).exists()
        first = attrs.evolve(resolved, algorithms=tuple(preferring(resolved.algorithms, (key.kind for key in pinned))))
        words = master_words(
            self.program, self.destination, first, self.runtime, own_key=own_key, asks=self.prompts.answers
        )
        async with running(words, environment=self._environment()) as process:
            async with self._questions():
                said = await _wait_ready(process)
            if said is not None:
                raise await self._why(first, pinned, said)
            async with running(guard_words(self.program, self.runtime)):
                yield process

    async def _why(self, resolved: Resolved, pinned: tuple[HostKey, ...], said: bytes) -> OnboardError:
        error = explain(self.destination, said)
        if not isinstance(error, HostKeyError):
            return error
        found = await self.scan(resolved.algorithms)
        if found in pinned:
            return error
        return HostKeyChangedError(
            str(self.destination),
            pinned=pinned[0].fingerprint,
            found=found.fingerprint,
            remedy=self.keys.pins.removal(resolved.name),
        )

    async def _run(self, words: Sequence[str]) -> Ended:
        async with running(words, environment=self._environment()) as process, self._questions():
            return await finish(process)
        raise AssertionError("unreachable")

    def _environment(self) -> dict[str, str]:
        return write_askpass(self.runtime) if self.prompts.answers else {"SSH_ASKPASS_REQUIRE": "never"}

    @asynccontextmanager
    async def _questions(self) -> AsyncIterator[None]:
        """Answer what ssh asks in the block.

        Raises: LoginRefusedError — there was no answer. ConnectionLostError — it took too long.
        """
        unanswered: list[str] = []
        with trio.move_on_after(PATIENCE) as hurry:

            def give_up(question: str) -> None:
                unanswered.append(question)
                hurry.cancel()

            async with open_background(partial(serve_questions, self.runtime, self.prompts, hurry, give_up)):
                yield
        if unanswered:
            raise LoginRefusedError(f"nobody answered what ssh asked for {self.destination}: {unanswered[0]}")
        if hurry.cancelled_caught:
            raise ConnectionLostError(f"{self.destination} did not let anybody in within {PATIENCE:.0f} s")


async def _wait_ready(process: trio.Process) -> bytes | None:
    """Return None once the master takes commands, or its last words."""
    assert process.stdout is not None
    assert process.stderr is not None
    printed, said = bytearray(), bytearray()
    ready = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_end, process.stderr, said)
        while not ready and len(printed) < _MAX_PRINTED and (part := await process.stdout.receive_some()):
            printed += part
            ready = READY.encode() in printed
        if ready:
            nursery.cancel_scope.cancel()
    return None if ready else bytes(said)
