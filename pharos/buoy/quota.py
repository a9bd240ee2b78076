"""How much of its quota each peer has used here, counted from the engine's counters and kept over a restart.

A lease of another id counts from nothing, from the moment that it is first seen. What was counted since the last write
is lost when we are killed: ten seconds of it at most, to the user's favour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.buoy.dataplane.base import PeerCounters
from pharos.wire.desired import Peer
from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile
from pharos.wire.ids import DeviceId
from pharos.wire.units import SECONDS

# 10,000 peers take 400 kB, and a write each 10 s wears out no SSD.
KEPT_EVERY: Final = 10 * SECONDS


@attrs.frozen
class Usage:
    """What one lease has used."""

    lease: int
    octets: int


class QuotaMeter:
    """Counts what peers with a quota use; written to ``usage.json`` by its owner, who minds the pace."""

    def __init__(self, state: Path) -> None:
        """Read what is kept.

        Raises: StateFileError — the file is damaged.
        """
        self._file = StateFile(
            state / "usage.json",
            "pharos/buoy-usage/v1",
            "move it away: quotas that are in use then count anew on this node",
        )
        self._usages = self._load()
        self._totals: dict[DeviceId, int] = {}
        """What the engine's counters said last; a peer that leaves the engine begins anew there."""
        self.changed = False
        """Whether more is known than is on disk."""

    @property
    def is_used(self) -> bool:
        """Whether a peer had a quota when they were read last, or when this was kept."""
        return bool(self._usages)

    def used(self, device_id: DeviceId) -> int:
        """Return the octets of the peer's present lease."""
        usage = self._usages.get(device_id)
        return 0 if usage is None else usage.octets

    def is_over(self, peer: Peer) -> bool:
        """Whether the peer has used up its lease."""
        return peer.quota is not None and self.used(peer.device_id) >= peer.quota.octets

    def read(self, peers: Mapping[DeviceId, Peer], counters: Iterable[PeerCounters]) -> None:
        """Count what has come and gone since the last reading, for the leases in ``peers``."""
        totals = {counter.device_id: counter.received + counter.sent for counter in counters}
        usages: dict[DeviceId, Usage] = {}
        for device_id, peer in peers.items():
            if peer.quota is None:
                continue
            total, before = totals.get(device_id, 0), self._totals.get(device_id, 0)
            usage = self._usages.get(device_id)
            if usage is None or usage.lease != peer.quota.id:
                usages[device_id] = Usage(peer.quota.id, 0)
            else:
                # Less than before is an engine that counts this peer from nothing again.
                usages[device_id] = Usage(usage.lease, usage.octets + total - (before if total >= before else 0))
        self.changed = self.changed or usages != self._usages
        self._usages, self._totals = usages, totals

    def save(self) -> None:
        """Write it down; blocks on the disk, and may run beside ``read``.

        Raises: OSError
        """
        usages = self._usages
        self._file.save({"used": {device_id: [usage.lease, usage.octets] for device_id, usage in usages.items()}})
        self.changed = self._usages != usages

    def _load(self) -> dict[DeviceId, Usage]:
        body = self._file.load()
        if body is None:
            return {}
        try:
            return {DeviceId(device_id): _usage(entry) for device_id, entry in body["used"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateFileError(
                f"{self._file.path} is corrupt ({error!r}) and was left as it is; {self._file.remedy}"
            ) from error


def _usage(entry: Any) -> Usage:
    lease, octets = entry
    if not isinstance(lease, int) or not isinstance(octets, int) or octets < 0:
        raise ValueError(f"{entry!r} is no usage")
    return Usage(lease, octets)
