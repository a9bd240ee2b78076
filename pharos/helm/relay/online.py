"""Which devices hold a passage now: one each, the newest, which can be told news or be cut; an admin's some beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pharos.wire.ids import DeviceId
from pharos.wire.passage.accepted import AcceptedPassage
from pharos.wire.passage.notes import Note

MOST_BESIDE: Final = 4
"""Of one device: as many passages as a beacon carries in one connection."""


class OnlineDevices:
    """The confirmed passages of devices."""

    def __init__(self) -> None:
        self._passages: dict[DeviceId, AcceptedPassage] = {}
        self._beside: dict[DeviceId, list[AcceptedPassage]] = {}

    def __contains__(self, device_id: DeviceId) -> bool:
        return device_id in self._passages

    def __iter__(self) -> Iterator[DeviceId]:
        return iter(list(self._passages))

    def __len__(self) -> int:
        return len(self._passages)

    @contextmanager
    def joined(self, device_id: DeviceId, passage: AcceptedPassage) -> Iterator[None]:
        """Count a device as here while the block runs, and end the passage that it had before.

        The newest wins, for the older one may be a connection of which the device has forgotten. ``passage`` has been
        confirmed: a replayed first message does not come so far, and takes nobody's place.
        """
        older = self._passages.get(device_id)
        self._passages[device_id] = passage
        if older is not None:
            older.end()
        try:
            yield
        finally:
            if self._passages.get(device_id) is passage:
                del self._passages[device_id]

    @contextmanager
    def beside(self, device_id: DeviceId, passage: AcceptedPassage) -> Iterator[None]:
        """Let a device have one more passage while the block runs, which is told no news; the oldest beyond a few ends.

        For a page that is open and a command beside it, while the device stays in touch as every other.
        """
        others = self._beside.setdefault(device_id, [])
        others.append(passage)
        if len(others) > MOST_BESIDE:
            others.pop(0).end()
        try:
            yield
        finally:
            if passage in others:
                others.remove(passage)
            if not others and self._beside.get(device_id) is others:
                del self._beside[device_id]

    def notify(self, device_id: DeviceId, note: Note) -> bool:
        """Tell a device which bundle is the newest, without waiting for it; return whether it is here to be told."""
        passage = self._passages.get(device_id)
        if passage is None:
            return False
        if passage.notes.newest != note:
            passage.notify(note)
        return True

    def cut(self, device_id: DeviceId) -> None:
        """End the passages of a device that was revoked."""
        passage = self._passages.get(device_id)
        for held in (*([] if passage is None else [passage]), *self._beside.get(device_id, ())):
            held.end()
