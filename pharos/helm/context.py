"""What a running helm hands to its edges."""

from __future__ import annotations

import attrs

from pharos.helm.accounts.hashing import Hashing
from pharos.helm.accounts.oidc.provider import Providers
from pharos.helm.accounts.waiting import WaitingLogins
from pharos.helm.anomalies.tries import Tries
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import Vault
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.helm.live.pulse import Pulse
from pharos.helm.onboard.join.runner import Onboardings
from pharos.helm.onboard.upgrade.runs import Upgrades
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
    beacon_warning: str = ""
    """What there is to say of where the beacon aboard listens."""
    ingest: Ingest = attrs.field(factory=Ingest)
    hashing: Hashing = attrs.field(factory=Hashing)
    logins: WaitingLogins = attrs.field(factory=WaitingLogins)
    tries: Tries = attrs.field(factory=Tries)
    oidc: Providers = attrs.field(factory=Providers)
    onboardings: Onboardings = attrs.field(factory=Onboardings)
    upgrades: Upgrades = attrs.field(factory=Upgrades)
    pulse: Pulse = attrs.field(init=False)

    @pulse.default
    def _open_pulse(self) -> Pulse:
        return Pulse(self.store, self.board, self.hub)

    @property
    def authority(self) -> Authority:
        """The one in use now."""
        return self.authorities.current
