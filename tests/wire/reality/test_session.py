import math
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from pharos.wire.reality.accounts import Account, Accounts
from pharos.wire.reality.session import (
    FIRST_PAYLOAD_TIMEOUT,
    ClientSession,
    Outgoing,
    PayloadReceived,
    RawFollows,
    RequestReceived,
    ResponseReceived,
    ServerSession,
)
from pharos.wire.reality.vless import Command, Flow, Request
from tests.support.strategies import quick
from tests.wire.reality.proxied import (
    OTHER_ID,
    TARGET,
    USER_ID,
    Wire,
    contexts,
    data_record,
    hello,
    payload_of,
    payloads,
    randomness,
)


def request_of(flow=Flow.VISION, command=Command.TCP, user_id=USER_ID):
    return Request(user_id=user_id, command=command, target=None if command is Command.MUX else TARGET, flow=flow)


def accounts_with(flow=Flow.VISION):
    return Accounts([Account(name="ada", user_id=USER_ID, flow=flow)])


def pair(flow=Flow.VISION, now=0.0):
    client = ClientSession(request_of(flow), random=randomness(1), now=now)
    return client, ServerSession(accounts_with(flow), random=randomness(2))


@quick
@given(
    st.sampled_from(Flow),
    st.lists(st.tuples(st.booleans(), payloads), min_size=1, max_size=20),
    st.lists(st.integers(1, 9000), max_size=4),
)
def test_both_ends_get_what_the_other_was_given_however_records_are_cut(flow, script, sizes):
    client, server = pair(flow)
    up, down = Wire(sizes), Wire(sizes)
    up.put(client.tick(FIRST_PAYLOAD_TIMEOUT))
    [first, *_] = up.drain(server)
    assert first == RequestReceived(request_of(flow), next(iter(accounts_with(flow))))
    answered = False
    for from_client, data in script:
        sender, receiver, wire = (client, server, up) if from_client else (server, client, down)
        wire.put(sender.send_data(data))
        events = wire.drain(receiver)
        if not from_client and not answered:
            answered = True
            assert events.pop(0) == ResponseReceived()
        assert payload_of(events) == data
    for sender, receiver, wire in ((client, server, up), (server, client, down)):
        assert sender.sends_raw == receiver.receives_raw
        wire.put(sender.send_end())
        wire.drain(receiver)
        receiver.receive_end()


def test_the_request_travels_with_the_first_payload_and_the_response_with_its_own():
    client, server = pair(Flow.NONE)
    sent = client.send_data(b"GET /")
    assert sent.data.endswith(b"GET /")
    assert client.due == math.inf
    request, data = server.receive_data(sent.data)
    assert request == RequestReceived(request_of(Flow.NONE), next(iter(accounts_with(Flow.NONE))))
    assert data == PayloadReceived(b"GET /")
    assert server.send_data(b"200") == Outgoing(b"\0\x00200")
    assert server.send_data(b"OK") == Outgoing(b"OK")
    assert client.receive_data(b"\0\x00200") == [ResponseReceived(), PayloadReceived(b"200")]


@pytest.mark.parametrize("flow", Flow)
def test_a_request_without_payload_goes_after_half_a_second_and_not_before(flow):
    client, server = pair(flow, now=7.0)
    assert client.due == 7.5
    assert client.tick(7.4) == Outgoing(b"")
    sent = client.tick(7.5)
    assert client.due == math.inf
    assert client.tick(99.0) == Outgoing(b"")
    [received] = server.receive_data(sent.data)
    assert isinstance(received, RequestReceived)
    # Under Vision a block without content blurs how long the request is.
    head = len(request_of(flow).render())
    assert (len(sent.data) == head) if flow is Flow.NONE else (head + 21 + 900 <= len(sent.data) < head + 21 + 1400)
    # A server that speaks first is heard.
    answer = server.send_data(b"220 ready").data
    assert client.receive_data(answer) == [ResponseReceived(), PayloadReceived(b"220 ready")]


def test_a_payload_makes_the_empty_block_needless():
    client, _ = pair()
    client.send_data(b"x")
    assert client.tick(9.0) == Outgoing(b"")


def test_the_outer_tls_ends_for_each_direction_on_its_own():
    client, server = pair()
    server.receive_data(client.send_data(hello(1)).data)
    client.receive_data(server.send_data(hello(2)).data)
    last = client.send_data(data_record(100))
    assert (last.raw, client.sends_raw) == (False, True)
    assert server.receive_data(last.data) == [PayloadReceived(data_record(100)), RawFollows()]
    assert (server.receives_raw, server.sends_raw, client.receives_raw) == (True, False, False)
    raw = client.send_data(b"more")
    assert raw == Outgoing(b"more", raw=True)
    assert server.receive_data(raw.data) == [PayloadReceived(b"more")]
    assert not server.send_data(b"not whole records").raw


@pytest.mark.parametrize(
    ("version", "raw"), [(ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, False)], ids=["1.3", "1.2"]
)
def test_real_tls_inside_leaves_the_outer_tls_if_it_is_1_3(version, raw):
    server_context, client_context = contexts(version)
    near_in, near_out, far_in, far_out = (ssl.MemoryBIO() for _ in range(4))
    near = client_context.wrap_bio(near_in, near_out, server_hostname="localhost")
    far = server_context.wrap_bio(far_in, far_out, server_side=True)
    client, server = pair()
    up, down = Wire([1400]), Wire([3, 4000])

    def carry():
        moved = False
        for session, peer, wire, out, into in (
            (client, server, up, near_out, far_in),
            (server, client, down, far_out, near_in),
        ):
            if data := out.read():
                wire.put(session.send_data(data))
                into.write(payload_of(wire.drain(peer)))
                moved = True
        return moved

    def until_done(step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                if not carry():
                    raise

    finished = []
    while len(finished) < 2:
        for end in (near, far):
            if end not in finished:
                try:
                    end.do_handshake()
                    finished.append(end)
                except ssl.SSLWantReadError:
                    pass
        carry()
    for _ in range(3):
        near.write(b"question " * 500)
        carry()
        assert until_done(lambda: far.read(9 * 500)) == b"question " * 500
        far.write(b"answer " * 5000)
        carry()
        got = b""
        while len(got) < 7 * 5000:
            got += until_done(lambda: near.read(65536))
        assert got == b"answer " * 5000
    assert (client.sends_raw, server.sends_raw, client.receives_raw, server.receives_raw) == (raw,) * 4


def test_a_stranger_is_refused_before_anything_is_said():
    server = ServerSession(accounts_with(), random=randomness())
    with pytest.raises(RemoteProtocolError, match="nobody"):
        server.receive_data(request_of(user_id=OTHER_ID).render())
    with pytest.raises(LocalProtocolError, match="before the request"):
        server.send_data(b"x")


def test_the_first_block_is_for_the_user_id_as_the_client_sent_it():
    routed = USER_ID[:6] + b"\x12\x34" + USER_ID[8:]
    client = ClientSession(request_of(user_id=routed), random=randomness(), now=0.0)
    server = ServerSession(accounts_with(), random=randomness())
    assert payload_of(server.receive_data(client.send_data(b"x").data)) == b"x"
    answer = server.send_data(b"y").data
    assert answer[2:18] == routed
    assert payload_of(client.receive_data(answer)) == b"y"


@pytest.mark.parametrize(
    ("account", "flow", "command", "allowed"),
    [
        (Flow.VISION, Flow.VISION, Command.TCP, True),
        (Flow.VISION, Flow.VISION, Command.MUX, True),
        (Flow.VISION, Flow.NONE, Command.TCP, False),
        (Flow.VISION, Flow.NONE, Command.UDP, True),
        (Flow.VISION, Flow.NONE, Command.MUX, True),
        (Flow.NONE, Flow.NONE, Command.TCP, True),
        (Flow.NONE, Flow.VISION, Command.TCP, False),
        (Flow.NONE, Flow.VISION, Command.MUX, False),
    ],
)
def test_an_account_gets_its_own_flow_only_but_for_udp(account, flow, command, allowed):
    server = ServerSession(accounts_with(account), random=randomness())
    data = request_of(flow, command).render()
    if allowed:
        assert isinstance(server.receive_data(data)[0], RequestReceived)
    else:
        with pytest.raises(RemoteProtocolError, match="the account has"):
            server.receive_data(data)


def test_an_end_in_the_middle_is_not_taken_for_one():
    client, server = pair()
    with pytest.raises(TruncatedError, match="without a whole request or response"):
        client.receive_end()
    sent = client.send_data(b"hello").data
    server.receive_data(sent[:-1])
    with pytest.raises(TruncatedError, match="inside a block"):
        server.receive_end()
    server.receive_data(sent[-1:])
    server.receive_end()


def test_an_end_without_payload_says_the_request_and_the_response_first():
    client, server = pair()
    [received] = server.receive_data(client.send_end().data)
    assert isinstance(received, RequestReceived)
    server.receive_end()
    assert client.receive_data(server.send_end().data) == [ResponseReceived()]
    client.receive_end()
    for session in (client, server):
        with pytest.raises(LocalProtocolError, match="after the end"):
            session.send_data(b"x")
        with pytest.raises(LocalProtocolError, match="after the end"):
            session.send_end()


@quick
@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_any_octets_are_taken_or_refused_by_either_end(pieces, plausible):
    client, server = pair()
    if plausible:
        server.receive_data(client.send_data(b"x").data)
        client.receive_data(server.send_data(b"y").data)
    for session in (client, server):
        try:
            for piece in pieces:
                session.receive_data(piece)
            session.receive_end()
        except RemoteProtocolError:
            continue
