import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.ids import FleetId, TicketId
from pharos.wire.passage.metadata import (
    FINGERPRINT_HEADER,
    PURPOSE_HEADER,
    PassageRequest,
    Purpose,
    read_metadata,
    read_retry,
)
from tests.support.strategies import quick

FLEET = FleetId("0123456789abcdef")
TICKET = TicketId(bytes(range(8)))
DEVICE = PassageRequest(purpose=Purpose.DEVICE, fleet=FLEET)
ENROL = PassageRequest(purpose=Purpose.ENROL, fleet=FLEET, ticket_id=TICKET)
LOGIN = PassageRequest(purpose=Purpose.LOGIN, fleet=FLEET)
FINGERPRINT = "ab" * 32


def test_the_pinned_prologues_of_version_1_hold() -> None:
    assert DEVICE.prologue == b"pharos/passage/v1\x00\x06device\x00\x100123456789abcdef\x00\x00"
    assert LOGIN.prologue == b"pharos/passage/v1\x00\x05login\x00\x100123456789abcdef\x00\x00"
    assert ENROL.prologue == (
        b"pharos/passage/v1\x00\x05enrol\x00\x100123456789abcdef\x00\x08\x00\x01\x02\x03\x04\x05\x06\x07"
    )


def test_each_purpose_has_its_pattern() -> None:
    assert [purpose.protocol for purpose in Purpose] == [
        "Noise_IK_25519_ChaChaPoly_BLAKE2s",
        "Noise_NKpsk0_25519_ChaChaPoly_BLAKE2s",
        "Noise_NK_25519_ChaChaPoly_BLAKE2s",
    ]


def test_whatever_differs_gives_another_prologue() -> None:
    requests = [DEVICE, LOGIN, ENROL]
    requests.append(PassageRequest(purpose=Purpose.DEVICE, fleet=FleetId("f" * 16)))
    requests.append(PassageRequest(purpose=Purpose.ENROL, fleet=FLEET, ticket_id=TicketId(bytes(8))))
    for one, other in itertools.combinations(requests, 2):
        assert one.prologue != other.prologue


@pytest.mark.parametrize("request_", [DEVICE, ENROL, LOGIN], ids=lambda request: request.purpose.value)
def test_a_request_is_read_again(request_: PassageRequest) -> None:
    assert PassageRequest.parse(request_.metadata, FLEET) == request_


@quick
@given(text=st.text(max_size=30) | st.from_regex(r"(device|login|enrol)(\.[0-9a-fA-F]*)?\n?", fullmatch=True))
def test_a_request_has_one_spelling(text: str) -> None:
    try:
        request = PassageRequest.parse(text, FLEET)
    except RemoteProtocolError:
        return
    assert request.metadata == text


@pytest.mark.parametrize(
    ("purpose", "ticket_id"),
    [(Purpose.DEVICE, TICKET), (Purpose.LOGIN, TICKET), (Purpose.ENROL, None), (Purpose.ENROL, TicketId(bytes(7)))],
)
def test_a_ticket_id_goes_with_enrolment_only(purpose: Purpose, ticket_id: TicketId | None) -> None:
    with pytest.raises(LocalProtocolError):
        PassageRequest(purpose=purpose, fleet=FLEET, ticket_id=ticket_id)


@pytest.mark.parametrize("request_", [ENROL, LOGIN], ids=lambda request: request.purpose.value)
def test_only_a_device_needs_a_certificate(request_: PassageRequest) -> None:
    anonymous = MultiDict({PURPOSE_HEADER: request_.metadata})
    assert read_metadata(anonymous, FLEET) == (request_, None)
    known = MultiDict({PURPOSE_HEADER: request_.metadata, FINGERPRINT_HEADER: FINGERPRINT})
    assert read_metadata(known, FLEET) == (request_, FINGERPRINT)
    with pytest.raises(RemoteProtocolError):
        read_metadata(MultiDict({PURPOSE_HEADER: DEVICE.metadata}), FLEET)


@pytest.mark.parametrize("spelling", ["X-Passage", "x_passage", "x-passage-bin", "x-passage "])
def test_another_spelling_of_the_header_says_nothing(spelling: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_metadata(MultiDict({spelling: "login"}), FLEET)


@pytest.mark.parametrize(
    "fingerprints",
    [[FINGERPRINT, FINGERPRINT], [FINGERPRINT.upper()], [FINGERPRINT + "\n"], [f"{FINGERPRINT}, {FINGERPRINT}"], [""]],
)
@pytest.mark.parametrize("request_", [DEVICE, ENROL, LOGIN], ids=lambda request: request.purpose.value)
def test_a_fingerprint_is_one_and_well_formed(request_: PassageRequest, fingerprints: list[str]) -> None:
    metadata = MultiDict({PURPOSE_HEADER: request_.metadata})
    for fingerprint in fingerprints:
        metadata.add(FINGERPRINT_HEADER, fingerprint)
    with pytest.raises(RemoteProtocolError, match="fingerprint"):
        read_metadata(metadata, FLEET)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5000", 5.0),
        ("0", 0.0),
        ("999999999", 60.0),
        ("-1", 0.0),
        ("x", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("1" * 99, 0.0),
        ("٣", 0.0),
    ],
)
def test_refusal_is_waited_for_as_long_as_it_says_and_no_longer_than_a_minute(text: object, seconds: float) -> None:
    assert read_retry(text) == seconds
