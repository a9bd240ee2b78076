"""The network policy of the fleet, out of its settings."""

from __future__ import annotations

from pharos.helm.store.database import Database
from pharos.helm.store.settings import setting
from pharos.wire.desired import Policy


def read_policy(db: Database) -> Policy:
    """Return what every node of the fleet lets its devices reach."""
    return Policy(
        peer_to_peer=setting(db, "policy.peer_to_peer"),
        internet=setting(db, "policy.internet"),
        closed=tuple(setting(db, "policy.closed")),
        resolvers=tuple(setting(db, "policy.resolvers")),
    )
