"""Profiles as a long list: one of each device that may use the fleet and has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from pharos.helm.model.users import Protocol
from pharos.helm.profiles.build import nodes_shown
from pharos.helm.profiles.record import FleetRecord, read_common
from pharos.helm.store.database import Database
from pharos.helm.store.views.devices import DeviceLine, read_device_lines, read_device_rows
from pharos.helm.store.views.standing import ProfileStand
from pharos.helm.web.views.ordering import Chosen, Ordering, Predicate, Wish, choose, contains
from pharos.helm.web.views.showing import named, time_or_none

Json = dict[str, Any]

_STATES: Final = (ProfileStand.STALE.value, ProfileStand.SENDING.value, ProfileStand.SYNCED.value)
_RANK: Final = {state: rank for rank, state in enumerate(_STATES)}
_NONE: Final = ProfileStand.NONE.value

ORDERING: Final[Ordering[DeviceLine]] = Ordering(
    kind="profiles",
    sorts={
        "device": lambda line: line.name.casefold(),
        "user": lambda line: line.user and line.user.casefold(),
        "state": lambda line: (_RANK[line.profile], line.since or 0),
        "revision": lambda line: line.held or None,
        "fetched": lambda line: line.synced_at,
    },
    facets={"state": lambda line: line.profile},
    words={"state": frozenset(_STATES)},
    filters=frozenset({"user", "q"}),
    first="device",
)


def read_core(db: Database, _wish: Wish, at: int) -> list[DeviceLine]:
    """Read what an order is made of."""
    return [line for line in read_device_lines(db, at) if line.profile != _NONE]


def order(_telemetry: Database, core: list[DeviceLine], wish: Wish, _at: int) -> Chosen[DeviceLine]:
    """Return the order."""
    predicates: list[Predicate[DeviceLine]] = []
    if (wanted := wish.filters.get("user")) is not None:
        user_id, has_user = wanted, contains(wanted)
        predicates.append(lambda line: line.user_id == user_id or has_user(line.user))
    if (wanted := wish.filters.get("q")) is not None:
        has = contains(wanted)
        predicates.append(lambda line: has(line.name) or has(line.user))
    return choose(ORDERING, core, predicates, wish)


@attrs.frozen(kw_only=True)
class CoreRows:
    """What core.db says of some profiles."""

    rows: Mapping[str, Any]
    record: FleetRecord


def read_core_rows(db: Database, ids: Sequence[str], at: int) -> CoreRows:
    """Read what rows are made of."""
    return CoreRows(rows=read_device_rows(db, ids, at), record=read_common(db))


def rows(_telemetry: Database, core: CoreRows, ids: Sequence[str], _at: int) -> list[Json]:
    """Return the rows of profiles, in the order of their devices' ids; those of none are left out."""
    return [_row(core.rows[key], core.record) for key in ids if key in core.rows and core.rows[key]["profile"] != _NONE]


def _row(device: Any, record: FleetRecord) -> Json:
    shown = nodes_shown(record, record.rules.of(device["user_id"]))
    protocols = {
        protocol.value
        for node, names in shown
        for protocol in Protocol
        if protocol.value in (names or record.rules.offered)
        and (protocol is Protocol.AMNEZIAWG or node.id in record.reality)
    }
    return {
        "id": device["id"],
        "device": named(device["id"], device["name"]),
        "user": named(device["user_id"], device["user"]),
        "revision": device["held"] or None,
        "wanted": device["wanted"],
        "epoch": device["epoch"],
        "state": device["profile"],
        "made_at": time_or_none(device["sealed_at"]),
        "fetched_at": time_or_none(device["synced_at"]),
        "size": device["size"],
        "nodes": len(shown),
        "protocols": sorted(protocols),
    }
