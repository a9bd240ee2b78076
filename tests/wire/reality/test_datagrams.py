import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.datagrams import MAX_SENT_DATAGRAM, DatagramReader, render_datagram
from tests.support.strategies import quick
from tests.wire.reality.proxied import rechunked


@quick
@given(st.lists(st.binary(max_size=100)), st.lists(st.integers(1, 50)))
def test_datagrams_keep_their_bounds_however_the_stream_is_cut(datagrams, sizes):
    reader = DatagramReader()
    stream = b"".join(map(render_datagram, datagrams))
    found = [datagram for piece in rechunked(stream, sizes) for datagram in reader.receive_data(piece)]
    assert found == datagrams
    assert reader.is_between


def test_the_longest_datagram_a_peer_may_send_is_read():
    reader = DatagramReader()
    assert reader.receive_data(b"\xff\xff" + bytes(65534)) == []
    assert not reader.is_between
    assert reader.receive_data(b"\0") == [bytes(65535)]


def test_we_send_no_datagram_that_a_peer_would_drop():
    assert render_datagram(bytes(MAX_SENT_DATAGRAM))[:2] == (8190).to_bytes(2, "big")
    with pytest.raises(LocalProtocolError, match="at most 8190"):
        render_datagram(bytes(MAX_SENT_DATAGRAM + 1))
