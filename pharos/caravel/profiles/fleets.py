"""The fleets that one device is in: one of them is the default, and a second never replaces the first."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from pharos.caravel.errors import AlreadyEnrolledError, CaravelError, NoSuchFleetError, NotEnrolledError
from pharos.caravel.profiles.layout import (
    FLEETS,
    OF_A_FLEET,
    Chosen,
    chosen_file,
    clear_remains,
    make_directory,
    move_apart,
    present,
    split,
)
from pharos.caravel.profiles.store import Member, ProfileStore
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.caravel.profiles.vault import Vault
from pharos.wire.files import StateFile, sync_directory
from pharos.wire.ids import FleetId
from pharos.wire.world import this_world

MAX_NAME: Final = 64


@attrs.frozen(kw_only=True)
class Fleet:
    """A fleet that this device is in, or is joining."""

    id: FleetId
    member: Member
    path: Path
    """The directory of its files."""
    default: bool
    name: str = ""
    """What it is called here."""

    @property
    def joined(self) -> bool:
        """Whether the enrolment came to its end."""
        return bool(self.member.device)


class Fleets:
    """All fleets of a device's directory, or of the directory of any of them. Needs no key, but to join or to seal.

    Raises: StateFileError — the directory is open to others.
    """

    def __init__(self, path: Path, unlocking: Unlocking | None = None) -> None:
        root, self._within = split(path)
        self.vault = Vault(root, unlocking)
        self.root = self.vault.root
        self._names = StateFile(self.root / "names.json", "pharos/device-fleet-names/v1", "remove it")

    def list(self) -> list[Fleet]:
        """Return them, sorted by id.

        Raises: StateFileError — a file is damaged; it was left as it is.
        """
        chosen, names = Chosen.load(self.root), self._load_names()
        if chosen is None:
            member = ProfileStore(self.root, unlocking=self.vault.unlocking).member
            if member is None:
                return []
            name = names.get(member.fleet, "")
            return [Fleet(id=member.fleet, member=member, path=self.root, default=True, name=name)]
        found = []
        for id_ in present(self.root):
            path = self.root / FLEETS / id_
            member = ProfileStore(path, unlocking=self.vault.unlocking).member
            if member is not None:
                default = id_ == chosen.default
                found.append(Fleet(id=FleetId(id_), member=member, path=path, default=default, name=names.get(id_, "")))
        return found

    def default(self) -> Fleet:
        """Return the one that is meant where none is named.

        Raises: NotEnrolledError — there is none, or none of several was chosen.
        """
        found = self.list()
        for fleet in found:
            if fleet.default:
                return fleet
        if found:
            raise NotEnrolledError("none of this device's fleets is the default; run: caravel fleets --default FLEET")
        raise NotEnrolledError(f"this device is in no fleet yet ({self.root}); run: caravel enroll LINK")

    def find(self, wanted: str | None = None) -> Fleet:
        """Return the fleet of that name, or whose id begins so; None is the one that was opened, or the default.

        Raises: NoSuchFleetError — there is none, or there are several. NotEnrolledError.
        """
        if wanted is None and not self._within:
            return self.default()
        wanted = wanted or self._within
        found = self.list()
        named = [fleet for fleet in found if fleet.name == wanted]
        alike = named or [fleet for fleet in found if wanted and fleet.id.startswith(wanted)]
        if len(alike) == 1:
            return alike[0]
        known = ", ".join(f"{fleet.name} ({fleet.id})" if fleet.name else fleet.id for fleet in found) or "none"
        if alike:
            raise NoSuchFleetError(f"several fleets begin with {wanted!r}; say more of one of them: {known}")
        raise NoSuchFleetError(f"this device is in no fleet {wanted!r}; it is in: {known}")

    def open(self, wanted: str | None = None) -> ProfileStore:
        """Return the store of a fleet. Raises: as `find`."""
        return ProfileStore(self.find(wanted).path, unlocking=self.vault.unlocking)

    def store_for(self, fleet: FleetId) -> ProfileStore:
        """Return where to join a fleet: beside those that are there, which stay as they are.

        An enrolment in that fleet that was begun goes on with the same keys.

        Raises: AlreadyEnrolledError — this device is in that fleet. StateFileError.
        """
        with self.vault.writing():
            clear_remains(self.root)
            chosen, found = Chosen.load(self.root), self.list()
            if any(one.id == fleet and one.joined for one in found):
                raise AlreadyEnrolledError(f"this device is in fleet {fleet} already; see: caravel fleets")
            if chosen is None:
                if not found or found[0].id in (fleet, ""):
                    return ProfileStore(self.root, unlocking=self.vault.unlocking)
                move_apart(self.root, found[0].id)
            made = make_directory(self.root, fleet)
            sync_directory(self.root / FLEETS)
        return ProfileStore(made, unlocking=self.vault.unlocking)

    def set_default(self, wanted: str) -> Fleet:
        """Let a fleet be the one that is meant where none is named; return it. Raises: NoSuchFleetError."""
        with self.vault.writing():
            fleet, chosen = self.find(wanted), Chosen.load(self.root)
            if chosen is not None:
                attrs.evolve(chosen, default=fleet.id).save(self.root)
        return attrs.evolve(fleet, default=True)

    def set_name(self, wanted: str, name: str) -> Fleet:
        """Call a fleet something; an empty text takes the name away.

        Raises: NoSuchFleetError. CaravelError — the name is none, or another fleet's.
        """
        if len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
            raise CaravelError(f"a fleet's name has at most {MAX_NAME} printable characters")
        with self.vault.writing():
            fleet, names = self.find(wanted), self._load_names()
            if any(other.id != fleet.id and name and name in (other.name, other.id) for other in self.list()):
                raise CaravelError(f"another fleet is called {name!r}; choose another name")
            self._names.save({"names": {**names, fleet.id: name}})
        return attrs.evolve(fleet, name=name)

    def forget(self, wanted: str) -> Fleet | None:
        """Remove all that this device keeps of a fleet, its keys above all; return what is the default then.

        To helm this device stays what it was: revoke it there. Nothing brings the keys back.

        Raises: NoSuchFleetError, NotEnrolledError.
        """
        with self.vault.writing():
            clear_remains(self.root)
            fleet, chosen = self.find(wanted), Chosen.load(self.root)
            if chosen is None:
                for name in OF_A_FLEET:
                    this_world().unlink(self.root / name, missing_ok=True)
                sync_directory(self.root)
            else:
                self._forget_directory(fleet, chosen)
            names = self._load_names()
            if names.pop(fleet.id, None) is not None:
                self._names.save({"names": names})
            left = self.list()
        return next((one for one in left if one.default), None)

    def _forget_directory(self, fleet: Fleet, chosen: Chosen) -> None:
        # In one step: half of a fleet is never found.
        gone = fleet.path.with_name(f".gone-{fleet.id}")
        this_world().replace(fleet.path, gone)
        sync_directory(gone.parent)
        left = [one for one in self.list() if one.joined] or self.list()
        if not left:
            this_world().remove_tree(gone)
            this_world().unlink(chosen_file(self.root).path, missing_ok=True)
            sync_directory(self.root)
            return
        if chosen.default == fleet.id:
            attrs.evolve(chosen, default=left[0].id).save(self.root)
        this_world().remove_tree(gone)

    def _load_names(self) -> dict[str, str]:
        body = self._names.load()
        return {} if body is None else {str(id_): str(name) for id_, name in dict(body.get("names", {})).items()}
