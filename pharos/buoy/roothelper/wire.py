"""How acts and their outcomes travel: frames of canonical JSON on a Unix stream socket, without I/O.

A frame is a length of four octets, big-endian, and that many octets of JSON in its one spelling. The agent sends an
act and gets one reply, and may then send another. A frame that is too long, or is no JSON in that spelling, ends the
connection; one that says no act of ours is refused, and the connection goes on.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Any, Final

import attrs

from pharos.buoy.roothelper.acts import ANSWERS, Act, Answer
from pharos.buoy.roothelper.codec import from_json, to_json
from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.units import MIB

# 10,000 peers of 200 octets each (two keys in base64, two networks, names) are 2 MB; peers with sixteen networks need
# four times that.
MAX_FRAME: Final = 8 * MIB
MAX_TEXT: Final = 500
_LENGTH: Final = Struct(">I")


class Outcome(enum.Enum):
    """What became of an act."""

    OK = "ok"
    REFUSED = "refused"
    """It is none of those that are done here; nothing was touched."""
    FAILED = "failed"
    """The machine would not."""


@attrs.frozen
class Reply:
    """The one answer to an act."""

    outcome: Outcome
    text: str = ""
    """Why not; a line for an operator."""
    answer: Answer | None = None
    """What was asked for, if it was done."""

    def __attrs_post_init__(self) -> None:
        if len(self.text) > MAX_TEXT or not all(char.isprintable() for char in self.text):
            raise ValueError(f"the text of a reply is a line of at most {MAX_TEXT} characters")
        if (self.answer is not None) != (self.outcome is Outcome.OK):
            raise ValueError("an act that was done has an answer, and no other has one")


def shorten(text: str) -> str:
    """Return a text as one line that fits into a reply."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:MAX_TEXT]


def encode_act(act: Act) -> bytes:
    """Return an act as a frame. Raises: LocalProtocolError — it is too large."""
    return _frame(to_json(act, Act))


def decode_act(body: dict[str, object]) -> Act:
    """Raises: ValueError — it is no act of ours, or a value in it does not fit."""
    act: Act = from_json(body, Act)
    return act


def encode_reply(reply: Reply) -> bytes:
    """Return a reply as a frame. Raises: LocalProtocolError — it is too large."""
    return _frame(to_json(reply, Reply))


def decode_reply(body: dict[str, object], act: Act) -> Reply:
    """Return the reply to an act.

    Raises: RemoteProtocolError — it is none, or answers another act.
    """
    try:
        reply: Reply = from_json(body, Reply)
    except ValueError as error:
        raise RemoteProtocolError(f"the root helper's reply does not parse: {error}") from None
    if reply.answer is not None and type(reply.answer) is not ANSWERS[type(act)]:
        raise RemoteProtocolError(f"the root helper answered {type(act).__name__} with {type(reply.answer).__name__}")
    return reply


def _frame(body: Any) -> bytes:
    data = encode_canonical(body)
    if len(data) > MAX_FRAME:
        raise LocalProtocolError(f"{len(data)} octets are more than the root helper takes at once ({MAX_FRAME})")
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Bytes in, JSON objects out."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether no frame has begun."""
        return not self._data

    def receive_data(self, data: bytes) -> list[dict[str, object]]:
        """Return the objects that are whole now.

        Raises: RemoteProtocolError — a frame is too long or no canonical JSON; read no further.
        """
        self._data += data
        found = []
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > MAX_FRAME:
                raise RemoteProtocolError(f"a frame of {length} octets is longer than {MAX_FRAME}")
            end = _LENGTH.size + length
            if len(self._data) < end:
                break
            body = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            try:
                found.append(decode_canonical(body))
            except ValueError:
                # The document itself may hold keys, and so may the message of a decoder.
                raise RemoteProtocolError("a frame holds no JSON object in canonical form") from None
        return found
