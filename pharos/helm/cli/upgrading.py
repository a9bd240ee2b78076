"""Upgrading members from this process: the operator's own ssh, keys and terminal, and helm's word by REST."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs
import click
import trio

from pharos.helm.cli.api import ask_running
from pharos.helm.cli.progress import plain
from pharos.helm.config import SOCKET_NAME
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.remote import Destination, Remote
from pharos.helm.onboard.ssh import NobodyToAsk, Prompts, SshKeys, TerminalPrompts, open_remote
from pharos.helm.onboard.upgrade import events
from pharos.helm.onboard.upgrade.desk import Member, RestDesk
from pharos.helm.onboard.upgrade.member import Connect, Options
from pharos.helm.onboard.upgrade.run import choose, upgrade
from pharos.wire.console import CommandError, Exit
from pharos.wire.files import open_state_directory


def run_upgrade(
    state: Path,
    noun: str,
    names: Sequence[str],
    *,
    canaries: int,
    at_once: int,
    deb: Path | None,
    allow_downgrade: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Upgrade members, or all with no ``names``; blocks.

    Raises: CommandError — not all are upgraded, helm does not run, or somebody stopped it.
    """
    directory = open_state_directory(state)
    if not (directory / SOCKET_NAME).is_socket():
        raise CommandError("helm has to run, for it says whether a machine is well: helm run", Exit.UNREACHABLE)
    printer = _Printer(as_json=as_json)
    options = Options(deb=deb, allow_downgrade=allow_downgrade, dry_run=dry_run)

    async def work() -> events.Ended:
        # The record alone would say of a machine that is well that it is not, and it would be taken back.
        desk = RestDesk(functools.partial(ask_running, directory))
        members = await _chosen(desk, Part.BUOY if noun == "nodes" else Part.BEACON, names)
        if not members:
            raise CommandError(f"ssh reaches none of the {noun}; see: helm {noun} list")
        return await upgrade(
            members,
            connect=_connect(directory),
            desk=desk,
            options=options,
            emit=printer,
            canaries=canaries,
            at_once=at_once,
        )

    stopped, ended = False, None
    try:
        ended = trio.run(work)
    except* KeyboardInterrupt:
        stopped = True
    if stopped or ended is None:
        raise CommandError("Stopped. The machines are as they were left: the same command goes on from there.")
    bad = [name for name, outcome in ended.outcomes.items() if not outcome.well]
    if bad:
        raise CommandError(f"not upgraded: {', '.join(bad)}")


async def _chosen(desk: RestDesk, part: Part, names: Sequence[str]) -> list[Member]:
    """Read ``NAME=DESTINATION`` where it is said."""
    said = dict(text.partition("=")[::2] for text in names)
    # A destination that is none is told before anybody is dialled.
    told = {name: str(Destination.parse(where)) for name, where in said.items() if where}
    if not told:
        return await choose(desk, part, list(said))

    @attrs.frozen
    class Told:
        """The desk, with what was said besides."""

        async def members(self, part: Part) -> list[Member]:
            found = await desk.members(part)
            where = {member.id: told.get(member.name) or told.get(member.id) for member in found}
            return [
                attrs.evolve(member, destination=destination, host_key="")
                if (destination := where[member.id])
                else member
                for member in found
            ]

        health = desk.health

    return await choose(Told(), part, list(said))


def _connect(state: Path) -> Connect:
    keys = SshKeys.open_keys(state)
    prompts: Prompts = TerminalPrompts() if sys.stdin.isatty() else NobodyToAsk()

    def connect(member: Member) -> AbstractAsyncContextManager[Remote]:
        destination = Destination.parse(member.destination)
        return open_remote(destination, keys=keys, prompts=prompts, host_key=member.host_key or None)

    return connect


class _Printer:
    """Told of every event; several members speak in turn, so each line names its own."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._tenths: dict[str, int] = {}

    def __call__(self, event: events.Event) -> None:
        """Show an event."""
        if self._as_json:
            click.echo(json.dumps(events.event_json(event), ensure_ascii=False))
            return
        match event:
            case events.StepProgress(member=member, done=int(done), total=int(total)) if total:
                tenths = 10 * done // total
                if tenths != self._tenths.get(member):
                    self._tenths[member] = tenths
                    self._line(member, event.step, f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")
            case events.StepProgress() if event.says:
                self._line(event.member, event.step, f"… {event.says}")
            case events.StepDone():
                self._line(event.member, event.step, f"{event.says}  ({event.seconds:.1f} s)")
            case events.StepFailed():
                self._line(event.member, event.step, f"failed: {event.says}  ({event.seconds:.1f} s)")
            case events.MemberEnded():
                click.echo(f"{plain(event.member)}: {event.outcome.value.replace('_', ' ')}: {plain(event.says)}")
            case _:
                pass

    def _line(self, member: str, step: events.Step, says: str) -> None:
        click.echo(f"{plain(member)} {step.value:10} {plain(says)}")
