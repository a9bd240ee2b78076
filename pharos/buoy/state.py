"""What a buoy remembers: the last good push, whole or not at all, so that it comes up from disk.

It is kept twice, and changes to it in a journal beside it, so that one peer of ten thousand costs a line. What was
taken away is in no file any more: a change that removes a peer or a key writes both copies anew.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pharos.buoy.journal import Journal, JournalError
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import Desired, Fence, Peer, Policy, PreviousEndpoint, Push
from pharos.wire.errors import StateFileError, WireError
from pharos.wire.files import StateFile, checksum, write_atomic
from pharos.wire.ids import DeviceId
from pharos.wire.reality.params import RealityParameters
from pharos.wire.units import MIB
from pharos.wire.world import in_thread

log = logging.getLogger(__name__)

MAX_JOURNAL: Final = 1 * MIB
"""Octets: 2,500 changes of one peer, which are read again in a tenth of a second."""
MAX_CHANGED: Final = 500
"""Peers of one change that still go into the journal."""
_FORMAT: Final = "pharos/buoy-desired/v1"
_REMEDY: Final = "move it away to start without peers: helm sends them again as soon as it is connected"
_FAULTS: Final = (KeyError, TypeError, ValueError, WireError)


class DesiredState:
    """The persisted `Desired`; replaced atomically, the fence never goes down."""

    def __init__(self, state: Path) -> None:
        self._file = StateFile(state / "desired.json", _FORMAT, _REMEDY)
        self._copy = StateFile(state / "desired.copy.json", _FORMAT, _REMEDY)
        self._journal = Journal(state / "desired.journal")
        self.folder = state
        self.current = Desired()

    def load(self, *, mend: bool = False) -> Desired:
        """Read what is kept; without a file there is nothing desired yet.

        Of two copies one may be damaged, and of the journal its end: what is whole is taken, and said loudly. Whoever
        owns the directory has it mended; the damaged file is left beside it.

        Raises: StateFileError — there is nothing whole; the buoy must not start.
        """
        damaged = False
        try:
            self.current, whole = _read(self._file, self._journal)
        except StateFileError as error:
            if not self._copy.path.exists():
                raise
            try:
                self.current, whole = _read(self._copy, self._journal)
            except StateFileError:
                raise error from None
            damaged = True
            log.error("%s", error)
            log.error("the copy beside it is taken: fence %s, %d peers", self.current.fence, len(self.current.peers))
        if mend and (damaged or not whole):
            # A disk that takes nothing now keeps what is whole, and is written to with the next push.
            with contextlib.suppress(OSError):
                if damaged:
                    _set_aside(self._file.path)
                self._write(self.current)
        return self.current

    async def replace(self, desired: Desired) -> None:
        """Persist ``desired``, then make it current; not cancellable between the two.

        Raises: OSError — the disk takes nothing; what was before is kept and current.
        """
        await in_thread(self._save, desired)
        self.current = desired

    def _save(self, desired: Desired) -> None:
        change = _change_to(self.current, desired)
        if change is None or not self._journal.is_open or self._journal.size > MAX_JOURNAL:
            self._write(desired)
        else:
            self._journal.append(change)

    def _write(self, desired: Desired) -> None:
        body = desired_to_json(desired)
        self._file.save(body)
        # From here on it is so, whatever happens to the rest, which the next start writes if we cannot.
        try:
            self._journal.begin(checksum(body))
            self._copy.save(body)
        except OSError as error:
            self._journal.close()
            log.warning("the second copy of the state could not be written: %s", error)


def _read(file: StateFile, journal: Journal) -> tuple[Desired, bool]:
    """Return what a copy and the journal say, and whether the journal can be gone on with.

    Raises: StateFileError — the copy is damaged.
    """
    body = file.load()
    if body is None:
        return Desired(), True
    try:
        desired = Desired().after(_push_from(body, snapshot=True))
    except _FAULTS as error:
        raise StateFileError(f"{file.path} is corrupt ({error!r}) and was left as it is; {file.remedy}") from error
    try:
        changes = journal.read(checksum(body))
    except JournalError as error:
        log.error("%s; what stands before it is taken, and helm says the rest again", error)
        changes = error.changes
    for change in changes:
        try:
            desired = desired.after(_push_from(change, snapshot=False))
        except _FAULTS as error:
            log.error("%s is corrupt (%r); what stands before it is taken", journal.path, error)
            return desired, False
    return desired, journal.is_open


def _set_aside(path: Path) -> None:
    """Keep a copy of a damaged file for whoever wants to look at it.

    It stays where it is until it is replaced: to whoever starts without it, nothing is desired.
    """
    with contextlib.suppress(OSError):
        write_atomic(path.with_name(f"{path.name}.corrupt"), path.read_bytes())


def _change_to(old: Desired, new: Desired) -> dict[str, Any] | None:
    """Return what makes ``new`` of ``old`` for the journal; None if that is the whole of it, or less than there was."""
    upsert = [peer for device_id, peer in new.peers.items() if old.peers.get(device_id) is not peer]
    if old.fence == Fence() or len(upsert) > MAX_CHANGED or _takes_away(old.peers, new.peers, upsert):
        return None
    whole = desired_to_json(new, upsert)
    before = desired_to_json(old, [])
    if any(
        whole[key] is None or whole[key] == [] for key in ("awg", "reality", "addresses") if whole[key] != before[key]
    ):
        return None
    return {key: value for key, value in whole.items() if key in {"fence", "peers"} or value != before[key]}


def _takes_away(old: Mapping[DeviceId, Peer], new: Mapping[DeviceId, Peer], upsert: Iterable[Peer]) -> bool:
    """Whether a peer or a key of one is to be in no file any more."""
    if old.keys() - new.keys():
        return True
    changed = [(old[peer.device_id], peer) for peer in upsert if peer.device_id in old]
    return any((one.awg_key, one.derive_key) != (other.awg_key, other.derive_key) for one, other in changed)


def desired_to_json(desired: Desired, peers: list[Peer] | None = None) -> dict[str, Any]:
    """Return the document of a state file, with all peers or those."""
    fence = desired.fence
    every = [peer for _, peer in sorted(desired.peers.items())] if peers is None else peers
    return {
        "fence": [fence.epoch, fence.term, fence.revision],
        "awg": None if desired.awg is None else desired.awg.as_mapping(),
        "reality": None if desired.reality is None else desired.reality.as_mapping(),
        "addresses": list(desired.addresses),
        "peers": [peer.as_json() for peer in every],
        "policy": desired.policy.as_json(),
        "previous": [endpoint.as_json() for endpoint in desired.previous],
    }


def _push_from(body: dict[str, Any], *, snapshot: bool) -> Push:
    """Read a file or a line as a push, so that it can say nothing that helm could not."""
    epoch, term, revision = body["fence"]
    if not all(isinstance(number, int) and number >= 0 for number in (epoch, term, revision)):
        raise ValueError(f"{body['fence']} is not a fence")
    awg, reality = (body["awg"] if snapshot else body.get("awg")), body.get("reality")
    previous = tuple(PreviousEndpoint.from_json(entry) for entry in body.get("previous", ()))
    return Push(
        fence=Fence(epoch, term, revision),
        snapshot=snapshot,
        upsert=tuple(Peer.from_json(entry) for entry in body["peers"]),
        awg=None if awg is None else ObfuscationParameters.from_mapping(dict(awg)),
        addresses=tuple(body["addresses"] if snapshot else body.get("addresses", ())),
        # Files of earlier versions have none of these, and lines only what is new.
        reality=None if reality is None else RealityParameters.from_mapping(dict(reality)),
        policy=Policy.from_json(body["policy"]) if "policy" in body else None,
        previous=previous if snapshot or "previous" in body else None,
    )
