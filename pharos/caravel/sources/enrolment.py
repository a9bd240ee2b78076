"""Joins the fleet that an organisation wants a device in, once (`pharos.caravel.managed`)."""

from __future__ import annotations

from pathlib import Path

import attrs

from pharos.caravel.errors import SourceError
from pharos.caravel.managed import Managed
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.sources.base import Choices, Preview, Taken
from pharos.caravel.sources.loginlink import LoginSource
from pharos.caravel.sources.read import read_bounded, read_source
from pharos.caravel.sources.ticket import TicketSource
from pharos.wire.world import this_world


def managed_source(managed: Managed) -> TicketSource | LoginSource:
    """Return what an organisation says how this device joins.

    Raises: SourceError — it says nothing, or its file has no ticket. LinkFormatError, OSError.
    """
    wanted = managed.enrolment
    if wanted.fleet_link:
        source = read_source(wanted.fleet_link)
    elif wanted.ticket_file is not None:
        source = read_source(read_bounded(wanted.ticket_file))
    else:
        raise SourceError(f"{managed.organisation} has not said how this device joins; see [enrolment] of its file")
    if not isinstance(source, TicketSource | LoginSource):
        raise SourceError(f"{wanted.ticket_file} has no ticket in it, but {source.preview().title}")
    return source


def joined_already(path: Path, managed: Managed, choices: Choices) -> bool:
    """Whether this device is in the fleet that its organisation wants, or has used up the ticket for it."""
    fleets = [fleet for fleet in Fleets(path, choices.unlocking).list() if fleet.joined]
    ticket_file = managed.enrolment.ticket_file
    if ticket_file is not None and not ticket_file.exists():
        return bool(fleets)
    fleet = managed_source(managed).link.fleet
    return any(one.id == fleet for one in fleets)


async def enrol_managed(path: Path, managed: Managed, choices: Choices) -> Taken | None:
    """Join; None where this device has joined already. A ticket's file is removed when it is used up, if it can be.

    Raises: as `managed_source` and `Source.take`.
    """
    if joined_already(path, managed, choices):
        return None
    source = managed_source(managed)
    # What the organisation itself says is no choice of the user's.
    own = attrs.evolve(choices, managed=None)
    if isinstance(source, LoginSource):
        return await source.log_in(path, own)
    taken = await source.take(path, own)
    ticket_file = managed.enrolment.ticket_file
    if ticket_file is not None:
        _remove(ticket_file)
    return taken


def preview_of(managed: Managed) -> Preview:
    """Return what joining would do. Raises: as `managed_source`."""
    return managed_source(managed).preview()


def _remove(path: Path) -> None:
    try:
        this_world().unlink(path)
    except OSError:
        # Root's, in a directory of root's: it is used up all the same, and good for nothing.
        return
