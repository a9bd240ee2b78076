"""The node's REALITY keys: derived from its derive key whenever they are needed, and kept nowhere."""

from __future__ import annotations

import attrs

from pharos.wire.desired import Desired
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.reports import RealityKey
from pharos.wire.seal.realitykey import derive_reality_key, prove_reality_key
from pharos.wire.seal.xeddsa import RANDOM_LENGTH
from pharos.wire.world import random_bytes


@attrs.define
class RealityKeys:
    """Says which keys a node has, in the same words each time: a signature is made once for each generation."""

    _fleet: FleetId
    _node: NodeId
    _derive_key: KeyPair = attrs.field(repr=False)
    _said: dict[int, RealityKey] = attrs.field(factory=dict, init=False)

    def of(self, desired: Desired) -> tuple[RealityKey, ...]:
        """Return the public keys of the parameters in use and of those that are served beside them, newest first."""
        served = (desired.reality, *(endpoint.reality for endpoint in desired.previous))
        generations = {parameters.generation for parameters in served if parameters is not None}
        # What is served no more is forgotten.
        self._said = {generation: self._say(generation) for generation in sorted(generations, reverse=True)}
        return tuple(self._said.values())

    def _say(self, generation: int) -> RealityKey:
        known = self._said.get(generation)
        if known is not None:
            return known
        fleet, node = self._fleet, self._node
        public = derive_reality_key(self._derive_key, fleet=fleet, node=node, generation=generation).public
        proof = prove_reality_key(
            self._derive_key,
            fleet=fleet,
            node=node,
            generation=generation,
            public_key=public,
            random=random_bytes(RANDOM_LENGTH),
        )
        return RealityKey(generation=generation, public_key=public, proof=proof)
