"""What members said of themselves is kept, and costs no write where nothing is new."""

from __future__ import annotations

from pharos.helm.store.members import HEARD_EVERY, MemberState, member_state, member_states, note_member
from tests.support.helm import core_in_memory


def test_member_that_was_never_heard_holds_nothing() -> None:
    with core_in_memory() as db:
        assert member_state(db, "a") == MemberState(id="a")
        assert member_states(db) == {}


def test_what_a_member_leaves_out_stays() -> None:
    with core_in_memory() as db:
        assert note_member(db, "a", at=10, manifest_version=2, certificate="c0ffee")
        assert note_member(db, "a", at=20, deny_epoch=7, deny_version=1)
        said = member_state(db, "a")
        assert (said.manifest_version, said.certificate, said.deny_order, said.heard_at) == (2, "c0ffee", (7, 1), 20)
        assert member_states(db) == {"a": said}


def test_nothing_is_written_for_an_hour_where_nothing_is_new() -> None:
    with core_in_memory() as db:
        note_member(db, "a", at=10, checkpoint=5)
        before = db.total_changes
        assert not note_member(db, "a", at=9 + HEARD_EVERY, checkpoint=5)
        assert db.total_changes == before
        assert not note_member(db, "a", at=10 + HEARD_EVERY, checkpoint=5)
        assert member_state(db, "a").heard_at == 10 + HEARD_EVERY
