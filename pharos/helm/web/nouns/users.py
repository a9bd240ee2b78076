"""Users and groups, as REST serves them."""

from __future__ import annotations

import msgspec

from pharos.helm.accounts.users import (
    add_group,
    add_user,
    change_group,
    change_user,
    join_group,
    leave_group,
    remove_group,
    remove_user,
)
from pharos.helm.model.admins import Role
from pharos.helm.model.users import Group, Protocol, QuotaAction, QuotaPeriod, User, UserState
from pharos.helm.store.credentials import passphrase_of
from pharos.helm.store.users import GROUPS, USERS, groups_of, members_of
from pharos.helm.web.bodies import UNSET, Time, Unset, given
from pharos.helm.web.resources import ItemAct, Resource


class UserBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new user."""

    name: str
    email: str | None = None
    note: str = ""
    expires_at: Time | None = None
    device_limit: int | None = None
    quota_bytes: int | None = None
    quota_period: QuotaPeriod = QuotaPeriod.MONTH
    quota_action: QuotaAction = QuotaAction.WARN


class UserChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a user changes; what is left out stays."""

    name: str | Unset = UNSET
    email: str | Unset | None = UNSET
    state: UserState | Unset = UNSET
    note: str | Unset = UNSET
    expires_at: Time | Unset | None = UNSET
    device_limit: int | Unset | None = UNSET
    quota_bytes: int | Unset | None = UNSET
    quota_period: QuotaPeriod | Unset = UNSET
    quota_action: QuotaAction | Unset = UNSET


class GroupBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new group."""

    name: str
    note: str = ""
    node_tags: list[str] = msgspec.field(default_factory=list)
    protocols: list[Protocol] = msgspec.field(default_factory=lambda: list(Protocol))
    everybody: bool = False


class GroupChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a group changes; what is left out stays."""

    name: str | Unset = UNSET
    note: str | Unset = UNSET
    node_tags: list[str] | Unset = UNSET
    protocols: list[Protocol] | Unset = UNSET
    everybody: bool | Unset = UNSET


class Member(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One user of a group."""

    user: str
    """Id."""


USER_RESOURCE: Resource[User] = Resource(
    noun=USERS,
    view=lambda db, user: (
        USERS.view(user)
        | {
            "groups": [{"id": group.id, "name": group.name} for group in groups_of(db, user.id)],
            "passphrase_set": passphrase_of(db, user.id) is not None,
        }
    ),
    add_body=UserBody,
    add=lambda db, act, body: add_user(db, act, given(body)),
    change_body=UserChange,
    change=lambda db, act, user_id, version, body: change_user(db, act, user_id, version, given(body)),
    remove=remove_user,
)

GROUP_RESOURCE: Resource[Group] = Resource(
    noun=GROUPS,
    view=lambda db, group: GROUPS.view(group) | {"members": members_of(db, group.id)},
    writes=Role.ADMIN,
    add_body=GroupBody,
    add=lambda db, act, body: add_group(db, act, given(body)),
    change_body=GroupChange,
    change=lambda db, act, group_id, version, body: change_group(db, act, group_id, version, given(body)),
    remove=remove_group,
    acts={
        "join": ItemAct(
            do=lambda db, act, group_id, body: join_group(db, act, group_id, body.user),
            body=Member,
            versioned=False,
            says="Put a user into a group",
        ),
        "leave": ItemAct(
            do=lambda db, act, group_id, body: leave_group(db, act, group_id, body.user),
            body=Member,
            versioned=False,
            says="Take a user out of a group",
        ),
    },
)
