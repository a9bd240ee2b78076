"""A delta is an entry of the outbox as JSON; a batch is one message, made once for each set of nouns."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.live.deltas import Batch, LiveEvent, coalesce
from tests.support.live import batch, delta


def test_delta_says_what_happened_to_which_record_and_how_it_is_now() -> None:
    assert json.loads(delta(7, body='{"id":"u","name":"Ada \\u2603"}').text) == {
        "seq": 7,
        "at": "2027-01-15T08:00:00.000007Z",
        "kind": "user_changed",
        "noun": "user",
        "id": "u",
        "version": 7,
        "record": {"id": "u", "name": "Ada \u2603"},
        "actor": "ada",
        "detail": "note",
    }


def test_record_that_is_gone_is_null() -> None:
    assert json.loads(delta(7, kind="user_removed", body=None).text)["record"] is None


def test_entry_from_before_records_had_versions_is_of_the_noun_in_its_kind() -> None:
    old = delta(7, kind="device_enrolled", noun="", version=0, body=None)
    assert (old.noun, old.key, json.loads(old.text)["noun"]) == ("device", None, "device")


def test_message_is_made_once_for_all_who_read_the_same() -> None:
    viewers, admins = frozenset({"user"}), frozenset({"user", "token"})
    mixed = Batch([delta(1), delta(2, noun="token", kind="token_added"), delta(3)], (), 3)
    assert [one["seq"] for one in json.loads(mixed.text_for(viewers) or "")["deltas"]] == [1, 3]
    assert [one["seq"] for one in json.loads(mixed.text_for(admins) or "")["deltas"]] == [1, 2, 3]
    assert mixed.text_for(viewers) is mixed.text_for(frozenset({"user"}))
    assert mixed.text_for(None) == mixed.text_for(admins)


def test_nobody_is_sent_a_message_without_anything_for_them() -> None:
    assert batch(1, noun="token").text_for(frozenset({"user"})) is None
    assert Batch((), (), 9).text_for(None) is None


def test_events_are_everybodys_and_need_no_delta() -> None:
    event = LiveEvent(sequence=4, at=1_000_000, kind="link_up", node="n", text="amsterdam")
    assert json.loads(Batch((), [event], 9).text_for(frozenset()) or "") == {
        "sequence": 9,
        "events": [
            {
                "sequence": 4,
                "at": "1970-01-01T00:00:01Z",
                "kind": "link_up",
                "node": "n",
                "device": None,
                "name": None,
                "text": "amsterdam",
            }
        ],
    }


def test_batch_after_a_sequence_is_itself_where_nothing_is_left_out() -> None:
    whole = batch(5, 6, 7)
    assert whole.after(4) is whole
    assert [one.sequence for one in whole.after(6).deltas] == [7]
    assert whole.after(7).text_for(None) is None


def test_only_states_of_records_stand_for_one_another() -> None:
    moments = [batch(n, kind="device_seen", noun="", version=0, body=None) for n in (1, 2, 3)]
    assert [one.sequence for one in coalesce(moments).deltas] == [1, 2, 3]


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 7))
def test_coalescing_keeps_the_newest_of_each_record_in_order(subjects: list[str], size: int) -> None:
    deltas = [delta(number, subject=subject) for number, subject in enumerate(subjects, 1)]
    batches = [Batch(deltas[n : n + size], (), n + size) for n in range(0, len(deltas), size)]
    merged = coalesce(batches)
    newest = {subject: number for number, subject in enumerate(subjects, 1)}
    assert [one.sequence for one in merged.deltas] == sorted(newest.values())
    assert {one.key for one in merged.deltas} == {("user", subject) for subject in newest}


FIGURES = {"nodes": {"n": {"down": 1}}, "fleet": {"down": 1}}
COUNTS = {"devices": {"all": 2}, "sessions": 1, "admins": 3}


def test_figures_and_counts_are_for_those_who_want_them_and_count_what_they_may_read() -> None:
    told = Batch((), (), 9, FIGURES, COUNTS)
    viewers = frozenset({"device"})
    assert told.text_for(viewers) is None
    assert json.loads(told.text_for(viewers, figures=True) or "") == {
        "sequence": 9,
        "figures": FIGURES,
        "counts": {"devices": {"all": 2}, "sessions": 1},
    }
    assert json.loads(told.text_for(None, figures=True) or "")["counts"] == COUNTS
    assert told.text_for(None, figures=True) is told.text_for(None, figures=True)


def test_of_figures_that_wait_the_newest_of_each_node_is_kept() -> None:
    older = Batch((), (), 9, {"nodes": {"n": {"down": 1}, "m": {"down": 2}}, "fleet": {"down": 3}}, COUNTS)
    newer = Batch((), (), 9, {"nodes": {"n": {"down": 5}}, "fleet": {"down": 7}}, None)
    one = coalesce([older, batch(10), newer])
    assert one.figures == {"nodes": {"n": {"down": 5}, "m": {"down": 2}}, "fleet": {"down": 7}}
    assert (one.counts, one.sequence, len(one.deltas)) == (COUNTS, 10, 1)
    assert one.after(10).figures == one.figures
