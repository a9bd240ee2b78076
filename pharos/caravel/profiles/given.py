"""Whether a fleet has given this device to an admin, as helm said at the last sync: then there is an admin section.

It decides on what is shown, and on nothing else: helm's desk lets in whom helm knows.
"""

from __future__ import annotations

from pathlib import Path

from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile


def is_given(fleet: Path) -> bool:
    """Whether the device in a fleet's directory is an admin's; a damaged file says that it is not."""
    try:
        body = _file(fleet).load()
    except StateFileError:
        return False
    return body is not None and body.get("desk") is True


def note_given(fleet: Path, *, desk: bool) -> None:
    """Keep what helm has just said."""
    if is_given(fleet) is not desk:
        _file(fleet).save({"desk": desk})


def _file(fleet: Path) -> StateFile:
    return StateFile(fleet / "given.json", "pharos/device-given/v1", "remove it and sync again")
