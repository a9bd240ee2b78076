"""What an organisation decides for a device: /etc/pharos/managed.toml, which root wrote, and managed.d/ beside it.

A device with such a file is managed: login, import and the admin section are hidden and refused unless it allows them.
`pharos.caravel.managedfile` reads it.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

import attrs

from pharos.caravel.errors import ManagedError
from pharos.caravel.profiles.pins import WAIT
from pharos.wire.errors import LinkFormatError
from pharos.wire.seal.ticket import FleetLink

MAX_ORGANISATION: Final = 64


class Posture(enum.Enum):
    """Whose device this is."""

    PERSONAL = "personal"
    MANAGED = "managed"


class NewNodes(enum.Enum):
    """What becomes of a node that this device has never seen (security.md §2d)."""

    WAIT = "wait"
    """It waits a day, as on a personal device, and nobody is asked."""
    REFUSE = "refuse"
    """It is never used before the fleet lock has signed it, or the file says otherwise."""
    ACCEPT = "accept"
    """It is used at once."""


class Floor(enum.Enum):
    """Below which protocol a connection never falls."""

    ANY = "any"
    REALITY = "reality"
    AMNEZIAWG = "amneziawg"


class Level(enum.Enum):
    """What is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SplitMode(enum.Enum):
    """What the rest of [split] names."""

    OFF = "off"
    EXCLUDE = "exclude"
    """These go outside the tunnel."""
    INCLUDE = "include"
    """These alone go through it."""


@attrs.frozen(kw_only=True)
class ManagedEnrolment:
    """[enrolment]: how the device joins its fleet, once, by: caravel managed enroll."""

    ticket_file: Path | None = None
    """Its first line is a ticket's link. It is removed when it is used up."""
    fleet_link: str = ""
    """`pharosvpn://fleet?…`, for the account of whoever uses the device."""

    def __attrs_post_init__(self) -> None:
        if self.ticket_file is not None and self.fleet_link:
            raise ValueError("ticket_file and fleet_link exclude each other")
        if self.ticket_file is not None and not self.ticket_file.is_absolute():
            raise ValueError(f"ticket_file = {str(self.ticket_file)!r} is not an absolute path")
        if self.fleet_link:
            try:
                FleetLink.parse(self.fleet_link)
            except LinkFormatError as error:
                raise ValueError(f"fleet_link: {error}") from None


@attrs.frozen(kw_only=True)
class ManagedSplit:
    """[split]: as `pharos.caravel.system.split` takes it, which checks the values."""

    mode: SplitMode = SplitMode.OFF
    routes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()


def _check_organisation(_instance: object, _attribute: object, value: str) -> None:
    if not (0 < len(value) <= MAX_ORGANISATION and value.isprintable() and value == value.strip()):
        raise ValueError(f"organisation has 1 to {MAX_ORGANISATION} printable characters")


def _check_sources(_instance: object, _attribute: object, value: tuple[str, ...]) -> None:
    for one in value:
        if one not in SOURCES:
            raise ValueError(f"sources names {one!r}; known are {', '.join(sorted(SOURCES))}")


SOURCES: Final = frozenset({"ticket", "login", "device", "links", "conf", "collection"})
"""Values of `pharos.caravel.sources.base.SourceKind`."""


@attrs.frozen(kw_only=True)
class Managed:
    """The file, read once. Every key of it has the name of a field here."""

    organisation: str = attrs.field(validator=_check_organisation)
    """As people know it; every refusal names it."""
    sources: tuple[str, ...] = attrs.field(default=(), validator=_check_sources)
    """What its user may take besides what [enrolment] says."""
    lock_profiles: bool = True
    """Nothing is forgotten, exported or confirmed by its user."""
    admin: bool = False
    """Whether the admin section is there."""
    always_on: bool = False
    """The connection is up whenever the machine is, and its user does not end it."""
    kill_switch: bool | None = None
    """None: its user decides."""
    allow_lan: bool | None = None
    """None: its user decides."""
    floor: Floor | None = None
    """None: its user decides."""
    new_nodes: NewNodes = NewNodes.WAIT
    default_fleet: str = ""
    """Id of a fleet or the beginning of one; used where nobody names another."""
    log: Level = Level.WARNING
    enrolment: ManagedEnrolment = attrs.Factory(ManagedEnrolment)
    split: ManagedSplit | None = None
    """None: its user decides."""

    @property
    def new_node_wait(self) -> int | None:
        """How long a node is new, in microseconds, as `pharos.caravel.profiles.pins.Pins.standing` takes it."""
        return {NewNodes.WAIT: WAIT, NewNodes.ACCEPT: 0, NewNodes.REFUSE: None}[self.new_nodes]

    def allows(self, kind: str) -> bool:
        """Whether its user may take such a source."""
        return kind in self.sources

    def check_source(self, kind: str) -> None:
        """Raises: ManagedError — its user may not take such a source."""
        if not self.allows(kind):
            raise ManagedError(self.organisation, f"take a source of the kind {kind!r}")

    def check_unlocked(self, what: str) -> None:
        """Let its user do something to profiles, ``what`` says which. Raises: ManagedError — they are locked."""
        if self.lock_profiles:
            raise ManagedError(self.organisation, what)

    def check_admin(self) -> None:
        """Raises: ManagedError — there is no admin section here."""
        if not self.admin:
            raise ManagedError(self.organisation, "administer the fleet from here")

    def check_down(self) -> None:
        """Raises: ManagedError — the connection is not its user's to end."""
        if self.always_on:
            raise ManagedError(self.organisation, "end the connection")


def posture_of(managed: Managed | None) -> Posture:
    """Return whose device this is."""
    return Posture.PERSONAL if managed is None else Posture.MANAGED
