"""From events to sessions: a pure function of the set of events, whatever order they came in and however often.

A handshake or a connect is a sign of life. A session is a run of them, none more than 180 s after the one before; a
disconnect cuts it off. What has ended by silence needs no event and no timer: its end is a sum.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import attrs

from pharos.helm.model.sessions import Session
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.telemetry.readings import SILENCE
from pharos.wire.convert import MAX_TIME, EventKind
from pharos.wire.ids import DeviceId, NodeId, uuid7

LIFE: Final = frozenset({EventKind.HANDSHAKE.value, EventKind.CONNECTED.value})
END: Final = EventKind.DISCONNECTED.value
VITAL: Final = LIFE | {END}
"""Kinds that sessions are made of."""


class Sign(NamedTuple):
    """What one event means for the sessions of a device at a node; signs sort as they are to be read."""

    at: int
    alive: bool
    """False sorts first: a peer that is replaced goes before it comes."""
    detail: str
    protocol: str = ""


def sign_of(event: NodeEvent) -> Sign:
    """Return the sign that an event is; its kind has to be one of ``VITAL``."""
    return Sign(event.at, event.kind in LIFE, event.detail, event.protocol)


def unbroken(signs: Sequence[Sign]) -> bool:
    """Return whether signs, in order, are all of life and none so late that it begins a session of its own."""
    return all(sign.alive for sign in signs) and all(
        later.at <= silent_at(sign.at) for sign, later in itertools.pairwise(signs)
    )


def fold(node_id: NodeId, device_id: DeviceId, signs: Iterable[Sign], newest: Session | None = None) -> list[Session]:
    """Return the sessions that signs make, oldest first; ``newest`` is one that is there, and all signs are later."""
    sessions = [] if newest is None else [newest]
    for sign in sorted(set(signs)):
        current = sessions[-1] if sessions and not sessions[-1].reason else None
        if current is not None and sign.at > current.until_at:
            current = None
        if not sign.alive:
            if current is not None:
                sessions[-1] = attrs.evolve(current, until_at=sign.at, reason=sign.detail or "disconnected")
        elif current is None:
            sessions.append(
                Session(
                    id=session_id(node_id, device_id, sign.at),
                    node_id=node_id,
                    device_id=device_id,
                    opened_at=sign.at,
                    seen_at=sign.at,
                    until_at=silent_at(sign.at),
                    reason="",
                    endpoint=sign.detail,
                    protocol=sign.protocol,
                )
            )
        else:
            sessions[-1] = attrs.evolve(
                current,
                seen_at=sign.at,
                until_at=silent_at(sign.at),
                endpoint=sign.detail or current.endpoint,
                protocol=sign.protocol or current.protocol,
            )
    return sessions


def silent_at(seen_at: int) -> int:
    """Return when a session ends of which nothing more is heard."""
    # A node may name any time; one that cannot be shown is of no use.
    return min(seen_at + SILENCE, MAX_TIME)


def session_id(node_id: NodeId, device_id: DeviceId, opened_at: int) -> str:
    """Return a UUIDv7 that is the same each time it is worked out."""
    name = f"{node_id} {device_id} {opened_at}".encode()
    return uuid7(opened_at * 1_000, hashlib.sha256(name).digest()[:10])
