"""Whom every node shall believe, as of now: the trust manifest of the authority in use, and the deny list."""

from __future__ import annotations

import attrs

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.fleet.reconcile import DesiredTrust
from pharos.helm.store.database import Store
from pharos.helm.trust.denylist import current_deny_list


@attrs.frozen
class TrustSource:
    """Answers from the record; what is signed is signed once a version."""

    _store: Store
    _authorities: LiveAuthority

    async def current(self) -> DesiredTrust:
        """Return what holds now."""
        denied = await current_deny_list(self._store, self._authorities)
        authority = self._authorities.current
        return DesiredTrust(
            manifest_version=authority.manifest_version,
            manifest=authority.manifest,
            deny_order=denied.order,
            deny_list=denied.blob,
        )
