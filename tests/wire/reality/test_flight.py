import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.errors import TargetError
from pharos.wire.reality.extensions import Extension, write_extensions
from pharos.wire.reality.flight import FlightRecorder, TargetFlight
from pharos.wire.reality.hello import ClientHello
from pharos.wire.reality.parrots import SAFARI
from pharos.wire.reality.records import CHANGE_CIPHER_SPEC, ContentType, RecordWriter
from pharos.wire.reality.serverhello import RETRY_RANDOM, read_server_hello, write_server_hello
from tests.support.reality import FOUR, NOW, hello_in, seeded, settings, target_flight
from tests.support.strategies import quick


def a_hello() -> ClientHello:
    return hello_in(ClientConnection(settings(), now=NOW, random=seeded()).take_output())


HELLO = a_hello()
ANSWER = target_flight(HELLO).server_hello


def plain(message: bytes) -> bytes:
    return RecordWriter().plain(ContentType.HANDSHAKE, message)


def sealed(size: int) -> bytes:
    return b"\x17\3\3" + (size - 5).to_bytes(2, "big") + bytes(size - 5)


def answer(*sizes: int) -> bytes:
    return plain(ANSWER.raw) + CHANGE_CIPHER_SPEC + b"".join(sealed(size) for size in sizes)


def changed(random: bytes = bytes(32), **fields: object) -> TargetFlight:
    usual: dict[str, object] = {"session_id": HELLO.session_id, "suite": 0x1301, "group": 0x1D, "share": bytes(32)}
    usual |= fields
    share = pack((usual.pop("group"),)) + (b"" if random == RETRY_RANDOM else vector(2, usual.pop("share")))  # type: ignore[arg-type]
    usual.pop("share", None)
    extensions = write_extensions({Extension.KEY_SHARE: share, Extension.SUPPORTED_VERSIONS: b"\3\4"})
    message = write_server_hello(random=random, extensions=extensions, **usual)  # type: ignore[arg-type]
    return TargetFlight(server_hello=read_server_hello(message), records=FOUR)


@pytest.mark.parametrize("step", [1, 13, 100_000])
@pytest.mark.parametrize(
    ("sizes", "known"),
    [
        ((100, 900, 286, 74), (100, 900, 286, 74)),
        ((100, 900, 286, 74, 255), (100, 900, 286, 74, 255)),
        # Above 512 octets the first one is all of the flight; what follows it is not looked at.
        ((513,), (513,)),
        ((3500, 255), (3500,)),
    ],
)
def test_a_flight_is_known_when_its_last_length_is(sizes: tuple[int, ...], known: tuple[int, ...], step: int) -> None:
    recorder, found = FlightRecorder(), None
    data = answer(*sizes)
    if step == 1 and len(sizes) == 5:
        # Octet by octet, nothing of the ticket is there when the fourth record ends.
        known = known[:4]
    for start in range(0, len(data), step):
        found = recorder.feed(data[start : start + step])
        if found is not None:
            break
    assert found is not None
    assert found.records == known
    assert found.server_hello == ANSWER
    found.check(HELLO)


def test_a_ticket_whose_head_is_cut_is_waited_for() -> None:
    recorder = FlightRecorder()
    assert recorder.feed(answer(100, 900, 286, 74) + b"\x17\3") is None
    found = recorder.feed(b"\3\0\xfa")
    assert found is not None
    assert found.records == (100, 900, 286, 74, 255)


def test_a_long_first_record_is_known_by_its_head() -> None:
    recorder = FlightRecorder()
    assert recorder.feed(answer(3500)[: -(3500 - 5)]) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"\x15\3\3\0\2\2\x28",
        b"HTTP/1.1 400 Bad Request",
        b"\x16\3\3\x40\0",
        plain(HELLO.raw),
        plain(ANSWER.raw + b"\x08\0\0\0"),
        plain(ANSWER.raw[:-3]),
        plain(ANSWER.raw) + b"\x17\3\3\0\x20" + bytes(32),
        plain(ANSWER.raw) + b"\x14\3\3\0\1\2",
        plain(ANSWER.raw) + CHANGE_CIPHER_SPEC + b"\x15\3\3\0\2\2\x28",
        answer(100) + b"\x17\3\3\x42\0",
        plain(changed(RETRY_RANDOM).server_hello.raw),
    ],
)
def test_what_is_no_flight_of_a_target_is_refused(data: bytes) -> None:
    with pytest.raises(TargetError):
        FlightRecorder().feed(data)


@pytest.mark.parametrize(
    ("flight", "reason"),
    [
        (changed(session_id=bytes(32)), "session id"),
        (changed(suite=0x1304), "cipher suite"),
        (changed(group=0x17, share=bytes(65)), "group"),
        (changed(share=bytes(31)), "group"),
        (changed(RETRY_RANDOM), "another hello"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_a_node_cannot_give_is_refused(flight: TargetFlight, reason: str) -> None:
    with pytest.raises(TargetError, match=reason):
        flight.check(HELLO)


def test_an_answer_in_a_group_without_a_share_is_refused() -> None:
    client = ClientConnection(settings(parrot=SAFARI, post_quantum=False), now=NOW, random=seeded())
    hello = hello_in(client.take_output())
    flight = changed(session_id=hello.session_id, group=0x11EC, share=bytes(1120))
    with pytest.raises(TargetError, match="no share"):
        flight.check(hello)


def test_a_suite_that_the_hello_does_not_offer_is_refused() -> None:
    hello = attrs.evolve(HELLO, suites=(0x1301,))
    with pytest.raises(TargetError, match="cipher suite"):
        target_flight(hello, suite=0x1302).check(hello)


def test_a_flight_has_one_four_or_five_records() -> None:
    for count in (0, 2, 3, 6):
        with pytest.raises(TargetError):
            TargetFlight(server_hello=ANSWER, records=(100,) * count)


@given(st.lists(st.binary(max_size=60), max_size=10), st.integers(0, 300))
@quick
def test_no_octets_raise_anything_but_a_target_error(pieces: list[bytes], good: int) -> None:
    recorder = FlightRecorder()
    try:
        for piece in (answer(100, 900)[:good], *pieces):
            recorder.feed(piece)
    except TargetError:
        pass
