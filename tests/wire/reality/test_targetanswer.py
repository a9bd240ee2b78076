from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.reality.groups import X25519, X25519MLKEM768
from pharos.wire.reality.hello import ClientHello, read_client_hello
from pharos.wire.reality.offer import make_offer
from pharos.wire.reality.parrots import CHROME
from pharos.wire.reality.records import CHANGE_CIPHER_SPEC, ContentType, RecordWriter
from pharos.wire.reality.targetanswer import Answer, AnswerReader
from pharos.wire.reality.targetreport import Check, Verdict
from tests.support.reality import FOUR, FOUR_AND_TICKET, NAME, ONE, seeded, target_flight

MAX_FLIGHT = 8192


def hello() -> ClientHello:
    return read_client_hello(make_offer(CHROME, server_name=NAME, random=seeded()).message)


def answer_of(asked: ClientHello, records: tuple[int, ...], *, group: int | None = None) -> bytes:
    """Return a site's octets up to the last record's."""
    flight = target_flight(asked, group=group, records=FOUR)
    encrypted = [b"\x17\x03\x03" + (size - 5).to_bytes(2, "big") + bytes(size - 5) for size in records]
    plain = RecordWriter().plain(ContentType.HANDSHAKE, flight.server_hello.raw)
    return plain + CHANGE_CIPHER_SPEC + b"".join(encrypted)


def judged(records: tuple[int, ...], *, step: int = 1 << 20, group: int | None = None) -> Answer:
    asked = hello()
    reader = AnswerReader(asked, max_flight=MAX_FLIGHT, random=seeded())
    data = answer_of(asked, records, group=group)
    for start in range(0, len(data), step):
        if (answer := reader.feed(data[start : start + step])) is not None:
            return answer
    return reader.end("ends too early")


def verdict_on(answer: Answer, check: Check) -> Verdict | None:
    return next((found.verdict for found in answer.findings if found.check is check), None)


@pytest.mark.parametrize("records", [FOUR, FOUR_AND_TICKET, ONE])
@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_a_flight_that_can_be_borrowed_is_good_however_it_arrives(records: tuple[int, ...], step: int) -> None:
    answer = judged(records, step=step)
    assert verdict_on(answer, Check.RECORDS) is Verdict.GOOD
    assert not [found for found in answer.findings if found.verdict is Verdict.FORBIDS]
    assert answer.records == (FOUR if step == 1 and records == FOUR_AND_TICKET else records)


def test_the_group_that_was_chosen_is_told() -> None:
    assert judged(FOUR, group=X25519).group == X25519


@pytest.mark.parametrize(
    "records", [(100, 120, 286, 74), (27, 3000, 286, 74), (100, 3000, 90, 74), (100, 3000, 286, 50)]
)
def test_a_record_that_cannot_hold_a_nodes_forbids_the_site(records: tuple[int, ...]) -> None:
    assert verdict_on(judged(records), Check.RECORDS) is Verdict.FORBIDS


def test_a_flight_of_more_than_8_kib_forbids_the_site() -> None:
    assert verdict_on(judged((100, 7700, 286, 74)), Check.RECORDS) is Verdict.GOOD
    assert verdict_on(judged((100, 7800, 286, 74)), Check.RECORDS) is Verdict.FORBIDS


def test_room_for_ml_dsa_begins_where_its_certificate_fits() -> None:
    def room(size: int) -> Verdict | None:
        return verdict_on(judged((100, size, 286, 74)), Check.MLDSA65_ROOM)

    assert (room(3500), room(3600)) == (Verdict.NOTE, Verdict.GOOD)


@given(data=st.binary(max_size=400))
def test_whatever_a_site_says_is_a_verdict_in_the_end(data: bytes) -> None:
    reader = AnswerReader(hello(), max_flight=MAX_FLIGHT, random=seeded())
    answer = reader.feed(data) or reader.end("ends too early")
    assert [found for found in answer.findings if found.verdict is Verdict.FORBIDS]


@settings(max_examples=200)
@given(at=st.integers(0, 1500), octet=st.integers(0, 255), group=st.sampled_from([X25519, X25519MLKEM768]))
def test_an_answer_that_was_touched_is_a_verdict_in_the_end(at: int, octet: int, group: int) -> None:
    asked = hello()
    data = bytearray(answer_of(asked, FOUR, group=group))
    data[at % len(data)] = octet
    reader = AnswerReader(asked, max_flight=MAX_FLIGHT, random=seeded())
    answer = reader.feed(bytes(data)) or reader.end("ends too early")
    assert answer.findings


def test_an_answer_that_ends_within_the_flight_forbids_the_site() -> None:
    answer = judged(FOUR[:2])
    assert answer.is_tls13
    assert answer.findings[-1].text == "ends too early"
    assert verdict_on(answer, Check.RECORDS) is Verdict.FORBIDS
