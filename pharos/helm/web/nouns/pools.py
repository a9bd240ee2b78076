"""Address pools, as REST serves them."""

from __future__ import annotations

from typing import Any

import msgspec

from pharos.helm.fleet.pools import add_pool, change_pool, prefer_pool, remove_pool, warnings_of
from pharos.helm.model.admins import Role
from pharos.helm.model.pools import Pool
from pharos.helm.store.pools import POOLS
from pharos.helm.web.bodies import UNSET, Unset, given
from pharos.helm.web.resources import ItemAct, Resource


class PoolBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new pool."""

    name: str
    network4: str
    """Private, in CIDR notation."""
    network6: str | None = None
    """A ULA; without one it is the next free /64 of the fleet's own prefix."""


class PoolChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a pool changes; what is left out stays."""

    name: str | Unset = UNSET
    network4: str | Unset = UNSET
    network6: str | Unset = UNSET


POOL_RESOURCE: Resource[Pool] = Resource(
    noun=POOLS,
    view=lambda _db, pool: POOLS.view(pool) | {"warnings": warnings_of(pool)},
    writes=Role.ADMIN,
    add_body=PoolBody,
    add=lambda db, act, body: add_pool(db, act, given(body)),
    change_body=PoolChange,
    change=lambda db, act, pool_id, version, body: change_pool(db, act, pool_id, version, given(body)),
    remove=remove_pool,
    acts={"prefer": ItemAct[Any](do=prefer_pool, role=Role.ADMIN, says="Let new devices come into this pool first")},
)
