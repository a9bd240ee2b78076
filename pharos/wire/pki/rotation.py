"""Rotation in two phases: who has to know the new first, who then uses it, and when the old may go (security.md §2a).

A pure machine over what members acknowledge. helm stores it in the transaction of each change and acts on it only
then, so a kill at any step loses nothing but an acknowledgement, and members acknowledge as often as they are asked.
One rotation may exchange several things at once, in step; a new one begins when this one is done.

    prepared ──▶ distributing ──▶ switching ──▶ dropping ──▶ done
                 who has to       who has to     who had to believe
                 believe the new  use the new    the new, now drops
                 beside the old   uses it        the old
"""

import enum
from collections.abc import Iterable
from typing import Final, Self

import attrs

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.pki.roles import Identity, Role, parse_identity


class Subject(enum.Enum):
    """What is exchanged; the value is its slot in the trust manifest."""

    FLEET_CA = "fleet_ca"
    DEVICE_CA = "device_ca"
    SIGNING_KEY = "signing_key"
    NOISE_KEY = "noise_key"


class State(enum.Enum):
    """How far a rotation has come."""

    PREPARED = "prepared"
    DISTRIBUTING = "distributing"
    SWITCHING = "switching"
    DROPPING = "dropping"
    DONE = "done"


class Input(enum.Enum):
    """What moves it: an act of ours, what a member acknowledges, or that nobody is waited for any more."""

    BEGIN = "begin"
    JOINED = "joined"
    LEFT = "left"
    BELIEVES = "believes both"
    USES = "uses the new"
    DROPPED = "dropped the old"
    COMPLETE = "complete"


class Action(enum.Enum):
    """What the machine does to its own record."""

    AWAIT = "await the members of the next state"
    ENLIST = "enlist the member"
    DISMISS = "dismiss the member"
    RECORD = "record the acknowledgement"
    IGNORE = "ignore"


class Generation(enum.Enum):
    """One of the two that a rotation is about."""

    OLD = "old"
    NEW = "new"


ACKNOWLEDGEMENTS: Final = (Input.BELIEVES, Input.USES, Input.DROPPED)

_Table = dict[tuple[State, Input], tuple[Action, State]]

# Whoever comes is given what the state stands for, and whoever goes is not waited for, at any time.
_ALWAYS: Final[_Table] = {
    (state, given): (action, state)
    for state in State
    for given, action in ((Input.JOINED, Action.ENLIST), (Input.LEFT, Action.DISMISS))
}
# An acknowledgement may come again after the state that asked for it: it was lost, or we were killed before storing it.
TABLE: Final[_Table] = _ALWAYS | {
    (State.PREPARED, Input.BEGIN): (Action.AWAIT, State.DISTRIBUTING),
    (State.DISTRIBUTING, Input.BELIEVES): (Action.RECORD, State.DISTRIBUTING),
    (State.DISTRIBUTING, Input.COMPLETE): (Action.AWAIT, State.SWITCHING),
    (State.SWITCHING, Input.BELIEVES): (Action.IGNORE, State.SWITCHING),
    (State.SWITCHING, Input.USES): (Action.RECORD, State.SWITCHING),
    (State.SWITCHING, Input.COMPLETE): (Action.AWAIT, State.DROPPING),
    (State.DROPPING, Input.BELIEVES): (Action.IGNORE, State.DROPPING),
    (State.DROPPING, Input.USES): (Action.IGNORE, State.DROPPING),
    (State.DROPPING, Input.DROPPED): (Action.RECORD, State.DROPPING),
    (State.DROPPING, Input.COMPLETE): (Action.AWAIT, State.DONE),
    (State.DONE, Input.BELIEVES): (Action.IGNORE, State.DONE),
    (State.DONE, Input.USES): (Action.IGNORE, State.DONE),
    (State.DONE, Input.DROPPED): (Action.IGNORE, State.DONE),
}

# Who has to believe the new before anybody uses it: an admin's certificate lives in a browser, which meets no member
# of the Fleet CA. helm itself is the one that devices dial with its Noise key.
_BELIEVERS: Final = {
    Subject.FLEET_CA: {Role.CONTROLLER, Role.NODE, Role.RELAY, Role.DEVICE},
    Subject.DEVICE_CA: {Role.CONTROLLER, Role.RELAY},
    Subject.SIGNING_KEY: {Role.NODE, Role.RELAY, Role.DEVICE},
    Subject.NOISE_KEY: {Role.CONTROLLER},
}
# Who has to use the new before the old may go: show a certificate of the new authority, keep a bundle or a deny list
# that the new key signed, dial the new Noise key.
_USERS: Final = {
    Subject.FLEET_CA: {Role.CONTROLLER, Role.NODE, Role.RELAY},
    Subject.DEVICE_CA: {Role.DEVICE, Role.ADMIN},
    Subject.SIGNING_KEY: {Role.NODE, Role.RELAY, Role.DEVICE},
    Subject.NOISE_KEY: {Role.DEVICE},
}
_AWAITED: Final = {State.DISTRIBUTING: _BELIEVERS, State.SWITCHING: _USERS, State.DROPPING: _BELIEVERS}


def awaited_roles(subject: Subject, state: State) -> frozenset[Role]:
    """Return whose acknowledgement `state` waits for when `subject` is rotated."""
    return frozenset(_AWAITED.get(state, {}).get(subject, ()))


def render_table() -> str:
    """Return the transitions as text, one a line."""
    rows = sorted(TABLE.items(), key=lambda row: (list(State).index(row[0][0]), list(Input).index(row[0][1])))
    return "\n".join(
        f"{state.value:<12} {given.value:<15} → {action.value:<35} → {after.value}"
        for (state, given), (action, after) in rows
    )


@attrs.frozen(kw_only=True)
class Rotation:
    """One rotation. Each verb returns what it has become, to be stored before anything is done by it.

    Raises: ValueError — somebody is waited for who is no member.
    """

    subjects: frozenset[Subject]
    """What is exchanged."""
    state: State = State.PREPARED
    members: frozenset[Identity]
    """All live members of the fleet, helm itself included. One whose certificate has ended is none: it could not talk
    before, and comes back by a ticket or by `readopt`."""
    waiting: frozenset[Identity] = frozenset()
    """The members whose acknowledgement is outstanding; each of them is asked until it gives it."""

    def __attrs_post_init__(self) -> None:
        if not self.waiting <= self.members:
            raise ValueError("a rotation waits for members only")

    def begin(self) -> Self:
        """Start to distribute.

        Raises: LocalProtocolError — it was started before.
        """
        return self._fed(Input.BEGIN, LocalProtocolError)._settled()

    def acknowledge(self, member: Identity, acknowledgement: Input) -> Self:
        """Take note of what a member says that it has done.

        Raises: RemoteProtocolError — nobody has asked it for that yet, or it is no member.
        """
        if member not in self.members:
            raise RemoteProtocolError(f"{member.uri} takes no part in this rotation")
        after = self._fed(acknowledgement, RemoteProtocolError)
        if TABLE[self.state, acknowledgement][0] is Action.RECORD:
            after = attrs.evolve(after, waiting=after.waiting - {member})
        return after._settled()

    def join(self, member: Identity) -> Self:
        """Count in a member that is being enrolled, with what is believed and issued in this state."""
        return attrs.evolve(self._fed(Input.JOINED, LocalProtocolError), members=self.members | {member})

    def leave(self, member: Identity) -> Self:
        """Wait no longer for a member that was revoked or removed, whose certificate ended, or that is given up."""
        after = self._fed(Input.LEFT, LocalProtocolError)
        return attrs.evolve(after, members=self.members - {member}, waiting=self.waiting - {member})._settled()

    @property
    def asked(self) -> Input | None:
        """What every member that is waited for has to acknowledge."""
        recorded = (given for given in ACKNOWLEDGEMENTS if TABLE.get((self.state, given), (None,))[0] is Action.RECORD)
        return next(recorded, None)

    @property
    def used(self) -> Generation:
        """The generation that helm issues and signs with, and gives out, from now on."""
        return Generation.OLD if self.state in (State.PREPARED, State.DISTRIBUTING) else Generation.NEW

    @property
    def believed(self) -> tuple[Generation, ...]:
        """The generations that a member which has done what it was asked believes."""
        match self.state:
            case State.PREPARED:
                return (Generation.OLD,)
            case State.DISTRIBUTING | State.SWITCHING:
                return (Generation.OLD, Generation.NEW)
            case State.DROPPING | State.DONE:
                return (Generation.NEW,)

    def slot(self, subject: Subject) -> tuple[Generation, Generation | None]:
        """Return current and next of this subject in the trust manifest that goes with the state.

        The three manifests of a rotation are signed when it is prepared, as nobody opens the root a second time.
        Devices dial the Noise key that is current, so their switch is in it; helm answers to what it believes.
        """
        if subject not in self.subjects:
            return Generation.OLD, None
        if self.believed == (Generation.OLD, Generation.NEW) and not (
            subject is Subject.NOISE_KEY and self.state is State.SWITCHING
        ):
            return Generation.OLD, Generation.NEW
        return self.used, None

    def encode(self) -> bytes:
        """Return it as canonical JSON; a store that holds members in rows keeps what is waited for there instead."""
        return encode_canonical(
            {
                "subjects": sorted(subject.value for subject in self.subjects),
                "state": self.state.value,
                "members": sorted(member.uri for member in self.members),
                "waiting": sorted(member.uri for member in self.waiting),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote.

        Raises: ValueError — it is something else.
        """
        content = decode_canonical(data)
        try:
            return cls(
                subjects=frozenset(Subject(value) for value in _texts(content["subjects"])),
                state=State(content["state"]),
                members=frozenset(parse_identity(uri) for uri in _texts(content["members"])),
                waiting=frozenset(parse_identity(uri) for uri in _texts(content["waiting"])),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no rotation: {error!r}") from error

    def _fed(self, given: Input, refusal: type[LocalProtocolError | RemoteProtocolError]) -> Self:
        if (self.state, given) not in TABLE:
            raise refusal(f"{given.value!r} has no place in a rotation that is {self.state.value}")
        action, state = TABLE[self.state, given]
        if action is not Action.AWAIT:
            return self
        roles = {role for subject in self.subjects for role in awaited_roles(subject, state)}
        waiting = frozenset(member for member in self.members if member.role in roles)
        return attrs.evolve(self, state=state, waiting=waiting)

    def _settled(self) -> Self:
        """Go on as long as nobody is waited for."""
        rotation = self
        while not rotation.waiting and (rotation.state, Input.COMPLETE) in TABLE:
            rotation = rotation._fed(Input.COMPLETE, LocalProtocolError)
        return rotation


def _texts(value: object) -> Iterable[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{value!r} is no list of texts")
    return value
