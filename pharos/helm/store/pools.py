"""The pools table; an address is taken by one conditional UPDATE, so that none is given twice."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.errors import ConflictError
from pharos.helm.model.pools import FIRST_HOST, Pool, last_host_of
from pharos.helm.store.adoptions import is_taken
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import Noun, insert_record

DEFAULT_NAME: Final = "devices"


_TAKE: Final = (
    "UPDATE pools SET next_host = next_host + 1 WHERE id = (SELECT id FROM pools WHERE next_host <= last_host"
    " ORDER BY preferred DESC, created_at, id LIMIT 1)"
)


def _filled(pool: Pool) -> dict[str, Any]:
    return {"taken": pool.next_host - FIRST_HOST, "free": pool.last_host - pool.next_host + 1}


POOLS: Final = Noun(
    kind="pool",
    table="pools",
    columns=("id", "name", "network4", "network6", "next_host", "last_host", "preferred"),
    model=Pool,
    flags=frozenset({"preferred"}),
    hidden=frozenset({"next_host", "last_host"}),
    filters={"name": "name = ?", "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'"},
    enrich=_filled,
)


def add_default_pool(db: Database, network4: str, network6: str, act: Act) -> Pool:
    """Write the pool of a new fleet."""
    pool = Pool(
        id=fresh_id(),
        name=DEFAULT_NAME,
        network4=network4,
        network6=network6,
        last_host=last_host_of(network4),
        preferred=True,
    )
    return insert_record(db, POOLS, pool, act)


def take_addresses(db: Database) -> tuple[str, str]:
    """Return the next free IPv4 and IPv6 address for a device, given once and never again.

    They come from the preferred pool, or from the oldest other one that has any left.

    Raises: ConflictError — every pool is used up.
    """
    while True:
        row = db.execute(f"{_TAKE} RETURNING {POOLS.all_columns}").fetchone()
        if row is None:
            full = ", ".join(f"{pool.name} ({pool.network4})" for pool in list_pools(db))
            raise ConflictError(f"every address is used up in {full}; add another pool: helm pools add")
        pool = POOLS.load(row)
        addresses = pool.addresses(pool.next_host - 1)
        # A record that was restored does not count the devices that came after its backup; their nodes told of them.
        if not is_taken(db, *addresses):
            return addresses


def list_pools(db: Database) -> list[Pool]:
    """Return every pool, in the order in which addresses are taken from them."""
    rows = db.execute(f"SELECT {POOLS.all_columns} FROM pools ORDER BY preferred DESC, created_at, id")  # noqa: S608
    return [POOLS.load(row) for row in rows]
