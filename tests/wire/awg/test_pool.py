"""A client that hears nothing tries the peer's other ways."""

import itertools
import os

import attrs
import pytest

from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.pool import Silence, Way, endpoints
from pharos.wire.errors import ParameterError

HERE = Way(host="192.0.2.1", first_port=443, last_port=443)
THERE = Way(host="2001:db8::1", first_port=1000, last_port=1009)
STATUS = PeerStatus(
    public_key=bytes(32), endpoint=None, last_handshake_ns=None, session_age=None, received_bytes=0, sent_bytes=0
)


def test_ways_are_tried_in_turn_and_all_ports_come_up():
    tried = list(itertools.islice(endpoints([HERE, THERE], os.urandom), 400))
    assert tried[::2] == [("192.0.2.1", 443)] * 200
    assert set(tried[1::2]) == {("2001:db8::1", port) for port in range(1000, 1010)}


@pytest.mark.parametrize(
    ("host", "first", "last"), [("node.example", 1, 2), ("192.0.2.1", 0, 2), ("192.0.2.1", 2, 65536), ("::1", 3, 2)]
)
def test_impossible_ways_are_refused(host, first, last):
    with pytest.raises(ParameterError):
        Way(host=host, first_port=first, last_port=last)


def test_a_pool_without_a_way_is_refused():
    with pytest.raises(ParameterError):
        next(endpoints([], os.urandom))


@pytest.mark.parametrize(
    ("looks", "silent"),
    [
        ([(148, 0), (148, 0), (148, 0)], [False, True, False]),
        ([(148, 0), (0, 0), (148, 0)], [False, False, False]),
        ([(148, 0), (148, 92), (148, 0)], [False, False, False]),
        ([(0, 32), (0, 0), (0, 0)], [False, False, False]),
    ],
    ids=["in vain", "nothing to say", "answered", "listening"],
)
def test_only_what_was_sent_in_vain_again_and_again_is_silence(looks, silent):
    silence, status, found = Silence(STATUS), STATUS, []
    for sent, received in looks:
        status = attrs.evolve(
            status, sent_bytes=status.sent_bytes + sent, received_bytes=status.received_bytes + received
        )
        found.append(silence.look(status))
    assert found == silent
