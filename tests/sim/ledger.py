"""What helm has acknowledged: the other side of invariant I1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

ACTIVE: Final = "active"
DISABLED: Final = "disabled"
REVOKED: Final = "revoked"
AFTER: Final[Mapping[str, str]] = {"disable": DISABLED, "enable": ACTIVE, "revoke": REVOKED}
BEFORE: Final[Mapping[str, frozenset[str]]] = {
    "disable": frozenset({ACTIVE}),
    "enable": frozenset({DISABLED}),
    "revoke": frozenset({ACTIVE, DISABLED}),
}

Tags = tuple[str, ...]


def is_open(tags: Tags, tag: str) -> bool:
    """Whether nodes with this tag may be used; without any tags all may."""
    return not tags or tag in tags


@attrs.define
class Ledger:
    """What an operator was told, and what he was not told the end of; devices are known by id."""

    names: dict[str, str] = attrs.field(factory=dict)
    """Of devices that know that they have joined."""
    states: dict[str, str] = attrs.field(factory=dict)
    """Of the devices of the record."""
    tags: Tags = ()
    """Of the nodes that may be used."""
    joining: int = 0
    """Devices that asked to join and got no answer: they are in the record, or not."""
    held: dict[str, set[str]] = attrs.field(factory=dict)
    """Devices that a restored helm found at nodes and does not know: the tags of those nodes."""
    outcast: set[str] = attrs.field(factory=set)
    """Devices that were ever revoked."""
    unread: dict[str, str] = attrs.field(factory=dict)
    """What a restored record says of devices that were revoked since, until helm has heard so from its nodes."""
    doubtful_states: dict[str, set[str]] = attrs.field(factory=dict)
    doubtful_tags: set[Tags] = attrs.field(factory=set)

    @property
    def known(self) -> dict[str, str]:
        """Ids by name, of devices that are in the record and know it."""
        return {name: id_ for id_, name in self.names.items() if id_ in self.states}

    def peers_of(self, tag: str) -> set[str]:
        """Return whom a node with this tag is to serve."""
        active = {id_ for id_, state in self.states.items() if state == ACTIVE and is_open(self.tags, tag)}
        return (active | {id_ for id_, tags in self.held.items() if tag in tags}) - self.outcast

    def join(self, id_: str, name: str) -> None:
        """Note that a device has joined, and knows it."""
        self.names[id_] = name
        self.states.setdefault(id_, ACTIVE)

    def move(self, id_: str, state: str) -> None:
        """Note what became of a device."""
        self.states[id_] = state
        if state == REVOKED:
            self.outcast.add(id_)

    def doubt_state(self, id_: str, possible: str) -> None:
        """Note that a device may have come to this, or not."""
        self.doubtful_states.setdefault(id_, {self.states[id_]}).add(possible)

    def doubt_tags(self, possible: Tags) -> None:
        """Note that the tags may have become these, or not."""
        self.doubtful_tags |= {self.tags, possible}

    def settle(self, states: Mapping[str, str], tags: Tags) -> list[str]:
        """Compare with what is in the record, and return what was acknowledged and is not there."""
        wrong = []
        for id_, state in list(self.states.items()):
            found, possible = states.get(id_, "nothing"), self.doubtful_states.get(id_, {state})
            if found == self.unread.get(id_):
                continue
            if found not in possible:
                wrong.append(f"{id_} is {found}, and {' or '.join(sorted(possible))} was acknowledged")
            else:
                self.move(id_, found)
        for id_ in states.keys() - self.states.keys():
            if self.joining:
                self.states[id_] = states[id_]
                self.joining -= 1
            else:
                wrong.append(f"{id_} is there, and nobody has asked to join")
        if tags in (self.doubtful_tags or {self.tags}):
            self.tags = tags
        else:
            wrong.append(f"the tags are {tags}, and {self.tags} was acknowledged")
        self.doubtful_states.clear()
        self.doubtful_tags.clear()
        return wrong

    def restore(self, copy: Ledger, all_tags: Tags) -> None:
        """Go back to how it was, as a restored helm does: who is served unknown is held, who is revoked stays it."""
        served = {tag: self.peers_of(tag) for tag in all_tags}
        self.held = {id_: set(tags) for id_, tags in copy.held.items()}
        self.states = {id_: REVOKED if id_ in self.outcast else state for id_, state in copy.states.items()}
        self.unread = {id_: copy.states[id_] for id_ in self.outcast & copy.states.keys()}
        self.tags = copy.tags
        self.joining = 0
        for tag, peers in served.items():
            for id_ in peers - self.states.keys():
                self.held.setdefault(id_, set()).add(tag)

    def copy(self) -> Ledger:
        """Return it as it is now."""
        held = {id_: set(tags) for id_, tags in self.held.items()}
        return attrs.evolve(self, names=dict(self.names), states=dict(self.states), held=held)
