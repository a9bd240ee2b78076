"""Where in a device's directory a fleet's files are: in the directory itself while there is one fleet, else in its own.

    one fleet    DIR/device.json, DIR/bundle.json, …
    several      DIR/fleets/<fleet>/device.json, …; DIR/fleets.json names the default

What belongs to no fleet (the vault, links) stays in DIR. The write of fleets.json is the moment at which the second
form holds: what lay in DIR before it is a copy from then on, and of no account.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, Self

import attrs

from pharos.wire.errors import StateFileError
from pharos.wire.files import PRIVATE_DIRECTORY, StateFile, sync_directory, write_atomic
from pharos.wire.ids import FLEET_ID_LENGTH, FleetId
from pharos.wire.world import this_world

FLEETS: Final = "fleets"
MAX_FLEETS: Final = 100
"""Nobody is in as many; a directory that has more is not ours."""
OF_A_FLEET: Final = (
    "device.json",
    "bundle.json",
    "pins.json",
    "denied.json",
    "heard.json",
    "given.json",
    "desk.json",
    "networks.json",
)
"""device.json first: without it there is no fleet, whatever else is left of it."""
_ID: Final = re.compile(f"[0-9a-f]{{{FLEET_ID_LENGTH}}}")


@attrs.frozen(kw_only=True)
class Chosen:
    """What fleets.json says."""

    default: str = ""
    """Empty: none."""
    moved: str = ""
    """Whose files lay in DIR itself before there were several; empty: nobody's."""

    @classmethod
    def load(cls, root: Path) -> Self | None:
        """Return it; None where the directory has the form of one fleet.

        Raises: StateFileError — it is damaged.
        """
        file = chosen_file(root)
        body = file.load()
        if body is None:
            # One that was lost is not missed, but for which was the default.
            found = () if (root / OF_A_FLEET[0]).exists() else present(root)
            return cls(default=found[0]) if found else None
        chosen = cls(default=str(body.get("default", "")), moved=str(body.get("moved", "")))
        if any(id_ and not is_fleet_id(id_) for id_ in (chosen.default, chosen.moved)):
            raise StateFileError(f"{file.path} is damaged and was left as it is; {file.remedy}")
        return chosen

    def save(self, root: Path) -> None:
        """Replace it; durable when this returns."""
        body: dict[str, Any] = attrs.asdict(self)
        chosen_file(root).save(body)


def chosen_file(root: Path) -> StateFile:
    """Return the file whose being there says that there are several."""
    return StateFile(root / "fleets.json", "pharos/device-fleets/v1", "restore it from a copy")


def is_fleet_id(text: str) -> bool:
    """Tell whether something may be a fleet's id, and so a directory's name."""
    return _ID.fullmatch(text) is not None


def split(path: Path) -> tuple[Path, str]:
    """Return the device's directory, and the fleet if ``path`` is a fleet's own within it; else an empty text."""
    root = path.parent.parent
    if path.parent.name == FLEETS and is_fleet_id(path.name) and Chosen.load(root) is not None:
        return root, path.name
    return path, ""


def directory_of(root: Path, fleet: str) -> Path:
    """Return where the files of a fleet are, or would be; an empty text is the default.

    Raises: StateFileError — fleets.json is damaged.
    """
    chosen = Chosen.load(root)
    if chosen is None:
        return root
    fleet = fleet or chosen.default
    # With no default there is nothing to be found, and a directory in which nothing is says so.
    return root / FLEETS / fleet if fleet else root / FLEETS


def present(root: Path) -> list[str]:
    """Return the fleets that have a directory of their own, sorted."""
    folder = root / FLEETS
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if is_fleet_id(path.name))
    return [name for name in names if (folder / name / OF_A_FLEET[0]).exists()][:MAX_FLEETS]


def make_directory(root: Path, fleet: FleetId) -> Path:
    """Make and return the directory of a fleet, private."""
    made = root / FLEETS / fleet
    made.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    (root / FLEETS).chmod(PRIVATE_DIRECTORY)
    made.chmod(PRIVATE_DIRECTORY)
    own(root, root / FLEETS, made)
    return made


def move_apart(root: Path, fleet: FleetId) -> None:
    """Give the fleet whose files lie in the directory itself one of its own. Only in the caller's turn to write.

    Killed at any moment, it leaves the one form or the other, and in either every file whole.
    """
    folder = root / FLEETS
    if (folder / fleet).exists():
        # Of an attempt that was cut short: it does not count without fleets.json.
        this_world().remove_tree(folder / fleet)
    made = make_directory(root, fleet)
    for name in OF_A_FLEET:
        if (root / name).exists():
            write_atomic(made / name, (root / name).read_bytes())
    sync_directory(folder)
    sync_directory(root)
    Chosen(default=fleet, moved=fleet).save(root)
    clear_remains(root)


def clear_remains(root: Path) -> None:
    """Remove what lies in the directory itself though there are several fleets, and what forgotten ones have left."""
    if not chosen_file(root).path.exists():
        return
    for name in reversed(OF_A_FLEET):
        this_world().unlink(root / name, missing_ok=True)
    for gone in (root / FLEETS).glob(".gone-*"):
        this_world().remove_tree(gone)


def own(root: Path, *paths: Path) -> None:
    """Give directories that root has made to whom the device's directory belongs."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = root.stat()
        for path in paths:
            # By name, and a link in its place is not followed.
            os.lchown(path, owner.st_uid, owner.st_gid)
