"""What a running helm hands to its edges."""

from __future__ import annotations

import attrs

from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import Vault
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.helm.store.database import Store
from pharos.helm.telemetry.ingest import Ingest


@attrs.frozen(kw_only=True)
class HelmContext:
    """The parts that every edge needs."""

    store: Store
    authorities: LiveAuthority
    vault: Vault
    board: Board
    hub: Hub
    started_at: int
    """Microseconds since 1970."""
    ingest: Ingest = attrs.field(factory=Ingest)

    @property
    def authority(self) -> Authority:
        """The one in use now."""
        return self.authorities.current
