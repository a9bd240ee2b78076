"""Questions are read as far as they must be, and what is none is answered by what it is, or not at all."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.system.dnspacket import (
    FORMAT_ERROR,
    NOT_IMPLEMENTED,
    SERVER_FAILURE,
    PacketError,
    code_of,
    failure,
    is_answer,
    is_truncated,
    read_question,
    renumber,
)


def query(name: str = "WWW.Example.org.", kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind, use_edns=0).to_wire()


def test_a_name_is_read_in_lower_case_without_its_last_dot() -> None:
    question = read_question(query())
    assert question.name == "www.example.org"
    assert query()[question.end - 4 : question.end] == b"\0\1\0\1"


def test_octets_that_no_domain_has_are_no_dots() -> None:
    data = query()[:12] + b"\x03a.b\x01\xff\x03org\0\0\1\0\1"
    assert read_question(data).name == "a\\046b.\\255.org"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:2] + b"\x28\0" + data[4:], NOT_IMPLEMENTED),
        (lambda data: data[:4] + b"\0\2" + data[6:], FORMAT_ERROR),
        (lambda data: data[:4] + b"\0\0" + data[6:], FORMAT_ERROR),
        (lambda data: data[:20], FORMAT_ERROR),
        (lambda data: data[:12] + b"\xc0\x0c" + data[14:], FORMAT_ERROR),
        (lambda data: data[:12] + b"\x01a" * 200 + b"\0\0\1\0\1", FORMAT_ERROR),
    ],
)
def test_what_is_no_question_is_told_so(change: object, code: int) -> None:
    with pytest.raises(PacketError) as caught:
        read_question(change(query()))  # type: ignore[operator]
    assert caught.value.answer is not None
    assert len(caught.value.answer) == 12
    assert code_of(caught.value.answer) == code


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 11])
def test_what_is_too_short_or_an_answer_is_not_answered(data: bytes) -> None:
    answer = dns.message.make_response(dns.message.from_wire(query())).to_wire()
    for one in (data, answer):
        with pytest.raises(PacketError) as caught:
            read_question(one)
        assert caught.value.answer is None


def test_a_failure_is_an_answer_that_programs_understand() -> None:
    data = query()
    said = dns.message.from_wire(failure(data, SERVER_FAILURE, read_question(data).end))
    assert dns.message.from_wire(data).is_response(said)
    assert said.rcode() == dns.rcode.SERVFAIL


def test_only_an_answer_to_this_question_is_one() -> None:
    data = query()
    question = read_question(data)
    said = dns.message.make_response(dns.message.from_wire(data)).to_wire()
    assert is_answer(data, question, said)
    assert is_answer(data, question, said.replace(b"Example", b"eXAMPLE"))
    assert not is_answer(data, question, renumber(said, int.from_bytes(said[:2], "big") ^ 1))
    assert not is_answer(data, question, said.replace(b"Example", b"Exbmple"))
    assert not is_answer(data, question, data)
    assert not is_answer(data, question, said[:11])
    assert not is_truncated(said)


@given(st.binary(max_size=600))
def test_any_octets_are_a_question_or_none(data: bytes) -> None:
    try:
        question = read_question(data)
    except PacketError:
        return
    assert 12 <= question.end <= len(data)
    assert is_answer(data, question, failure(data, SERVER_FAILURE, question.end))
