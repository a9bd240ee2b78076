"""Parameters of a node that were replaced, and are still served to devices that have not heard of it."""

from __future__ import annotations

import enum

import attrs

from pharos.helm.model.users import Protocol
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.reality.params import RealityParameters


class ReissueState(enum.Enum):
    """Whether the node still serves what was replaced."""

    SERVED = "served"
    DONE = "done"
    """Every device had acknowledged the new ones, or the time was up."""


@attrs.frozen(kw_only=True)
class Reissue:
    """A re-issue's record."""

    id: str
    node_id: str
    port: int
    """Where the old parameters are served, one of the node's spare ports: UDP, and TCP of the same number."""
    parameters: ObfuscationParameters | None = None
    """The old ones of AmneziaWG; None: they were not replaced."""
    reality: RealityParameters | None = None
    """The old ones of REALITY; None: they were not replaced."""
    revision: int = 0
    """Of the fleet: a profile made by it, or a later one, has all the new ones in it. 0: of an earlier version."""
    until_at: int
    """Microseconds since 1970: then they end, whoever still uses them."""
    state: ReissueState = ReissueState.SERVED
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""

    @property
    def replaced(self) -> frozenset[Protocol]:
        """The protocols whose parameters were."""
        old = {Protocol.AMNEZIAWG: self.parameters, Protocol.REALITY: self.reality}
        return frozenset(protocol for protocol, parameters in old.items() if parameters is not None)
