from pharos.wire.awg.counting import MAX_COUNTED, CountTeller

PEERS = [number.to_bytes(32, "big") for number in range(2 * MAX_COUNTED + 10)]


def told(teller, peers, received):
    return [event.peer for event in teller.tell((peer, received, 0) for peer in peers)]


def test_a_peer_is_told_of_when_it_has_carried_something_and_not_again():
    teller = CountTeller()
    assert told(teller, PEERS[:3], 0) == []
    (event,) = teller.tell([(PEERS[0], 7, 9)])
    assert (event.peer, event.received_bytes, event.sent_bytes) == (PEERS[0], 7, 9)
    assert teller.tell([(PEERS[0], 7, 9)]) == []
    assert len(teller.tell([(PEERS[0], 7, 10)])) == 1


def test_of_many_peers_those_that_have_waited_longest_come_first():
    teller = CountTeller()
    first, second, third = (told(teller, PEERS, look) for look in (1, 2, 3))
    assert first + second + third[:10] == PEERS
    # Those of the first look have moved since, and come after those that were never told of.
    assert third[10:] == PEERS[: MAX_COUNTED - 10]


def test_a_peer_that_was_removed_is_forgotten():
    teller = CountTeller()
    assert told(teller, PEERS, 1) == PEERS[:MAX_COUNTED]
    assert told(teller, PEERS[:1], 1) == []
    assert told(teller, [], 1) == []
    # One of the same key is another.
    assert told(teller, PEERS[:1], 1) == PEERS[:1]
