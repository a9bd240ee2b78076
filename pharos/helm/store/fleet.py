"""The fleet's own row and the wrapped secrets beside it."""

from __future__ import annotations

import attrs

from pharos.helm.errors import NotInitialisedError
from pharos.helm.model.fleet import Fleet, Posture
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.pools import add_default_pool
from pharos.wire.ids import ControllerId, FleetId

_COLUMNS = (
    "id, posture, epoch, term, revision, pool4, pool6, root, fleet_ca, device_ca, controller, controller_id, manifest,"
    " created_at, next_fleet_ca, next_device_ca, deny_version"
)


def add_fleet(db: Database, fleet: Fleet, act: Act) -> None:
    """Write the one row of a new fleet, and its first address pool."""
    row = attrs.asdict(fleet) | {"posture": fleet.posture.value}
    marks = ", ".join(f":{column.strip()}" for column in _COLUMNS.split(","))
    db.execute(f"INSERT INTO fleet ({_COLUMNS}) VALUES ({marks})", row)  # noqa: S608 -- constant text
    add_default_pool(db, fleet.pool4, fleet.pool6, act)


def has_fleet(db: Database) -> bool:
    """Return whether the store holds a fleet."""
    return db.execute("SELECT 1 FROM fleet").fetchone() is not None


def get_fleet(db: Database) -> Fleet:
    """Return the fleet.

    Raises: NotInitialisedError — the store holds none.
    """
    row = db.execute(f"SELECT {_COLUMNS} FROM fleet").fetchone()  # noqa: S608 -- constant text
    if row is None:
        raise NotInitialisedError("the store holds no fleet; run: helm init --personal")
    values = dict(row)
    return Fleet(
        **values
        | {
            "id": FleetId(values["id"]),
            "posture": Posture(values["posture"]),
            "controller_id": ControllerId(values["controller_id"]),
        }
    )


def next_term(db: Database) -> int:
    """Begin a new term and return it; helm does so once at each start."""
    term: int = db.execute("UPDATE fleet SET term = term + 1 RETURNING term").fetchone()[0]
    return term


def next_revision(db: Database, *, profiles: bool = True) -> int:
    """Count one change that nodes or devices must hear of, in the caller's transaction; return the new revision.

    Without ``profiles`` it is one that alters the profile of no device that had one before.
    """
    if profiles:
        query = "UPDATE fleet SET revision = revision + 1, profiles_revision = revision + 1 RETURNING revision"
    else:
        query = "UPDATE fleet SET revision = revision + 1 RETURNING revision"
    revision: int = db.execute(query).fetchone()[0]
    return revision


def set_node_networks(db: Database, network4: str, network6: str) -> None:
    """Change the networks in which every node has its own address inside the tunnel: those of the first pool."""
    db.execute("UPDATE fleet SET pool4 = ?, pool6 = ?", (network4, network6))


def set_controller(db: Database, certificate: bytes) -> None:
    """Take helm's own next certificate (DER) into use."""
    db.execute("UPDATE fleet SET controller = ?", (certificate,))


def set_manifest(db: Database, manifest: bytes) -> None:
    """Take the next trust manifest into use."""
    db.execute("UPDATE fleet SET manifest = ?", (manifest,))


def set_successors(db: Database, fleet_ca: bytes | None, device_ca: bytes | None) -> None:
    """Keep the intermediates (DER) that are to follow; None for one that has no successor."""
    db.execute("UPDATE fleet SET next_fleet_ca = ?, next_device_ca = ?", (fleet_ca, device_ca))


def promote_successors(db: Database) -> None:
    """Put the intermediates that were to follow into the place of the others."""
    db.execute(
        "UPDATE fleet SET fleet_ca = COALESCE(next_fleet_ca, fleet_ca), device_ca = COALESCE(next_device_ca, device_ca)"
    )
    set_successors(db, None, None)


def put_secret(db: Database, name: str, version: int, wrapped: bytes) -> None:
    """Write one wrapped secret, in the place of any of the same name."""
    db.execute(
        "INSERT INTO secrets (name, version, wrapped) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET version = excluded.version, wrapped = excluded.wrapped",
        (name, version, wrapped),
    )


def remove_secret(db: Database, name: str) -> None:
    """Forget a secret."""
    db.execute("DELETE FROM secrets WHERE name = ?", (name,))


def get_secret(db: Database, name: str) -> tuple[int, bytes]:
    """Return version and wrapped bytes of a secret.

    Raises: NotInitialisedError — there is none of that name.
    """
    row = db.execute("SELECT version, wrapped FROM secrets WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotInitialisedError(f"the store holds no secret {name!r}; restore it from a backup")
    return row["version"], row["wrapped"]
