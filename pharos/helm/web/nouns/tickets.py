"""Tickets, as REST serves them: the link is in the answer that makes one, and nowhere else."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from pharos.helm.accounts.tickets import invite_device, withdraw_ticket
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.model.tickets import Ticket
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.tickets import TICKETS
from pharos.helm.web.acting import Answer
from pharos.helm.web.resources import API, ItemAct, Resource


class TicketBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which device is invited, and for how long."""

    device_name: str
    seconds: int = 900
    user: str | None = None
    """Id of the user whose device it will be."""


def _add(context: HelmContext, db: Database, act: Act, body: TicketBody) -> Answer:
    try:
        lifetime = datetime.timedelta(seconds=body.seconds)
    except OverflowError as error:
        raise InvalidRequestError("'seconds' is too large") from error
    made = invite_device(
        db,
        act,
        context.authority,
        context.vault,
        device_name=body.device_name,
        lifetime=lifetime,
        user_id=body.user,
    )
    return Answer(
        body=TICKETS.view(made.ticket) | {"link": made.link},
        status=201,
        version=made.ticket.version,
        location=f"{API}/{TICKETS.table}/{made.ticket.id}",
    )


TICKET_RESOURCE: Resource[Ticket] = Resource(
    noun=TICKETS,
    in_helm=True,
    add_body=TicketBody,
    add=_add,
    acts={"withdraw": ItemAct[Any](do=withdraw_ticket, says="Make a ticket worthless that nobody has used")},
)
