import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.xudp import MAX_SENT_DATAGRAM, Datagram, Frame, FrameReader, Status, XudpEnd
from tests.support.strategies import quick
from tests.wire.reality.proxied import addresses, rechunked

GLOBAL_ID = b"12345678"
DNS = Address("198.51.100.1", 53)
NAMED = Address("dns.test", 53)

datagrams = st.builds(Datagram, addresses, st.binary(max_size=80))
contents = st.none() | st.binary(max_size=80)
sessions = st.integers(0, 65535)
frames = st.one_of(
    st.builds(
        Frame,
        status=st.just(Status.NEW),
        session=sessions,
        address=addresses,
        global_id=st.binary(min_size=8, max_size=8),
        data=contents,
    ),
    st.builds(Frame, status=st.just(Status.KEEP), session=sessions, address=st.none() | addresses, data=contents),
    st.builds(Frame, status=st.sampled_from([Status.END, Status.KEEP_ALIVE]), session=sessions, data=contents),
)


@quick
@given(st.lists(frames), st.lists(st.integers(1, 90)))
def test_frames_survive_their_way_however_the_stream_is_cut(script, sizes):
    reader = FrameReader()
    stream = b"".join(frame.render() for frame in script)
    assert [frame for piece in rechunked(stream, sizes) for frame in reader.receive_data(piece)] == script
    assert reader.is_between


@quick
@given(st.lists(st.binary(max_size=100), max_size=6), st.booleans())
def test_any_octets_are_frames_or_refused(pieces, client):
    end = XudpEnd(client=client)
    for piece in [Frame(status=Status.NEW, address=DNS).render() if not client else b"", *pieces]:
        try:
            end.receive_data(piece)
        except RemoteProtocolError:
            return


@quick
@given(st.lists(st.tuples(st.booleans(), datagrams)))
def test_datagrams_keep_their_bounds_and_addresses_in_both_directions(script):
    client, server = XudpEnd(client=True, global_id=GLOBAL_ID), XudpEnd(client=False)
    begun = False
    for from_client, datagram in script:
        begun |= from_client
        if not begun:
            continue
        sender, receiver = (client, server) if from_client else (server, client)
        assert receiver.receive_data(sender.send_datagram(datagram)) == [datagram]
    assert server.target == client.target
    assert server.global_id == (GLOBAL_ID if begun else bytes(8))


def test_octets_of_frames_are_those_xray_was_seen_to_take():
    client = XudpEnd(client=True)
    at = Address("127.77.0.1", 44399)
    assert client.send_datagram(Datagram(at, b"q1")).hex() == "00140000010102ad6f017f4d0001" + "00" * 8 + "00027131"
    assert client.send_datagram(Datagram(at, b"q2")).hex() == "000c0000020102ad6f017f4d000100027132"
    assert client.send_end().hex() == "000400000300"
    # What Xray answers, from the address that answers.
    answer = bytes.fromhex("000c0000020102ad6f017f4d000100034571 31".replace(" ", ""))
    assert client.receive_data(answer) == [Datagram(at, b"Eq1")]


def test_a_datagram_without_an_address_comes_from_the_first_target():
    client = XudpEnd(client=True)
    client.send_datagram(Datagram(NAMED, b"q"))
    assert client.receive_data(Frame(status=Status.KEEP, data=b"a").render()) == [Datagram(NAMED, b"a")]


def test_a_frame_new_may_leave_its_global_id_out_and_metadata_may_be_padded():
    plain = bytes.fromhex("000c0000010102003501c63364010001") + b"q"
    server = XudpEnd(client=False)
    assert server.receive_data(plain) == [Datagram(DNS, b"q")]
    assert server.global_id == bytes(8)
    padded = bytes.fromhex("00200000020102003501c6336401") + bytes(20) + b"\0\1q"
    assert server.receive_data(padded) == [Datagram(DNS, b"q")]


def test_keep_alive_and_what_comes_after_the_end_count_for_nothing():
    server = XudpEnd(client=False)
    first = Frame(status=Status.NEW, address=DNS, data=b"1").render()
    alive = Frame(status=Status.KEEP_ALIVE, data=b"x").render()
    late = Frame(status=Status.KEEP, address=DNS, data=b"2").render()
    assert server.receive_data(alive + first + alive) == [Datagram(DNS, b"1")]
    assert not server.ended
    assert server.receive_data(server.send_end() + late) == []
    assert server.ended


def test_an_empty_datagram_is_one_and_a_frame_without_data_is_none():
    server = XudpEnd(client=False)
    assert server.receive_data(Frame(status=Status.NEW, address=DNS).render()) == []
    assert server.receive_data(Frame(status=Status.KEEP, data=b"").render()) == [Datagram(DNS, b"")]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\0\3", "metadata of 3 octets"),
        (b"\2\1", "metadata of 513 octets"),
        (b"\0\4\0\0\5\0", "no status 5"),
        (b"\0\4\0\0\1\0", "carry UDP here"),
        (b"\0\5\0\0\1\0\1", "carry UDP here"),
        (b"\0\5\0\0\2\0\1", "carry UDP here"),
        (b"\0\7\0\0\1\0\2\0\1", "the address is cut off"),
        (b"\0\x08\0\0\1\0\2\0\1\7", "7 is no type of address"),
        (b"\0\4\0\0\2\1\0\1x", "the first frame is not NEW"),
        (b"\0\4\0\1\3\0", "no session 1"),
    ],
)
def test_a_refusal_says_what_is_wrong(data, what):
    with pytest.raises(RemoteProtocolError, match=what):
        XudpEnd(client=False).receive_data(data)


def test_only_a_client_begins_and_only_once():
    new = Frame(status=Status.NEW, address=DNS, data=b"1").render()
    with pytest.raises(RemoteProtocolError, match="out of place"):
        XudpEnd(client=True).receive_data(new)
    with pytest.raises(RemoteProtocolError, match="out of place"):
        XudpEnd(client=False).receive_data(new + new)
    with pytest.raises(LocalProtocolError, match="has not begun"):
        XudpEnd(client=False).send_datagram(Datagram(DNS, b"1"))


def test_we_send_no_datagram_that_would_break_a_peer_and_the_next_one_goes():
    client = XudpEnd(client=True)
    with pytest.raises(LocalProtocolError, match="at most 7526"):
        client.send_datagram(Datagram(DNS, bytes(MAX_SENT_DATAGRAM + 1)))
    # It was the first: what goes next is NEW all the same.
    frame = client.send_datagram(Datagram(DNS, bytes(MAX_SENT_DATAGRAM)))
    assert frame[4] == Status.NEW
    assert XudpEnd(client=False).receive_data(frame) == [Datagram(DNS, bytes(MAX_SENT_DATAGRAM))]


def test_we_make_no_frame_that_contradicts_itself():
    with pytest.raises(LocalProtocolError):
        Frame(status=Status.NEW)
    with pytest.raises(LocalProtocolError):
        Frame(status=Status.NEW, address=DNS, global_id=b"short")
