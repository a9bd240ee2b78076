"""Users as a long list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

from pharos.helm.model.devices import DeviceState
from pharos.helm.store.database import Database
from pharos.helm.store.times import rfc3339
from pharos.helm.store.views.members import groups_of_users, users_of_group
from pharos.helm.store.views.presence import live_devices, sightings_of, traffic_of_all, traffic_of_some
from pharos.helm.store.views.standing import Standing
from pharos.helm.store.views.use import Accounts, read_accounts
from pharos.helm.store.views.users import UserLine, devices_of_users, read_user_lines, read_user_rows
from pharos.helm.web.views.ordering import Chosen, Ordering, Predicate, Wish, choose, contains
from pharos.helm.web.views.showing import time_or_none

Json = dict[str, Any]

_REVOKED: Final = DeviceState.REVOKED.value


class Line(NamedTuple):
    """A user as any sort or filter sees it."""

    user: UserLine
    devices: int
    online: int
    """Where it is asked for."""
    used: int | None


@attrs.frozen(kw_only=True)
class Core:
    """What core.db says."""

    lines: list[UserLine]
    devices: Mapping[str, Sequence[tuple[str, str]]]
    accounts: Accounts | None
    """None where nothing is sorted by it."""
    members: frozenset[str] | None
    """Users of the group that is asked for."""


ORDERING: Final[Ordering[Line]] = Ordering(
    kind="users",
    sorts={
        "name": lambda line: line.user.name.casefold(),
        "email": lambda line: line.user.email and line.user.email.casefold(),
        "devices": lambda line: line.devices,
        "online": lambda line: line.online,
        "used": lambda line: line.used,
        "expires": lambda line: line.user.expires_at,
        "created": lambda line: line.user.created_at,
    },
    facets={"status": lambda line: line.user.status},
    words={"status": frozenset({Standing.ACTIVE.value, Standing.DISABLED.value, Standing.EXPIRED.value})},
    filters=frozenset({"group", "q"}),
    first="name",
)


def read_core(db: Database, wish: Wish, at: int) -> Core:
    """Read what an order is made of."""
    return Core(
        lines=read_user_lines(db, at),
        devices=devices_of_users(db) if wish.sort in ("devices", "online") else {},
        accounts=read_accounts(db, at) if wish.sort == "used" else None,
        members=users_of_group(db, wish.filters["group"]) if "group" in wish.filters else None,
    )


def order(telemetry: Database, core: Core, wish: Wish, at: int) -> Chosen[Line]:
    """Return the order, with what telemetry.db says."""
    live = live_devices(telemetry, now=at) if wish.sort == "online" else {}
    used = {} if core.accounts is None else core.accounts.by_user(traffic_of_all(telemetry))
    lines = []
    for user in core.lines:
        devices = _kept(core.devices, user.id)
        online = sum(device_id in live for device_id in devices)
        lines.append(Line(user, len(devices), online, None if core.accounts is None else used.get(user.id, 0)))
    return choose(ORDERING, lines, _predicates(core, wish), wish)


def _kept(devices: Mapping[str, Sequence[tuple[str, str]]], user_id: str) -> list[str]:
    """Return the devices of a user that were not revoked."""
    return [device_id for device_id, state in devices.get(user_id, ()) if state != _REVOKED]


def _predicates(core: Core, wish: Wish) -> list[Predicate[Line]]:
    found: list[Predicate[Line]] = []
    if core.members is not None:
        members = core.members
        found.append(lambda line: line.user.id in members)
    if (wanted := wish.filters.get("q")) is not None:
        has = contains(wanted)
        found.append(lambda line: has(line.user.name) or has(line.user.email) or has(line.user.note))
    return found


@attrs.frozen(kw_only=True)
class CoreRows:
    """What core.db says of some users."""

    rows: Mapping[str, Any]
    groups: Mapping[str, list[dict[str, str]]]
    devices: Mapping[str, Sequence[tuple[str, str]]]
    accounts: Accounts


def read_core_rows(db: Database, ids: Sequence[str], at: int) -> CoreRows:
    """Read what rows are made of."""
    devices = devices_of_users(db, ids)
    # What a device carried before it was revoked was used all the same.
    every = [device_id for owned in devices.values() for device_id, _ in owned]
    return CoreRows(
        rows=read_user_rows(db, ids, at),
        groups=groups_of_users(db, list(ids)),
        devices=devices,
        accounts=read_accounts(db, at, every),
    )


def rows(telemetry: Database, core: CoreRows, ids: Sequence[str], at: int) -> list[Json]:
    """Return the rows of users, in the order of their ids; those of nobody are left out."""
    sightings = sightings_of(telemetry, core.accounts.owners, now=at)
    used = core.accounts.by_user(traffic_of_some(telemetry, core.accounts.owners))
    found = []
    for user_id in ids:
        user = core.rows.get(user_id)
        if user is not None:
            devices = _kept(core.devices, user_id)
            online = sum(device_id in sightings and sightings[device_id].live is not None for device_id in devices)
            found.append(_row(user, core.groups[user_id], len(devices), online, used.get(user_id, 0)))
    return found


def _row(user: Any, groups: list[dict[str, str]], devices: int, online: int, used: int | None) -> Json:
    return {
        "id": user["id"],
        "version": user["version"],
        "name": user["name"],
        "email": user["email"],
        "state": user["state"],
        "status": user["status"],
        "groups": groups,
        "devices": devices,
        "online": online,
        "device_limit": user["device_limit"],
        "used_bytes": used,
        "quota_bytes": user["quota_bytes"],
        "quota_period": user["quota_period"],
        "quota_action": user["quota_action"],
        "expires_at": time_or_none(user["expires_at"]),
        "passphrase_set": user["passphrase"] is not None,
        "created_at": rfc3339(user["created_at"]),
        "note": user["note"],
    }
