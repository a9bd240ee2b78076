"""What a connection may choose from now: a source's ways, above the floor and of the protocol that is wanted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import attrs

from pharos.caravel.errors import NodeRefusedError, NoSuchNodeError
from pharos.caravel.managed import Floor
from pharos.caravel.tunnel.candidates import Choices, Source
from pharos.caravel.tunnel.parts import Candidate
from pharos.caravel.tunnel.select import admits, key_of
from pharos.wire.errors import WireError
from pharos.wire.tcpdial import is_numeric

log = logging.getLogger(__name__)

MAX_HOSTS: Final = 2
"""Whose routes are looked at, and whose port 80 is asked for a portal."""


class Choosing:
    """Reads a source; what it said last stays in use where it fails."""

    def __init__(self, source: Source, *, wanted: str | None, protocol: str | None, floor: Floor | None) -> None:
        self.source = source
        self.wanted = wanted
        """A node's id or name: then no other is used."""
        self.trouble = ""
        """Why there is nothing to choose from, in a sentence."""
        self._protocol = protocol
        self._floor = floor or (Floor.ANY if source.is_named else Floor.AMNEZIAWG)
        self._choices = Choices(known=())

    @property
    def known(self) -> tuple[Candidate, ...]:
        return self._choices.known

    @property
    def newcomers(self) -> tuple[str, ...]:
        """Names of nodes that this device does not know yet."""
        return tuple(dict.fromkeys(one.name for one in self._choices.newcomers))

    def read_first(self, *, asks: bool) -> None:
        """Read for the first time. With ``asks``, somebody is there to say whether nodes that are new may be used.

        Raises: NoSuchNodeError, NodeRefusedError, NotEnrolledError, BundleError.
        """
        choices = self.source.choices(self.wanted)
        self._choices = self._admit(choices)
        if not self._choices.known and not (asks and self._choices.newcomers):
            raise NoSuchNodeError(self._why_none(choices))

    def read(self) -> tuple[int, int] | None:
        """Read anew; return epoch and revision of the profile if it is another one."""
        before = self._choices.order
        try:
            self._choices, self.trouble = self._admit(self.source.choices(self.wanted)), ""
        except NoSuchNodeError as error:
            self._choices, self.trouble = Choices(known=(), order=before), str(error)
        except WireError as error:
            log.warning("what was known of the nodes stays in use: %s", error)
            if isinstance(error, NodeRefusedError):
                self._choices, self.trouble = Choices(known=(), order=before), str(error)
        return None if self._choices.order == before else self._choices.order

    def now(self, before: Candidate) -> Candidate | None:
        """Return a way as it is now; None if it is not there any more."""
        return next((one for one in self.known if key_of(one) == key_of(before)), None)

    def to(self, wanted: str | None) -> tuple[Candidate, ...]:
        """Return the ways to another node. Raises: NoSuchNodeError, NodeRefusedError, BundleError."""
        choices = self.source.choices(wanted)
        candidates = self._admit(choices).known
        if not candidates:
            raise NoSuchNodeError(self._why_none(choices))
        return candidates

    def hosts(self, *, numeric: bool = True) -> tuple[str, ...]:
        """Return where some of the nodes are."""
        places = [one.place[0] for one in self.known]
        return tuple(dict.fromkeys(host for host in places if not numeric or is_numeric(host)))[:MAX_HOSTS]

    def _admit(self, choices: Choices) -> Choices:
        return attrs.evolve(choices, known=self._admitted(choices.known), newcomers=self._admitted(choices.newcomers))

    def _admitted(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        return tuple(one for one in candidates if self._protocol in (None, one.protocol) and admits(self._floor, one))

    def _why_none(self, choices: Choices) -> str:
        if not choices.known and choices.others:
            return f"no node of the profile is known for a day; name one of them yourself: {', '.join(choices.others)}"
        if not choices.known:
            return "the profile has no node that may be used; see: caravel profiles"
        names = ", ".join(dict.fromkeys(one.name for one in choices.known))
        if self._protocol is not None and not any(one.protocol == self._protocol for one in choices.known):
            return f"none of these offers {self._protocol}: {names}"
        return f"below the floor of this device, which is {self._floor.value}: {names}"
