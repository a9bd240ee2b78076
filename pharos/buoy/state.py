"""What a buoy remembers: the last good push, whole or not at all, so that it comes up from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import Desired, Fence, Peer, Policy, PreviousEndpoint, Push
from pharos.wire.errors import StateFileError, WireError
from pharos.wire.files import StateFile
from pharos.wire.reality.params import RealityParameters


class DesiredState:
    """The persisted `Desired`; replaced atomically, the fence never goes down."""

    def __init__(self, state: Path) -> None:
        self._file = StateFile(
            state / "desired.json",
            "pharos/buoy-desired/v1",
            "move it away to start without peers: helm sends them again as soon as it is connected",
        )
        self.current = Desired()

    def load(self) -> Desired:
        """Read the file; without one there is nothing desired yet.

        Raises: StateFileError — it is damaged; the buoy must not start.
        """
        body = self._file.load()
        if body is not None:
            try:
                self.current = _desired_from(body)
            except (KeyError, TypeError, ValueError, WireError) as error:
                raise StateFileError(
                    f"{self._file.path} is corrupt ({error!r}) and was left as it is; {self._file.remedy}"
                ) from error
        return self.current

    async def replace(self, desired: Desired) -> None:
        """Persist ``desired``, then make it current; not cancellable between the two."""
        await trio.to_thread.run_sync(self._file.save, _desired_to(desired))
        self.current = desired


def _desired_to(desired: Desired) -> dict[str, Any]:
    fence = desired.fence
    return {
        "fence": [fence.epoch, fence.term, fence.revision],
        "awg": None if desired.awg is None else desired.awg.as_mapping(),
        "reality": None if desired.reality is None else desired.reality.as_mapping(),
        "addresses": list(desired.addresses),
        "peers": [peer.as_json() for _, peer in sorted(desired.peers.items())],
        "policy": desired.policy.as_json(),
        "previous": [endpoint.as_json() for endpoint in desired.previous],
    }


def _desired_from(body: dict[str, Any]) -> Desired:
    epoch, term, revision = body["fence"]
    if not all(isinstance(number, int) and number >= 0 for number in (epoch, term, revision)):
        raise ValueError(f"{body['fence']} is not a fence")
    # As a push, so that a file can say nothing that helm could not.
    push = Push(
        fence=Fence(epoch, term, revision),
        snapshot=True,
        upsert=tuple(Peer.from_json(entry) for entry in body["peers"]),
        awg=None if body["awg"] is None else ObfuscationParameters.from_mapping(dict(body["awg"])),
        addresses=tuple(body["addresses"]),
        # Files of earlier versions have none of these.
        reality=None if body.get("reality") is None else RealityParameters.from_mapping(dict(body["reality"])),
        policy=Policy.from_json(body["policy"]) if "policy" in body else None,
        previous=tuple(PreviousEndpoint.from_json(entry) for entry in body.get("previous", ())),
    )
    return Desired().after(push)
