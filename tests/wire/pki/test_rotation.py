import itertools
from pathlib import Path

import pytest

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.pki.keys import generate_root_key
from pharos.wire.pki.manifest import Manifest, sign_manifest, verify_manifest
from pharos.wire.pki.roles import Authority, Identity, Role
from pharos.wire.pki.rotation import (
    ACKNOWLEDGEMENTS,
    TABLE,
    Generation,
    Input,
    Rotation,
    State,
    Subject,
    awaited_roles,
    render_table,
)
from pharos.wire.pki.trust import Trust
from tests.support.pki import home_fleet, utc_now
from tests.wire.pki.rotation_model import FOUNDERS, HELM, NODE, explore, member, outset

RELAY, DEVICE = member(Role.RELAY), member(Role.DEVICE)
ALONE = [frozenset({subject}) for subject in Subject]
ALL = frozenset(Subject)


def name_of(subjects: frozenset[Subject]) -> str:
    return "+".join(sorted(subject.value for subject in subjects))


def prepared(*subjects: Subject) -> Rotation:
    return Rotation(subjects=frozenset(subjects), members=frozenset(FOUNDERS))


def all_do(rotation: Rotation, step: Input) -> Rotation:
    for identity in rotation.waiting:
        rotation = rotation.acknowledge(identity, step)
    return rotation


def in_state(state: State, *subjects: Subject) -> Rotation:
    rotation = prepared(*subjects)
    if state is not State.PREPARED:
        rotation = rotation.begin()
    while rotation.state is not state:
        assert rotation.asked is not None
        rotation = all_do(rotation, rotation.asked)
    return rotation


# --- the table


@pytest.mark.parametrize("state", State)
def test_what_the_table_does_not_list_is_refused(state: State) -> None:
    rotation = in_state(state, Subject.FLEET_CA)
    for step in ACKNOWLEDGEMENTS:
        if (state, step) in TABLE:
            assert rotation.acknowledge(NODE, step).state in State
        else:
            with pytest.raises(RemoteProtocolError, match=step.value):
                rotation.acknowledge(NODE, step)
    if state is not State.PREPARED:
        with pytest.raises(LocalProtocolError):
            rotation.begin()


def test_table_is_printed_in_the_documentation() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "protocols" / "pki.md"
    assert render_table() in page.read_text(encoding="utf-8")


def test_every_state_is_left_but_the_last() -> None:
    onward = {
        state: {after for (before, _), (_, after) in TABLE.items() if before is state} - {state} for state in State
    }
    states = list(State)
    assert onward == {state: set(states[at + 1 : at + 2]) for at, state in enumerate(states)}


# --- one rotation, step by step


def test_fleet_ca_is_rotated_in_two_phases() -> None:
    rotation = prepared(Subject.FLEET_CA)
    assert (rotation.used, rotation.believed, rotation.asked) == (Generation.OLD, (Generation.OLD,), None)
    rotation = rotation.begin()
    assert rotation.waiting == {HELM, NODE, RELAY, DEVICE}
    assert (rotation.asked, rotation.used) == (Input.BELIEVES, Generation.OLD)
    for identity in (HELM, NODE, RELAY):
        rotation = rotation.acknowledge(identity, Input.BELIEVES)
    assert (rotation.state, set(rotation.waiting)) == (State.DISTRIBUTING, {DEVICE})
    rotation = rotation.acknowledge(DEVICE, Input.BELIEVES)
    assert (rotation.state, set(rotation.waiting)) == (State.SWITCHING, {HELM, NODE, RELAY})
    assert (rotation.asked, rotation.used) == (Input.USES, Generation.NEW)
    rotation = all_do(rotation, Input.USES)
    assert (rotation.state, set(rotation.waiting)) == (State.DROPPING, {HELM, NODE, RELAY, DEVICE})
    assert rotation.believed == (Generation.NEW,)
    rotation = all_do(rotation, Input.DROPPED)
    assert (rotation.state, rotation.waiting, rotation.asked) == (State.DONE, frozenset(), None)


WAITED = {
    Subject.FLEET_CA: ({Role.CONTROLLER, Role.NODE, Role.RELAY, Role.DEVICE}, {Role.CONTROLLER, Role.NODE, Role.RELAY}),
    Subject.DEVICE_CA: ({Role.CONTROLLER, Role.RELAY}, {Role.DEVICE, Role.ADMIN}),
    Subject.SIGNING_KEY: ({Role.NODE, Role.RELAY, Role.DEVICE}, {Role.NODE, Role.RELAY, Role.DEVICE}),
    Subject.NOISE_KEY: ({Role.CONTROLLER}, {Role.DEVICE}),
}


@pytest.mark.parametrize("subject", Subject)
def test_each_subject_waits_for_those_who_judge_and_for_those_who_show(subject: Subject) -> None:
    judging, showing = WAITED[subject]
    expected = {State.DISTRIBUTING: judging, State.SWITCHING: showing, State.DROPPING: judging}
    for state in State:
        assert awaited_roles(subject, state) == expected.get(state, set())


def test_acknowledgements_count_once_however_often_they_come() -> None:
    rotation = in_state(State.SWITCHING, Subject.FLEET_CA).acknowledge(NODE, Input.USES)
    for step in (Input.USES, Input.BELIEVES):
        assert rotation.acknowledge(NODE, step) == rotation
    # Somebody who is not waited for may say so too.
    assert rotation.acknowledge(DEVICE, Input.BELIEVES) == rotation
    with pytest.raises(RemoteProtocolError):
        rotation.acknowledge(NODE, Input.DROPPED)


def test_strangers_and_those_who_left_have_no_say() -> None:
    rotation = in_state(State.DISTRIBUTING, Subject.FLEET_CA)
    for outsider in (member(Role.NODE, "two"), NODE):
        with pytest.raises(RemoteProtocolError, match="no part"):
            rotation.leave(NODE).acknowledge(outsider, Input.BELIEVES)


@pytest.mark.parametrize("state", [State.DISTRIBUTING, State.SWITCHING, State.DROPPING])
def test_the_last_who_is_missing_may_leave_instead(state: State) -> None:
    """Its certificate ended, it was revoked, or the operator gives it up."""
    rotation = in_state(state, Subject.FLEET_CA)
    assert rotation.asked is not None
    for identity in rotation.waiting - {NODE}:
        rotation = rotation.acknowledge(identity, rotation.asked)
    assert (rotation.state, set(rotation.waiting)) == (state, {NODE})
    assert list(State).index(rotation.leave(NODE).state) == list(State).index(state) + 1


@pytest.mark.parametrize("state", State)
def test_newcomer_is_not_waited_for_but_counts_from_then_on(state: State) -> None:
    newcomer = member(Role.NODE, "two")
    rotation = in_state(state, Subject.FLEET_CA).join(newcomer)
    assert rotation.state is state
    assert newcomer in rotation.members - rotation.waiting
    if state in (State.DISTRIBUTING, State.SWITCHING):
        assert rotation.asked is not None
        assert newcomer in all_do(rotation, rotation.asked).waiting


def test_fleet_of_helm_alone_is_rotated_by_helm_alone() -> None:
    rotation = Rotation(subjects=ALL, members=frozenset({HELM})).begin()
    while rotation.asked is not None:
        assert rotation.waiting == {HELM}
        rotation = rotation.acknowledge(HELM, rotation.asked)
    assert rotation.state is State.DONE


def test_nobody_to_wait_for_is_no_obstacle() -> None:
    rotation = Rotation(subjects=frozenset({Subject.SIGNING_KEY}), members=frozenset({HELM}))
    assert rotation.begin().state is State.DONE


# --- what is stored


@pytest.mark.parametrize("state", State)
def test_every_state_survives_the_store(state: State) -> None:
    for subjects in (*ALONE, ALL):
        rotation = in_state(state, *subjects)
        if rotation.waiting and rotation.asked is not None:
            rotation = rotation.acknowledge(min(rotation.waiting, key=lambda waited: waited.uri), rotation.asked)
        assert Rotation.decode(rotation.encode()) == rotation


def test_what_is_no_rotation_is_not_read() -> None:
    rotation = in_state(State.DISTRIBUTING, Subject.FLEET_CA)
    good: dict[str, object] = {
        "subjects": ["fleet_ca"],
        "state": "distributing",
        "members": [HELM.uri],
        "waiting": [HELM.uri],
    }
    assert Rotation.decode(encode_canonical(good)).waiting == {HELM}
    bad: list[dict[str, object]] = [
        {"subjects": ["root"]},
        {"subjects": "fleet_ca"},
        {"state": "dreaming"},
        {"members": [7]},
        {"members": ["spiffe://nobody"]},
        {"waiting": [NODE.uri]},
        {"waiting": None},
    ]
    for change in bad:
        with pytest.raises(ValueError):
            Rotation.decode(encode_canonical(good | change))
    for missing in good:
        with pytest.raises(ValueError):
            Rotation.decode(encode_canonical({name: good[name] for name in good if name != missing}))
    with pytest.raises(ValueError):
        Rotation.decode(rotation.encode()[:-1])


# --- what the manifests of a rotation say

HOME = home_fleet()
NEW = HOME.rotated(Authority.FLEET).rotated(Authority.DEVICE)
KEYS = {Generation.OLD: bytes(range(32)), Generation.NEW: bytes(range(32, 64))}


def manifest_of(rotation: Rotation, version: int) -> Manifest:
    """Sign what the state stands for, as helm does when it prepares the rotation."""
    authorities = {Generation.OLD: HOME.trust, Generation.NEW: NEW.trust}

    def ca(subject: Subject, generation: Generation | None) -> object:
        if generation is None:
            return None
        return getattr(authorities[generation], subject.value)

    def key(generation: Generation | None) -> bytes | None:
        return None if generation is None else KEYS[generation]

    slots = {subject: rotation.slot(subject) for subject in Subject}
    trust = Trust(
        root=HOME.trust.root,
        **{  # type: ignore[arg-type]
            prefix + subject.value: ca(subject, generation)
            for subject in (Subject.FLEET_CA, Subject.DEVICE_CA)
            for prefix, generation in zip(("", "next_"), slots[subject], strict=True)
        },
    )
    blob = sign_manifest(
        version=version,
        trust=trust,
        signing_key=KEYS[slots[Subject.SIGNING_KEY][0]],
        next_signing_key=key(slots[Subject.SIGNING_KEY][1]),
        noise_key=KEYS[slots[Subject.NOISE_KEY][0]],
        next_noise_key=key(slots[Subject.NOISE_KEY][1]),
        root_key=HOME.root_key,
    )
    return verify_manifest(blob, root_hash=HOME.root_hash, now=utc_now(), minimum_version=version)


@pytest.mark.parametrize("subjects", [*ALONE, ALL], ids=name_of)
def test_manifest_of_each_state_says_what_its_members_believe(subjects: frozenset[Subject]) -> None:
    for version, state in enumerate(State, 1):
        rotation = in_state(state, *subjects)
        manifest = manifest_of(rotation, version)
        for subject in Subject:
            believed = rotation.believed if subject in subjects else (Generation.OLD,)
            match subject:
                case Subject.FLEET_CA | Subject.DEVICE_CA:
                    authority = Authority.FLEET if subject is Subject.FLEET_CA else Authority.DEVICE
                    known = {Generation.OLD: HOME.trust, Generation.NEW: NEW.trust}
                    assert manifest.trust.anchors(authority) == tuple(known[g].anchor(authority) for g in believed)
                case Subject.SIGNING_KEY:
                    assert manifest.signing_keys == tuple(KEYS[generation] for generation in believed)
                case Subject.NOISE_KEY:
                    # A device dials the current one, and has to dial the new one while it switches.
                    assert manifest.noise_key == KEYS[rotation.used if subject in subjects else Generation.OLD]


def test_a_root_signs_its_own_rotation_only() -> None:
    with pytest.raises(LocalProtocolError):
        sign_manifest(
            version=1,
            trust=HOME.trust,
            signing_key=bytes(32),
            noise_key=bytes(32),
            root_key=generate_root_key(),
        )


# --- every walk through a rotation

LATECOMERS = [None, member(Role.NODE, "two"), member(Role.DEVICE, "two")]


@pytest.mark.parametrize("newcomer", LATECOMERS, ids=["nobody", "node", "device"])
@pytest.mark.parametrize("subjects", [*ALONE, ALL], ids=name_of)
def test_every_pair_that_could_talk_still_can_whatever_happens(
    subjects: frozenset[Subject], newcomer: Identity | None
) -> None:
    walks = explore(subjects, newcomer=newcomer)
    assert (walks.broken, walks.stuck) == ((), 0)
    assert walks.states == set(State)


@pytest.mark.parametrize("subjects", ALONE, ids=name_of)
@pytest.mark.parametrize("presumed", [Input.BELIEVES, Input.USES])
def test_walks_turn_red_where_an_acknowledgement_is_presumed(subjects: frozenset[Subject], presumed: Input) -> None:
    assert explore(subjects, presumed=presumed).broken


@pytest.mark.parametrize("subjects", [*ALONE, ALL], ids=name_of)
def test_rotation_stays_where_it_waits_for_those_who_are_off_line(subjects: frozenset[Subject]) -> None:
    """Whoever is off line from the beginning holds up the first state that waits for it, and none before."""
    absences = itertools.chain.from_iterable(
        itertools.combinations(FOUNDERS, count) for count in range(len(FOUNDERS) + 1)
    )
    for absent in map(frozenset, absences):
        rotation = outset(subjects).rotation.begin()
        while rotation.asked is not None and (ready := rotation.waiting - absent):
            rotation = rotation.acknowledge(min(ready, key=lambda waited: waited.uri), rotation.asked)
        assert rotation.waiting <= absent
        assert bool(rotation.waiting) is (rotation.state is not State.DONE)
