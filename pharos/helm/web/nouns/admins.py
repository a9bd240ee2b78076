"""Admins and API tokens, as REST serves them."""

from __future__ import annotations

from typing import Any

import msgspec

from pharos.helm.accounts.admindevices import give_device, take_device
from pharos.helm.accounts.admins import (
    add_admin,
    add_token,
    change_admin,
    make_link,
    remove_admin,
    revoke_token,
)
from pharos.helm.accounts.sessions import end_all
from pharos.helm.errors import InvalidRequestError
from pharos.helm.model.admins import Admin, AdminState, Role, Token
from pharos.helm.store.admindevices import devices_of_admin
from pharos.helm.store.admins import ADMINS, TOKENS, check_principal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.helm.web.acting import Answer, principal
from pharos.helm.web.bodies import UNSET, Time, Unset, given
from pharos.helm.web.resources import API, ItemAct, Resource


class AdminBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new admin; comes in by a link."""

    name: str
    role: Role


class AdminChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of an admin changes; what is left out stays."""

    name: str | Unset = UNSET
    role: Role | Unset = UNSET
    state: AdminState | Unset = UNSET


class DeviceBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One device of an admin's."""

    device: str
    """Id."""


class TokenBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new token."""

    name: str
    role: Role
    admin: str | None = None
    """Id of the admin on whose behalf; oneself where it is left out."""
    scopes: list[str] = msgspec.field(default_factory=list)
    """Nouns by their path segment, ``devices`` for instance; none: all."""
    expires_at: Time | None = None


def _add_token(db: Database, act: Act, body: TokenBody) -> Answer:
    values = given(body)
    # Nobody gives away more than they have, on whosever behalf.
    check_principal(db, principal(), body.role, noun=TOKENS.table, at=act.at)
    admin_id = values.pop("admin") or principal().admin_id
    if admin_id is None:
        raise InvalidRequestError("say on which admin's behalf: the Unix socket is nobody's own")
    token, text = add_token(db, act, admin_id, **values)
    return Answer(
        body=TOKENS.view(token) | {"token": text},
        status=201,
        version=token.version,
        location=f"{API}/{TOKENS.table}/{token.id}",
    )


def _link(db: Database, act: Act, admin_id: str) -> Answer:
    secret = make_link(db, act, admin_id)
    admin = get_record(db, ADMINS, admin_id)
    return Answer(body=ADMINS.view(admin) | {"link": secret}, version=admin.version)


ADMIN_RESOURCE: Resource[Admin] = Resource(
    noun=ADMINS,
    view=lambda db, admin: ADMINS.view(admin) | {"devices": devices_of_admin(db, admin.id)},
    reads=Role.ADMIN,
    writes=Role.OWNER,
    add_body=AdminBody,
    add=lambda db, act, body: add_admin(db, act, body.name, body.role),
    change_body=AdminChange,
    change=lambda db, act, admin_id, version, body: change_admin(db, act, admin_id, version, given(body)),
    remove=remove_admin,
    acts={
        "link": ItemAct(do=_link, role=Role.OWNER, versioned=False, says="Make a one-time link; those made before end"),
        "give-device": ItemAct(
            do=lambda db, act, admin_id, body: give_device(db, act, admin_id, body.device),
            role=Role.OWNER,
            body=DeviceBody,
            versioned=False,
            says="Let an admin use the desk from a device",
        ),
        "take-device": ItemAct(
            do=lambda db, act, admin_id, body: take_device(db, act, admin_id, body.device),
            role=Role.OWNER,
            body=DeviceBody,
            versioned=False,
            says="Let an admin use the desk from a device no more",
        ),
        "sign-out": ItemAct(do=end_all, role=Role.OWNER, versioned=False, says="End all sessions of an admin"),
    },
)

TOKEN_RESOURCE: Resource[Token] = Resource(
    noun=TOKENS,
    reads=Role.ADMIN,
    writes=Role.ADMIN,
    add_body=TokenBody,
    add=_add_token,
    acts={"revoke": ItemAct[Any](do=revoke_token, role=Role.ADMIN, says="End a token")},
)
