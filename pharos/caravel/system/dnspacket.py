"""Questions for names as programs send them, read as far as they have to be (RFC 1035 §4). Pure."""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs

MAX_NAME: Final = 255
HEADER: Final = Struct("!HHHHHH")
"""Identification, flags, and the counts of questions, answers, authorities and additional records."""
_TAIL: Final = Struct("!HH")
"""Type and class of a question."""
_RESPONSE, _OPCODE, _TRUNCATED, _DESIRED, _AVAILABLE, _CODE = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080, 0x000F

FORMAT_ERROR, SERVER_FAILURE, NO_NAME, NOT_IMPLEMENTED, REFUSED = 1, 2, 3, 4, 5


class PacketError(ValueError):
    """It is no question that can be answered; ``answer`` says so, if anything may be said."""

    def __init__(self, answer: bytes | None) -> None:
        super().__init__("this is no question for a name")
        self.answer = answer


@attrs.frozen
class Question:
    """One question."""

    name: str
    """In lower case, without the last dot; what no domain has is escaped."""
    end: int
    """Octets from the start of the message to the end of its question."""


def read_question(data: bytes) -> Question:
    """Raises: PacketError."""
    if len(data) < HEADER.size or HEADER.unpack_from(data)[1] & _RESPONSE:
        # Whoever answers answers starts a quarrel.
        raise PacketError(None)
    _, flags, questions, *_ = HEADER.unpack_from(data)
    if flags & _OPCODE:
        raise PacketError(failure(data, NOT_IMPLEMENTED))
    labels: list[str] = []
    at = HEADER.size
    while True:
        size = data[at] if at < len(data) else -1
        if questions != 1 or not 0 <= size < 64 or at - HEADER.size > MAX_NAME:
            raise PacketError(failure(data, FORMAT_ERROR))
        label, at = data[at + 1 : at + 1 + size], at + 1 + size
        if not size:
            break
        labels.append("".join(chr(one) if 0x20 < one < 0x7F and one != 0x2E else f"\\{one:03}" for one in label))
    if at + _TAIL.size > len(data):
        raise PacketError(failure(data, FORMAT_ERROR))
    return Question(".".join(labels).lower(), at + _TAIL.size)


def failure(query: bytes, code: int, end: int = HEADER.size) -> bytes:
    """Return an answer to a question that has none; ``end`` is that of the question, if it could be read."""
    number, flags, *_ = HEADER.unpack_from(query)
    flags = flags & (_OPCODE | _DESIRED) | _RESPONSE | _AVAILABLE | code
    return HEADER.pack(number, flags, int(end > HEADER.size), 0, 0, 0) + query[HEADER.size : end]


def renumber(data: bytes, number: int) -> bytes:
    """Return a message with another identification."""
    return number.to_bytes(2, "big") + data[2:]


def is_answer(query: bytes, question: Question, data: bytes) -> bool:
    """Whether data answers a query, and is no forgery that guessed less than all of it."""
    if len(data) < question.end or data[:2] != query[:2] or not HEADER.unpack_from(data)[1] & _RESPONSE:
        return False
    # Names are compared without regard to case, and some servers write them as they like (RFC 4343).
    there, asked = data[HEADER.size : question.end], query[HEADER.size : question.end]
    return HEADER.unpack_from(data)[2] == 1 and there.lower() == asked.lower()


def code_of(data: bytes) -> int:
    """Return what an answer says of how it went (RFC 1035 §4.1.1, RCODE)."""
    return int(HEADER.unpack_from(data)[1] & _CODE)


def is_truncated(data: bytes) -> bool:
    return bool(HEADER.unpack_from(data)[1] & _TRUNCATED)
