"""Peers that a restored record does not know, as REST serves them."""

from __future__ import annotations

from typing import Any

import msgspec

from pharos.helm.backup.decide import adopt_peer, refuse_peer
from pharos.helm.model.admins import Role
from pharos.helm.model.adoptions import Adoption
from pharos.helm.store.adoptions import ADOPTIONS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.web.bodies import UNSET, Unset, given
from pharos.helm.web.resources import ItemAct, Resource


class AdoptBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the device shall be called."""

    name: str | Unset = UNSET


def _adopt(db: Database, act: Act, adoption_id: str, version: int, body: AdoptBody) -> Adoption:
    return adopt_peer(db, act, adoption_id, version, **given(body))


ADOPTION_RESOURCE: Resource[Adoption] = Resource(
    noun=ADOPTIONS,
    acts={
        "adopt": ItemAct[Any](
            do=_adopt, role=Role.ADMIN, body=AdoptBody, says="Make an unknown peer a device of the record"
        ),
        "refuse": ItemAct[Any](do=refuse_peer, role=Role.ADMIN, says="Take an unknown peer off every node, for ever"),
    },
)
