"""Taking a node or relay back that belongs to the fleet, as REST serves it."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from pharos.helm.context import HelmContext
from pharos.helm.model.admins import Role
from pharos.helm.onboard.readopt import readopt
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import Noun
from pharos.helm.store.relays import RELAYS
from pharos.helm.web.acting import Answer
from pharos.helm.web.resources import ItemAct, View
from pharos.wire.agent import AgentRequest
from pharos.wire.pki import roles


class ReadoptBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the machine asks with now."""

    request: str
    """What `buoy csr` or `beacon csr` printed there."""
    new_keys: bool = False
    """It lost its tunnel keys and made others: devices have to be told."""


def _readopt(
    role: roles.Role, context: HelmContext, db: Database, act: Act, member_id: str, version: int, body: ReadoptBody
) -> Answer:
    request = AgentRequest.parse(body.request)
    done = readopt(db, act, context.authority, role, member_id, version, request, new_keys=body.new_keys)
    noun: Noun[Any] = NODES if role is roles.Role.NODE else RELAYS
    view: View = noun.view(done.record)
    more = {"grant": done.grant.render(), "keys_changed": done.keys_changed, "proven": done.proven}
    return Answer(body=view | more, version=done.record.version)


def readopt_act(role: roles.Role) -> ItemAct[Any]:
    """Return the act for nodes or relays."""
    return ItemAct(
        do=functools.partial(_readopt, role),
        role=Role.ADMIN,
        body=ReadoptBody,
        says=f"Certify a {role.value} anew whose certificate has ended",
        in_helm=True,
    )
