"""A node that derives its REALITY keys and says so to a record, with or without a word of truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from pharos.helm.ca.authority import Authority
from pharos.helm.fleet.realitykeys import FALSE_KEY, note_reality, reality_news
from pharos.helm.model.nodes import Node
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.database import Database
from pharos.wire.agent import AgentRequest
from pharos.wire.ids import FleetId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.reports import RealityKey, RealityReport
from pharos.wire.seal.realitykey import derive_reality_key, prove_reality_key
from tests.support.helm import adopt_sample_node, fleet_in_memory, sample_act


@attrs.frozen
class Machine:
    """A node with its private keys."""

    db: Database
    node: Node
    derive: KeyPair
    authority: Authority

    @property
    def fleet(self) -> FleetId:
        return self.authority.trust.fleet

    def key(self, generation: int = 1, *, pair: KeyPair | None = None, by: KeyPair | None = None) -> RealityKey:
        """Its key of a generation, or ``pair`` instead, with a proof by itself or by somebody else."""
        signer = by or self.derive
        made = pair or derive_reality_key(self.derive, fleet=self.fleet, node=self.node.id, generation=generation)
        proof = prove_reality_key(
            signer,
            fleet=self.fleet,
            node=self.node.id,
            generation=generation,
            public_key=made.public,
            random=os.urandom(64),
        )
        return RealityKey(generation=generation, public_key=made.public, proof=proof)

    def says(self, *keys: RealityKey, port: int = 0) -> bool:
        """Let helm hear it; return whether anything was new."""
        report = RealityReport(parameters=self.node.reality, keys=keys, port=port)
        is_news = reality_news(self.db, self.fleet, self.node.id, report).is_news
        note_reality(self.db, sample_act(), self.node.id, report)
        return is_news

    @property
    def alert(self) -> str:
        alert = standing_alert(self.db, FALSE_KEY, self.node.id)
        return "" if alert is None else alert.text


@contextmanager
def machine() -> Iterator[Machine]:
    with fleet_in_memory() as (db, authority):
        derive = KeyPair.generate()
        request = AgentRequest(
            role=Role.NODE, csr=make_csr(generate_key()), awg_key=KeyPair.generate().public, derive_key=derive.public
        )
        node, _ = adopt_sample_node(db, authority, request=request)
        yield Machine(db, node, derive, authority)
