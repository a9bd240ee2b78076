"""Row 14. Position: bad luck, or whoever can cause it: members off line in a rotation, helm killed at any step of it.

Countermeasure: the new is believed by all before anybody uses it, and used by all before the old is dropped; the
machine is stored before it is acted upon. At the level of wire, and over helm's record with true certificates.
"""

import pytest

from pharos.wire.pki.roles import CONTROL, INGRESS, Identity, ListenerPolicy, Role
from pharos.wire.pki.rotation import Input, Subject
from tests.helm.trust import test_rotation as record
from tests.wire.pki import test_rotation as rotation
from tests.wire.pki import test_successors as successors
from tests.wire.pki.test_rotation import ALL, ALONE, LATECOMERS, name_of


@pytest.mark.parametrize("subjects", ALONE, ids=name_of)
@pytest.mark.parametrize("presumed", [Input.BELIEVES, Input.USES])
def test_a14_turns_red_where_an_acknowledgement_is_presumed(subjects: frozenset[Subject], presumed: Input) -> None:
    rotation.test_walks_turn_red_where_an_acknowledgement_is_presumed(subjects, presumed)


@pytest.mark.parametrize("subjects", [*ALONE, ALL], ids=name_of)
@pytest.mark.parametrize("newcomer", LATECOMERS, ids=["nobody", "node", "device"])
def test_a14_whoever_could_talk_still_can(subjects: frozenset[Subject], newcomer: Identity | None) -> None:
    """Every kill, every loss, every subset off line: the whole state space, and out of each state a way to the end."""
    rotation.test_every_pair_that_could_talk_still_can_whatever_happens(subjects, newcomer)


@pytest.mark.parametrize("policy", [CONTROL, INGRESS], ids=lambda policy: policy.name)
def test_a14_what_the_model_takes_for_granted_is_so(policy: ListenerPolicy) -> None:
    """With true certificates: two can talk if, and only if, each shows a generation that the other believes."""
    successors.test_both_ends_of_tls_believe_the_same_generations(policy)


@pytest.mark.parametrize(
    "absent", [{Role.NODE}, {Role.RELAY}, {Role.DEVICE}, {Role.RELAY, Role.DEVICE}], ids=record.names_of
)
def test_a14_record_waits_for_whoever_is_off_line(absent: set[Role]) -> None:
    record.test_rotation_waits_for_whoever_is_absent_and_breaks_nobody(absent)


def test_a14_record_brings_a_rotation_to_its_end_though_helm_is_killed_after_each_step() -> None:
    record.test_rotation_comes_to_its_end_and_everybody_uses_the_new(tuple(Subject), killed=True)


def test_a14_record_turns_red_where_acknowledgements_are_presumed(monkeypatch: pytest.MonkeyPatch) -> None:
    record.test_pairs_fall_apart_where_acknowledgements_are_presumed(monkeypatch)
