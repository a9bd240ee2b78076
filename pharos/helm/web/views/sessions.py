"""Sessions as a long list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from pharos.helm.model.sessions import Session
from pharos.helm.store.database import Database
from pharos.helm.store.times import rfc3339
from pharos.helm.store.views.devices import read_node_names, read_owners
from pharos.helm.store.views.presence import Rate, rates_of
from pharos.helm.store.views.sessions import (
    SessionLine,
    Wanted,
    count_lines,
    list_lines,
    octets_of,
    read_sessions,
)
from pharos.helm.telemetry.retention import Retention, get_retention
from pharos.helm.web.views.ordering import Chosen, Ordering, Wish, contains, is_named, sort_lines
from pharos.helm.web.views.showing import named

Json = dict[str, Any]


@attrs.frozen
class Owned:
    """A device and whose it is."""

    name: str
    user_id: str | None
    user: str | None


@attrs.frozen(kw_only=True)
class Line:
    """A session as any sort sees it."""

    session: SessionLine
    device: str | None
    node: str | None


@attrs.frozen(kw_only=True)
class Core:
    """What core.db says."""

    devices: Mapping[str, Owned]
    nodes: Mapping[str, str]


ORDERING: Final[Ordering[Line]] = Ordering(
    kind="sessions",
    sorts={
        "opened": lambda line: line.session.opened_at,
        "seen": lambda line: line.session.seen_at,
        "device": lambda line: line.device and line.device.casefold(),
        "node": lambda line: line.node and line.node.casefold(),
    },
    # Both are counted by SQL.
    facets={"live": lambda _line: "", "protocol": lambda _line: ""},
    words={"live": frozenset({"true", "false"}), "protocol": frozenset({"amneziawg", "reality", "none"})},
    filters=frozenset({"node", "device", "user", "q"}),
    first="-opened",
)


def read_core(db: Database, _wish: Wish, _at: int) -> Core:
    """Read what an order is made of."""
    return _core(db, None)


def _core(db: Database, device_ids: Sequence[str] | None) -> Core:
    return Core(
        devices={key: Owned(name, user_id, user) for key, name, user_id, user in read_owners(db, device_ids)},
        nodes=read_node_names(db),
    )


def order(telemetry: Database, core: Core, wish: Wish, at: int) -> Chosen[Line]:
    """Return the order: of more sessions than a list has, the first by when they began, or by when they ended."""
    wanted = wanted_by(core, wish, at)
    live, protocols = count_lines(telemetry, wanted)
    names = wish.sort in ("device", "node")
    sessions = list_lines(telemetry, wanted, by_end=wish.sort == "seen", descending=names or wish.descending)
    lines = [
        Line(
            session=session,
            device=core.devices[session.device_id].name if session.device_id in core.devices else None,
            node=core.nodes.get(session.node_id),
        )
        for session in sessions
    ]
    return Chosen(
        lines=sort_lines(ORDERING, lines, wish),
        total=live.total(),
        facets={"live": dict(sorted(live.items())), "protocol": dict(sorted(protocols.items()))},
    )


def wanted_by(core: Core, wish: Wish, at: int) -> Wanted:
    """Return which sessions a wish is for, by their ids alone."""
    live = wish.facets.get("live", frozenset())
    part = wish.filters.get("q", "")
    has = contains(part)
    return Wanted(
        now=at,
        nodes=_nodes(core, wish.filters.get("node")),
        devices=_devices(core, wish.filters.get("device"), wish.filters.get("user")),
        live="true" in live if len(live) == 1 else None,
        protocols=sorted(wish.facets["protocol"]) if "protocol" in wish.facets else None,
        part=part,
        part_nodes=[node_id for node_id, name in core.nodes.items() if has(name)] if part else (),
        part_devices=[key for key, one in core.devices.items() if has(one.name) or has(one.user)] if part else (),
    )


def _nodes(core: Core, wanted: str | None) -> list[str] | None:
    if wanted is None:
        return None
    is_node = is_named(wanted)
    # Of a node that is no more there may be sessions still.
    return [node_id for node_id, name in core.nodes.items() if is_node(node_id, name)] or [wanted]


def _devices(core: Core, device: str | None, user: str | None) -> list[str] | None:
    checks: list[Callable[[str, Owned], bool]] = []
    if device is not None:
        is_device = is_named(device)
        checks.append(lambda key, one: is_device(key, one.name))
    if user is not None:
        has = contains(user)
        checks.append(lambda _key, one: one.user_id == user or has(one.user))
    if not checks:
        return None
    return [key for key, one in core.devices.items() if all(check(key, one) for check in checks)]


@attrs.frozen(kw_only=True)
class CoreRows:
    """What core.db says of whatever session."""

    core: Core
    retention: Retention


def read_core_rows(db: Database, device_ids: Sequence[str], _at: int) -> CoreRows:
    """Read what rows of these devices' sessions are made of."""
    return CoreRows(core=_core(db, device_ids), retention=get_retention(db))


def rows(telemetry: Database, core: CoreRows, ids: Sequence[str], at: int) -> list[Json]:
    """Return the rows of sessions, in the order of their ids; those of none are left out."""
    sessions = read_sessions(telemetry, ids)
    octets = octets_of(telemetry, sessions.values(), core.retention, now=at)
    live = [(session.node_id, session.device_id) for session in sessions.values() if session.until_at > at]
    rates = rates_of(telemetry, live, now=at)
    return [
        _row(sessions[key], core.core, rates.get((sessions[key].node_id, sessions[key].device_id)), octets[key], at)
        for key in ids
        if key in sessions
    ]


def _row(session: Session, core: Core, rate: Rate | None, octets: int, at: int) -> Json:
    live = session.until_at > at
    owned = core.devices.get(session.device_id)
    return {
        "id": session.id,
        "device": named(session.device_id, None if owned is None else owned.name),
        "user": None if owned is None else named(owned.user_id, owned.user),
        "node": named(session.node_id, core.nodes.get(session.node_id)),
        "protocol": session.protocol or None,
        "endpoint": session.endpoint,
        "opened_at": rfc3339(session.opened_at),
        "seen_at": rfc3339(session.seen_at),
        "ended_at": None if live else rfc3339(session.until_at),
        "reason": "" if live else session.reason or "silent",
        "live": live,
        "down": rate.down if live and rate is not None else None,
        "up": rate.up if live and rate is not None else None,
        "bytes": octets,
    }
