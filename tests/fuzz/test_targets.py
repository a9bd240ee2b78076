import itertools

import pytest

from tests.fuzz import tlsends, tlshellos, traffic
from tests.fuzz.mutate import mutations
from tests.fuzz.targets import TARGETS, Target
from tests.support.reality import NOW, gate


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_keeps_its_promise_for_the_first_inputs(name):
    target = TARGETS[name]
    for data in itertools.islice(mutations(target.seeds, target.tokens, seed=1), 150):
        target.run(data)


def test_the_mutator_gives_the_same_inputs_for_the_same_seed_and_finds_what_is_near():
    assert list(itertools.islice(mutations((b"abc",), (), 7), 50)) == list(
        itertools.islice(mutations((b"abc",), (), 7), 50)
    )

    def fragile(data: bytes) -> None:
        assert b"PostUp" not in data or len(data) < 20

    broken = Target(fragile, (b"[Interface]\nMTU = 1400\n",), (b"PostUp",))
    with pytest.raises(AssertionError):
        for data in itertools.islice(mutations(broken.seeds, broken.tokens, 1), 1000):
            broken.run(data)


def test_a_broken_promise_is_noticed(monkeypatch):
    # A device that believes everybody would be told from one that does not.
    network, hosts = traffic.scene(0)
    genuine = network.sent[-1].datagram
    monkeypatch.setattr(traffic, "_datagram", lambda network, host, choice, rest: network.sent[0].datagram)
    monkeypatch.setattr(
        type(hosts[1].device), "receive_datagram", lambda device, *_: device._context.output.packets.append(genuine)
    )
    with pytest.raises(AssertionError):
        traffic.stranger(bytes(2))
    hosts[0].device.take_output()


def test_a_device_that_believes_any_finished_is_noticed(monkeypatch):
    data = next(seed for seed in tlsends.to_devices() if seed[0] == tlsends.SEALED << 2)
    genuine = tlsends.handshake().messages[-1]
    touched = data.replace(genuine[-8:], bytes(8))
    assert touched != data
    tlsends.device(data)
    tlsends.device(touched)
    monkeypatch.setattr("pharos.wire.reality.client.hmac.compare_digest", lambda *_: True)
    tlsends.device(data)
    with pytest.raises(AssertionError, match="believed somebody else"):
        tlsends.device(touched)


def test_a_gate_that_opens_to_anybody_is_noticed(monkeypatch):
    device, stranger, *_ = tlshellos.hellos()
    tlshellos.client_hello(device)
    tlshellos.client_hello(stranger)
    opened = gate().judge(tlshellos.device_hello(), now=NOW)
    monkeypatch.setattr("pharos.wire.reality.auth._open_mark", lambda *_: opened)
    tlshellos.client_hello(device)
    with pytest.raises(AssertionError):
        tlshellos.client_hello(stranger)
