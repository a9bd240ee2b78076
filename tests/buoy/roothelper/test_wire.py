"""Acts cross the socket whole, and hostile bytes end at the first door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.roothelper.acts import (
    Act,
    AwgDump,
    Done,
    DumpAwg,
    Interface,
    Killed,
    KillSockets,
    PeerDump,
    RemoveLink,
    SetLink,
)
from pharos.buoy.roothelper.wire import (
    MAX_FRAME,
    MAX_TEXT,
    FrameReader,
    Outcome,
    Reply,
    decode_act,
    decode_reply,
    encode_act,
    encode_reply,
    shorten,
)
from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.pki.canonical import encode_canonical
from tests.buoy.roothelper.values import ACTS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
TEXTS = ["", "awg0; reboot", "eth0", "../awg0", "awg0\n", "awg10", "ssh.service", "10.7.0.1 dev eth0", "1" * 5000, "\0"]

ACT = DumpAwg(Interface.AWG0)


def body_of(act: Act) -> dict[str, Any]:
    (body,) = FrameReader().receive_data(encode_act(act))
    return body


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@given(ACTS)
def test_act_arrives_as_it_was_sent(act: Act) -> None:
    assert decode_act(body_of(act)) == act


@given(st.lists(ACTS, max_size=3), st.integers(1, 64))
def test_frames_arrive_whole_however_they_are_cut(acts: list[Act], size: int) -> None:
    data = b"".join(map(encode_act, acts))
    reader, bodies = FrameReader(), []
    for start in range(0, len(data), size):
        bodies += reader.receive_data(data[start : start + size])
    assert list(map(decode_act, bodies)) == acts


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member of every object and list, as what holds it and its name there."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places_in(inner)


@given(ACTS, st.data())
def test_value_that_is_exchanged_is_refused_or_is_a_value_of_its_type(act: Act, data: st.DataObject) -> None:
    body = body_of(act)
    holder, key = data.draw(st.sampled_from(list(places_in(body))))
    holder[key] = data.draw(JSON | st.sampled_from(TEXTS))
    try:
        taken = decode_act(body)
    except ValueError:
        return
    # Whatever passes is an act of ours, spelt as we spell it.
    assert body_of(taken) == body


@given(JSON)
def test_document_that_is_no_act_is_refused(document: object) -> None:
    with pytest.raises(ValueError):
        decode_act({"kind": document} if not isinstance(document, dict) else document)


@given(ACTS, st.text(min_size=1, max_size=8), JSON)
def test_member_too_many_is_refused(act: Act, name: str, value: object) -> None:
    body = body_of(act)
    if name not in body:
        with pytest.raises(ValueError, match="and these only"):
            decode_act(body | {name: value})


@given(ACTS, st.data())
def test_member_too_few_is_refused(act: Act, data: st.DataObject) -> None:
    body = body_of(act)
    del body[data.draw(st.sampled_from(sorted(body)))]
    with pytest.raises(ValueError):
        decode_act(body)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waits_for_more(data: bytes) -> None:
    reader = FrameReader()
    try:
        bodies = reader.receive_data(data)
    except RemoteProtocolError:
        return
    for body in bodies:
        with pytest.raises(ValueError):
            decode_act(body)


@pytest.mark.parametrize(
    "document",
    [
        b'{"interface":"awg0","interface":"awg1","kind":"DumpAwg"}',
        b'{"kind":"DumpAwg","interface":"awg0"}',
        b'{"interface": "awg0","kind":"DumpAwg"}',
        b'{"interface":"\\u0061wg0","kind":"DumpAwg"}',
        b"[]",
        b"",
        b"\xff",
        b'{"a":NaN}',
        b'{"a":' * 100_000,
        b'{"a":' + b"1" * 10_000 + b"}",
    ],
)
def test_second_spelling_of_a_document_ends_the_connection(document: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        FrameReader().receive_data(frame(document))


def test_frame_that_is_too_long_is_refused_before_it_has_arrived() -> None:
    with pytest.raises(RemoteProtocolError, match="longer than"):
        FrameReader().receive_data((MAX_FRAME + 1).to_bytes(4, "big"))
    assert FrameReader().receive_data(MAX_FRAME.to_bytes(4, "big")) == []


def test_act_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.buoy.roothelper.wire.MAX_FRAME", 20)
    with pytest.raises(LocalProtocolError, match="more than the root helper takes"):
        encode_act(RemoveLink(Interface.AWG0))


@pytest.mark.parametrize(
    ("act", "name", "value"),
    [
        (ACT, "kind", "Shell"),
        (ACT, "kind", "Performer"),
        (ACT, "kind", ["DumpAwg"]),
        (SetLink(interface=Interface.AWG0, mtu=1420), "mtu", True),
        (SetLink(interface=Interface.AWG0, mtu=1420), "mtu", 1420.0),
        (SetLink(interface=Interface.AWG0, mtu=1420), "addresses", ["10.7.0.1/255.255.255.0"]),
        (SetLink(interface=Interface.AWG0, mtu=1420), "addresses", ["FD07::1/64"]),
        (SetLink(interface=Interface.AWG0, mtu=1420), "addresses", ["fd07::1%x/64"]),
        (SetLink(interface=Interface.AWG0, mtu=1420), "addresses", ["\u0661\u0660.7.0.1/24"]),
        (SetLink(interface=Interface.AWG0, mtu=1420), "addresses", [167772161]),
        (SetLink(interface=Interface.AWG0, mtu=1420), "networks", ["10.7.0.1/24"]),
        (SetLink(interface=Interface.AWG0, mtu=1420), "networks", {"10.7.0.0/24": 1}),
        (KillSockets(()), "sockets", [{"local": None, "remote": None}]),
    ],
)
def test_value_in_another_spelling_is_refused(act: Act, name: str, value: object) -> None:
    with pytest.raises(ValueError):
        decode_act(body_of(act) | {name: value})


@pytest.mark.parametrize("answer", [Done(), Killed(3), AwgDump(port=443)])
def test_reply_arrives_as_it_was_sent(answer: Done | Killed | AwgDump) -> None:
    acts: dict[type, Act] = {
        Done: RemoveLink(Interface.AWG0),
        Killed: KillSockets(()),
        AwgDump: DumpAwg(Interface.AWG0),
    }
    reply = Reply(Outcome.OK, answer=answer)
    (body,) = FrameReader().receive_data(encode_reply(reply))
    assert decode_reply(body, acts[type(answer)]) == reply
    for kind, act in acts.items():
        if kind is not type(answer):
            with pytest.raises(RemoteProtocolError, match="answered"):
                decode_reply(body, act)


def test_refusal_has_a_text_and_no_answer() -> None:
    reply = Reply(Outcome.REFUSED, "no such thing")
    (body,) = FrameReader().receive_data(encode_reply(reply))
    assert decode_reply(body, RemoveLink(Interface.AWG0)) == reply
    with pytest.raises(ValueError, match="no other has one"):
        Reply(Outcome.REFUSED, "no", Done())
    with pytest.raises(ValueError, match="no other has one"):
        Reply(Outcome.OK)


@given(JSON)
def test_reply_that_is_none_is_the_helpers_fault(document: object) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_reply({"outcome": "ok", "text": "", "answer": document}, ACT)


@given(st.text())
def test_any_text_is_shortened_to_what_a_reply_may_hold(text: str) -> None:
    assert len(shorten(text)) <= MAX_TEXT
    Reply(Outcome.FAILED, shorten(text))


def test_dump_of_the_largest_node_fits_into_a_frame() -> None:
    peers = tuple(
        PeerDump(public_key=number.to_bytes(32, "big"), last_handshake=2**40, received=2**60, sent=2**60)
        for number in range(20_000)
    )
    assert len(encode_reply(Reply(Outcome.OK, answer=AwgDump(port=443, peers=peers)))) < MAX_FRAME


def test_canonical_json_is_what_is_sent() -> None:
    data = encode_act(DumpAwg(Interface.AWG0))
    assert data == frame(encode_canonical({"interface": "awg0", "kind": "DumpAwg"}))
