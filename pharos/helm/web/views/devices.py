"""Devices as a long list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

from pharos.helm.store.database import Database
from pharos.helm.store.times import rfc3339
from pharos.helm.store.views.devices import DeviceLine, read_device_lines, read_device_rows, read_node_names
from pharos.helm.store.views.members import users_of_group
from pharos.helm.store.views.presence import (
    Rate,
    Sighting,
    last_handshakes,
    live_devices,
    rates_of,
    sightings_of,
    traffic_of_all,
    traffic_of_some,
)
from pharos.helm.store.views.standing import ProfileStand, Standing
from pharos.helm.store.views.use import Accounts, read_accounts
from pharos.helm.web.views.ordering import Chosen, Ordering, Predicate, Wish, choose, contains, is_named
from pharos.helm.web.views.showing import named, time_or_none

Json = dict[str, Any]

ONLINE: Final = "online"
OFFLINE: Final = "offline"
SENDING: Final = ProfileStand.SENDING.value
STALE: Final = ProfileStand.STALE.value
# Those that may want somebody first.
STATUSES: Final = (
    *(STALE, SENDING, ONLINE, OFFLINE),
    *(Standing.DISABLED.value, Standing.EXPIRED.value, Standing.REVOKED.value),
)
_ACTIVE: Final = Standing.ACTIVE.value
_RANK: Final = {status: rank for rank, status in enumerate(STATUSES)}
_PROFILES: Final = (STALE, SENDING, ProfileStand.SYNCED.value, ProfileStand.NONE.value)
_PROFILE_RANK: Final = {state: rank for rank, state in enumerate(_PROFILES)}


class Line(NamedTuple):
    """A device as any sort or filter sees it."""

    device: DeviceLine
    status: str
    node_id: str | None
    node: str | None
    handshake: int | None
    """Where it is asked for."""
    protocol: str | None
    used: int | None


@attrs.frozen(kw_only=True)
class Core:
    """What core.db says."""

    lines: list[DeviceLine]
    nodes: Mapping[str, str]
    accounts: Accounts | None
    """None where nothing is sorted by it."""
    members: frozenset[str] | None
    """Users of the group that is asked for."""


def status_of(standing: str, profile: str, *, online: bool, held: bool = True) -> str:
    """Return how a device is, in a word (docs/guide/views.md); ``held``: it has fetched a profile before."""
    if standing != _ACTIVE:
        return standing
    if online:
        return ONLINE
    if profile == STALE:
        return STALE
    return OFFLINE if held or profile != SENDING else SENDING


ORDERING: Final[Ordering[Line]] = Ordering(
    kind="devices",
    sorts={
        "name": lambda line: line.device.name.casefold(),
        "user": lambda line: line.device.user and line.device.user.casefold(),
        "status": lambda line: _RANK[line.status],
        "node": lambda line: line.node and line.node.casefold(),
        "handshake": lambda line: line.handshake,
        "profile": lambda line: (_PROFILE_RANK[line.device.profile], line.device.since or 0),
        "used": lambda line: line.used,
        "expires": lambda line: line.device.expires_at,
        "created": lambda line: line.device.created_at,
    },
    facets={
        "status": lambda line: line.status,
        "profile": lambda line: line.device.profile,
        "exported": lambda line: "true" if line.device.exported else "false",
        "protocol": lambda line: line.protocol or "none",
    },
    words={
        "status": frozenset(STATUSES),
        "profile": frozenset(_PROFILES),
        "exported": frozenset({"true", "false"}),
        "protocol": frozenset({"amneziawg", "reality", "none"}),
    },
    filters=frozenset({"user", "node", "group", "q"}),
    first="name",
)


def read_core(db: Database, wish: Wish, at: int) -> Core:
    """Read what an order is made of."""
    return Core(
        lines=read_device_lines(db, at),
        nodes=read_node_names(db),
        accounts=read_accounts(db, at) if wish.sort == "used" else None,
        members=users_of_group(db, wish.filters["group"]) if "group" in wish.filters else None,
    )


def order(telemetry: Database, core: Core, wish: Wish, at: int) -> Chosen[Line]:
    """Return the order, with what telemetry.db says."""
    live = live_devices(telemetry, now=at)
    handshakes = last_handshakes(telemetry) if wish.sort in ("handshake", "node") or "node" in wish.filters else {}
    totals = {} if core.accounts is None else traffic_of_all(telemetry)
    lines = []
    for device in core.lines:
        here = live.get(device.id)
        node_id, handshake = handshakes.get(device.id, (None, None))
        if here is not None:
            node_id = here.node_id
        status = status_of(device.standing, device.profile, online=here is not None, held=device.held > 0)
        protocol = None if here is None else here.protocol
        used = None if core.accounts is None else core.accounts.of_device(device.id, totals)
        lines.append(Line(device, status, node_id, core.nodes.get(node_id or ""), handshake, protocol, used))
    return choose(ORDERING, lines, _predicates(core, wish), wish)


def _predicates(core: Core, wish: Wish) -> list[Predicate[Line]]:
    found: list[Predicate[Line]] = []
    if (wanted := wish.filters.get("user")) is not None:
        user_id, has_user = wanted, contains(wanted)
        found.append(lambda line: line.device.user_id == user_id or has_user(line.device.user))
    if (wanted := wish.filters.get("node")) is not None:
        is_node = is_named(wanted)
        found.append(lambda line: line.node_id is not None and is_node(line.node_id, line.node))
    if core.members is not None:
        members = core.members
        found.append(lambda line: line.device.user_id in members)
    if (wanted := wish.filters.get("q")) is not None:
        has = contains(wanted)
        found.append(
            lambda line: (
                has(line.device.name)
                or has(line.device.user)
                or has(line.device.note)
                or has(line.device.address4)
                or has(line.device.address6)
            )
        )
    return found


@attrs.frozen(kw_only=True)
class CoreRows:
    """What core.db says of some devices."""

    rows: Mapping[str, Any]
    nodes: Mapping[str, str]
    accounts: Accounts


def read_core_rows(db: Database, ids: Sequence[str], at: int) -> CoreRows:
    """Read what rows are made of."""
    return CoreRows(rows=read_device_rows(db, ids, at), nodes=read_node_names(db), accounts=read_accounts(db, at, ids))


def rows(telemetry: Database, core: CoreRows, ids: Sequence[str], at: int) -> list[Json]:
    """Return the rows of devices, in the order of their ids; those of none are left out."""
    sightings = sightings_of(telemetry, core.rows, now=at)
    live = [(one.live.node_id, device_id) for device_id, one in sightings.items() if one.live is not None]
    rates, totals = rates_of(telemetry, live, now=at), traffic_of_some(telemetry, core.rows)
    found = []
    for device_id in ids:
        if device_id in core.rows:
            seen = sightings.get(device_id, Sighting())
            rate = rates.get((seen.live.node_id, device_id)) if seen.live is not None else None
            used = core.accounts.of_device(device_id, totals)
            found.append(_row(core.rows[device_id], core.nodes, seen, rate=rate, used=used))
    return found


def _row(device: Any, nodes: Mapping[str, str], seen: Sighting, *, rate: Rate | None, used: int | None) -> Json:
    live = seen.live
    node_id = live.node_id if live is not None else seen.node_id or None
    protocol = None if live is None else live.protocol
    return {
        "id": device["id"],
        "version": device["version"],
        "name": device["name"],
        "state": device["state"],
        "status": status_of(device["standing"], device["profile"], online=live is not None, held=device["held"] > 0),
        "user": named(device["user_id"], device["user"]),
        "exported": bool(device["exported"]),
        "node": named(node_id, nodes.get(node_id or "")),
        "protocol": protocol,
        "last_handshake_at": rfc3339(seen.handshake_at) if seen.handshake_at else None,
        "stream": protocol == "reality",
        "address4": device["address4"],
        "address6": device["address6"],
        "endpoint": seen.endpoint or None,
        "profile": profile_json(device),
        "used_bytes": used,
        "quota_bytes": device["quota_bytes"],
        "rate_limit": device["rate_limit"],
        "expires_at": time_or_none(device["expires_at"]),
        "created_at": rfc3339(device["created_at"]),
        "down": None if rate is None else rate.down,
        "up": None if rate is None else rate.up,
        "note": device["note"],
    }


def profile_json(device: Any) -> Json | None:
    """Return how far a device's profile is; None where it has none and gets none."""
    if device["wanted"] is None and not device["exported"]:
        return None
    return {
        "revision": device["held"] or None,
        "wanted": device["wanted"],
        "state": device["profile"],
        "since": time_or_none(device["since"]),
    }
