"""A fleet in the midst of a rotation, small enough to walk every state that it can be in.

helm's record is the true machine; a member is the set of things that it has done. At any moment a member that is on
line may get what it is asked for, its acknowledgement may arrive or be lost, a message of an earlier state may arrive
late, somebody may join or leave, and helm may be killed, after which it has what it stored. Who is off line merely does
nothing, so that every subset of members is off line in some of the walks.
"""

import functools
from collections.abc import Iterator

import attrs

from pharos.wire.ids import FleetId
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.rotation import ACKNOWLEDGEMENTS, Generation, Input, Rotation, State, Subject, awaited_roles

OLD, NEW = Generation.OLD, Generation.NEW
FLEET = FleetId("0123456789abcdef")
STATES = {Input.BELIEVES: State.DISTRIBUTING, Input.USES: State.SWITCHING, Input.DROPPED: State.DROPPING}


def member(role: Role, name: str = "one") -> Identity:
    return Identity(fleet=FLEET, role=role, id=name)


HELM, NODE = member(Role.CONTROLLER), member(Role.NODE)
FOUNDERS = (HELM, NODE, *(member(role) for role in (Role.RELAY, Role.DEVICE, Role.ADMIN)))

Done = frozenset[Input]
"""What a member has done, acknowledged or not."""


@attrs.frozen
class World:
    """All that matters at one moment."""

    rotation: Rotation
    """As helm has stored it."""
    done: tuple[tuple[Identity, Done], ...]
    """By member, in the order of their joining."""


def outset(subjects: frozenset[Subject]) -> World:
    rotation = Rotation(subjects=subjects, members=frozenset(FOUNDERS))
    return World(rotation, tuple((identity, Done()) for identity in FOUNDERS))


# --- who can talk


def believed_by(done: Done) -> set[Generation]:
    if Input.DROPPED in done:
        return {NEW}
    return {OLD, NEW} if Input.BELIEVES in done else {OLD}


def used_by(done: Done) -> Generation:
    return NEW if Input.USES in done else OLD


# Who shows something to whom, by what is exchanged. helm's signatures, and what members keep of them, are below.
MEETINGS = {
    Subject.FLEET_CA: (
        (Role.NODE, Role.CONTROLLER),
        (Role.RELAY, Role.CONTROLLER),
        (Role.CONTROLLER, Role.NODE),
        (Role.CONTROLLER, Role.RELAY),
        (Role.RELAY, Role.DEVICE),
    ),
    Subject.DEVICE_CA: ((Role.DEVICE, Role.RELAY), (Role.ADMIN, Role.CONTROLLER)),
    Subject.SIGNING_KEY: (),
    Subject.NOISE_KEY: ((Role.DEVICE, Role.CONTROLLER),),
}


@functools.cache
def broken_pairs(
    subjects: frozenset[Subject], used_by_helm: Generation, done: tuple[tuple[Identity, Done], ...]
) -> tuple[str, ...]:
    """Name the pairs that cannot talk any more."""

    def shown() -> Iterator[tuple[str, Generation, Done]]:
        for subject in subjects:
            for showing, judging in MEETINGS[subject]:
                for one, steps in done:
                    if one.role is showing:
                        for other, beliefs in done:
                            if other.role is judging:
                                yield f"{subject.value}: {one.uri} to {other.uri}", used_by(steps), beliefs
        if Subject.SIGNING_KEY in subjects:
            for one, steps in done:
                if one.role in awaited_roles(Subject.SIGNING_KEY, State.SWITCHING):
                    yield f"signed for {one.uri}", used_by_helm, steps
                    # What it keeps has to open after a restart.
                    yield f"kept by {one.uri}", used_by(steps), steps

    return tuple(pair for pair, generation, beliefs in shown() if generation not in believed_by(beliefs))


def broken_in(world: World) -> tuple[str, ...]:
    return broken_pairs(world.rotation.subjects, world.rotation.used, world.done)


# --- what can happen


@functools.cache
def stored(rotation: Rotation, presumed: Input | None) -> Rotation:
    """Return what helm has after a kill. Weakened: it takes it that everybody has done what is `presumed`."""
    if presumed is not None and rotation.asked is presumed:
        for identity in rotation.waiting:
            rotation = rotation.acknowledge(identity, presumed)
    return Rotation.decode(rotation.encode())


@functools.cache
def acknowledged(rotation: Rotation, identity: Identity, step: Input) -> Rotation:
    return rotation.acknowledge(identity, step)


def does(done: tuple[tuple[Identity, Done], ...], identity: Identity, step: Input) -> tuple[tuple[Identity, Done], ...]:
    """The member does what it is asked; a step that comes late, after a further one, is of an older version to it."""
    further = set(ACKNOWLEDGEMENTS[ACKNOWLEDGEMENTS.index(step) :])
    return tuple((who, steps | {step} if who == identity and not steps & further else steps) for who, steps in done)


def given_to_newcomers(state: State) -> Done:
    """What an enrolment in this state amounts to having done."""
    return Done(ACKNOWLEDGEMENTS[: min(list(State).index(state), len(ACKNOWLEDGEMENTS))])


@functools.cache
def asked_so_far(rotation: Rotation) -> tuple[tuple[Input, frozenset[Role]], ...]:
    """Return what helm has asked until now, and of whom: any of it may be on its way still."""
    steps = ACKNOWLEDGEMENTS[: min(list(State).index(rotation.state), len(ACKNOWLEDGEMENTS))]
    return tuple(
        (step, frozenset().union(*(awaited_roles(subject, STATES[step]) for subject in rotation.subjects)))
        for step in steps
    )


def successors(world: World, presumed: Input | None, newcomer: Identity | None) -> Iterator[World]:
    """Give every world that one event leads to."""
    rotation, done = world.rotation, world.done
    if rotation.state is State.PREPARED:
        yield World(stored(rotation.begin(), presumed), done)
    for step, roles in asked_so_far(rotation):
        for identity, steps in done:
            if step in steps:
                yield World(stored(acknowledged(rotation, identity, step), presumed), done)
            elif identity.role in roles:
                yield World(rotation, does(done, identity, step))
    present = {identity for identity, _ in done}
    if newcomer is not None and newcomer not in present:
        yield World(stored(rotation.join(newcomer), presumed), (*done, (newcomer, given_to_newcomers(rotation.state))))
    if newcomer is not None and NODE in present:
        yield World(stored(rotation.leave(NODE), presumed), tuple(entry for entry in done if entry[0] != NODE))


@attrs.frozen
class Walks:
    """What the walks through a rotation came to."""

    broken: tuple[str, ...]
    """Pairs that could not talk in the first bad world; none if there is no such world."""
    states: frozenset[State]
    """Seen on the way."""
    stuck: int
    """Worlds from which no walk leads to the end."""


def explore(subjects: frozenset[Subject], *, presumed: Input | None = None, newcomer: Identity | None = None) -> Walks:
    """Walk through every world that can be reached. With a newcomer, a node may leave as well."""
    waiting = [outset(subjects)]
    before: dict[World, list[World]] = {waiting[0]: []}
    while waiting:
        world = waiting.pop()
        if broken := broken_in(world):
            return Walks(broken, frozenset(), 0)
        for after in successors(world, presumed, newcomer):
            if after not in before:
                before[after] = []
                waiting.append(after)
            before[after].append(world)
    finishing = {world for world in before if world.rotation.state is State.DONE}
    waiting = list(finishing)
    while waiting:
        for earlier in before[waiting.pop()]:
            if earlier not in finishing:
                finishing.add(earlier)
                waiting.append(earlier)
    states = frozenset(world.rotation.state for world in before)
    return Walks((), states, len(before) - len(finishing))
