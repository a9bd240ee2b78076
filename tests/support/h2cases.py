"""RFC 9113, one requirement at a time: what a peer sends, and what has to come of it, against our real listeners.

A case is played to the beacon's and the buoy's own ports over mTLS, by a peer made of hyperframe's frames and of raw
octets where hyperframe refuses to build what a case wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from pharos.beacon.sanitize import PASSAGE_PATH
from pharos.wire.gen.grpc.health.v1.health_pb2 import HealthCheckRequest
from pharos.wire.passage.metadata import PURPOSE_HEADER
from pharos.wire.rpc.h2stream import Headers
from tests.support.floods import block
from tests.support.h2peer import PREFACE
from tests.support.listeners import Listener
from tests.support.rpc import frame

GOOD_STREAM: Final = 0x10001
"""The stream of the good request that follows a case; no case uses a higher one."""

CHECK = frame(HealthCheckRequest())
"""A message that is answered at once, with `ANSWER_SIZE` octets of DATA."""
HOLD = frame(HealthCheckRequest(service="nobody"))
"""A message whose request is not answered to the end: the stream stays half-closed."""
ANSWER_SIZE: Final = 7


@attrs.frozen(kw_only=True)
class Target:
    """A server of ours, and how to ask it something."""

    name: str
    listener: Listener
    streams: int
    """That a peer may have open at once."""

    def headers(self, *, hold: bool = False) -> Headers:
        """The header list of a good request; one to `hold` stays open."""
        path = PASSAGE_PATH if self.name == "ingress" else f"/grpc.health.v1.Health/{'Watch' if hold else 'Check'}"
        return [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", path),
            (":authority", "peer.test"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *([(PURPOSE_HEADER, "device")] if self.name == "ingress" else []),
        ]

    def block(self, *more: tuple[str, str], hold: bool = False) -> bytes:
        """The header block of a good request, with ``more`` behind it."""
        return block([*self.headers(hold=hold), *more])

    def without(self, name: str) -> bytes:
        """The header block of a request that lacks one field."""
        return block([field for field in self.headers() if field[0] != name])

    def with_field(self, name: str, value: str) -> bytes:
        """The header block of a request in which one field is another."""
        return block([(known, value if known == name else old) for known, old in self.headers()])

    def opens(self, stream_id: int, *more: tuple[str, str], hold: bool = False) -> bytes:
        """HEADERS of a good request whose body is still to come."""
        headers = HeadersFrame(stream_id, self.block(*more, hold=hold), flags=["END_HEADERS"])
        return headers.serialize()

    def call(self, stream_id: int, *more: tuple[str, str]) -> bytes:
        """A whole good request."""
        return self.opens(stream_id, *more) + body(stream_id)

    def held(self, stream_id: int) -> bytes:
        """A whole request that is not answered to the end."""
        return self.opens(stream_id, hold=True) + data(stream_id, HOLD, "END_STREAM")


def data(stream_id: int, body: bytes = b"", *flags: str, **options: Any) -> bytes:
    return DataFrame(stream_id, body, flags=flags, **options).serialize()


def body(stream_id: int) -> bytes:
    """DATA of a message that is answered at once, and the end of the request."""
    return data(stream_id, CHECK, "END_STREAM")


def continuation(stream_id: int, part: bytes, *flags: str) -> bytes:
    return ContinuationFrame(stream_id, part, flags=flags).serialize()


def reset(stream_id: int, code: int = ErrorCodes.CANCEL) -> bytes:
    return RstStreamFrame(stream_id, code).serialize()


def priority(stream_id: int, on: int = 0, weight: int = 15) -> bytes:
    return PriorityFrame(stream_id, on, weight).serialize()


def window_update(stream_id: int, increment: int = 1) -> bytes:
    return WindowUpdateFrame(stream_id, increment).serialize()


def ping(body: bytes = b"pingpong", *flags: str) -> bytes:
    return PingFrame(0, body, flags=flags).serialize()


def settings(values: dict[int, int] | None = None) -> bytes:
    return SettingsFrame(0, values).serialize()


# -- what is sent


@attrs.frozen
class Ended:
    """A step: wait until the server has answered a stream to its end."""

    stream_id: int = 1


@attrs.frozen
class Begun:
    """A step: wait until the server has sent so many octets of DATA on a stream."""

    octets: int
    stream_id: int = 1


Step = bytes | Ended | Begun
Steps = bytes | tuple[Step, ...]


# -- what has to come of it


@attrs.define
class Seen:
    """What our side did."""

    goodbye: ErrorCodes | int | None = None
    """The code of its GOAWAY."""
    closed: bool = False
    resets: dict[int, ErrorCodes | int] = attrs.field(factory=dict)
    ended: set[int] = attrs.field(factory=set)
    opened: set[int] = attrs.field(factory=set)
    """Streams on which it sent HEADERS."""
    sizes: dict[int, list[int]] = attrs.field(factory=dict)
    """Of the DATA frames, by stream."""
    headers: dict[int, list[tuple[str, str]]] = attrs.field(factory=dict)
    """All fields, trailers included, by stream."""
    pongs: list[bytes] = attrs.field(factory=list)
    settings: list[dict[int, int]] = attrs.field(factory=list)
    acknowledged: int = 0
    """SETTINGS of ours."""
    frames: list[Frame] = attrs.field(factory=list)

    def octets(self, stream_id: int) -> int:
        return sum(self.sizes.get(stream_id, ()))

    def grpc_status(self, stream_id: int) -> str | None:
        return dict(self.headers.get(stream_id, ())).get("grpc-status")


@attrs.frozen
class Kills:
    """A connection error (RFC 9113 §5.4.1): GOAWAY with this code, then the end."""

    code: ErrorCodes

    def check(self, seen: Seen) -> None:
        assert (seen.goodbye, seen.closed) == (self.code, True), seen
        assert GOOD_STREAM not in seen.opened, "it answered on a connection that had ended"


@attrs.frozen
class Closes:
    """The end of the connection, with whatever word or none."""

    def check(self, seen: Seen) -> None:
        assert seen.closed, seen
        assert GOOD_STREAM not in seen.opened


@attrs.frozen
class Resets:
    """A stream error (RFC 9113 §5.4.2): RST_STREAM with this code; a good request that follows is answered."""

    code: ErrorCodes
    stream_id: int = 1

    def check(self, seen: Seen) -> None:
        assert seen.goodbye is None, seen
        assert seen.resets.get(self.stream_id) == self.code, seen
        check_good(seen)


@attrs.frozen
class Answers:
    """All is well: these streams are answered, and so is a good request that follows."""

    streams: tuple[int, ...] = (1,)
    statuses: tuple[str, ...] = ("0",)
    also: Callable[[Seen], bool] | None = None

    def check(self, seen: Seen) -> None:
        assert seen.goodbye is None, seen
        assert not {code for code in seen.resets.values() if code != ErrorCodes.NO_ERROR}, seen
        assert {seen.grpc_status(stream_id) for stream_id in self.streams} <= set(self.statuses), seen
        assert set(self.streams) <= seen.ended, seen
        assert self.also is None or self.also(seen), seen
        check_good(seen)


Ignores = Answers(streams=())
"""Nothing comes of it, and a good request that follows is answered."""


def check_good(seen: Seen) -> None:
    assert seen.grpc_status(GOOD_STREAM) == "0", seen
    assert not seen.closed


Outcome = Kills | Closes | Resets | Answers

PROTOCOL_ERROR: Final = Kills(ErrorCodes.PROTOCOL_ERROR)
FLOW_CONTROL_ERROR: Final = Kills(ErrorCodes.FLOW_CONTROL_ERROR)
STREAM_CLOSED: Final = Kills(ErrorCodes.STREAM_CLOSED)
FRAME_SIZE_ERROR: Final = Kills(ErrorCodes.FRAME_SIZE_ERROR)
COMPRESSION_ERROR: Final = Kills(ErrorCodes.COMPRESSION_ERROR)


@attrs.frozen(kw_only=True)
class Case:
    """One requirement."""

    section: str
    what: str
    sends: Callable[[Target], Steps]
    must: Outcome
    """What the RFC asks for."""
    does: Outcome | None = None
    """What we do where that differs: only what the RFC allows, for the reason in ``because``."""
    because: str = ""
    prelude: bytes = PREFACE + settings()

    @property
    def outcome(self) -> Outcome:
        return self.does or self.must


# RFC 9113 §5.4.1: "an endpoint MAY choose to treat a stream error as a connection error".
STRICTER: Final = "treated as a connection error (§5.4.1): a peer that is ours never sends it"


def case(section: str, what: str, sends: Callable[[Target], Steps], must: Outcome, **more: Any) -> Case:
    return Case(section=section, what=what, sends=sends, must=must, **more)


def strict(section: str, what: str, sends: Callable[[Target], Steps], code: ErrorCodes, **more: Any) -> Case:
    """A stream error by the RFC that we treat as a connection error."""
    return case(section, what, sends, Resets(code), does=Kills(code), because=STRICTER, **more)
