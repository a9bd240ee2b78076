"""An engine is told what differs from the plan and no more, and is the plan then."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.dataplane.awgchange import NOTHING, change_for, differs, state_after
from pharos.buoy.dataplane.base import AwgEndpoint, AwgPlan
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.uapi import NO_PRIVATE_KEY, OFF, DeviceState, FaceState, PeerChange
from pharos.wire.ids import DeviceId
from tests.buoy.dataplane.engines import free_ports, running_engine
from tests.buoy.dataplane.plans import BEFORE, DEVICE_KEYS, NODE_KEY, NOW, OLDER, device, plain_plan, plan_of
from tests.support.strategies import quick


def endpoints(*pairs: tuple[int, ObfuscationParameters]) -> tuple[AwgEndpoint, ...]:
    return tuple(AwgEndpoint(port=port, parameters=parameters) for port, parameters in pairs)


devices = st.lists(
    st.builds(
        device,
        st.integers(0, len(DEVICE_KEYS) - 1),
        preshared_key=st.sampled_from([bytes(32), b"k" * 32]),
        rate_limit=st.sampled_from([0, 1, 8_000]),
    ),
    unique_by=lambda peer: peer.device_id,
)
served = st.lists(
    st.tuples(st.sampled_from([443, 8443, 9443]), st.sampled_from([PLAIN, NOW, BEFORE, OLDER])),
    max_size=3,
    unique_by=lambda pair: pair[0],
)
plans = st.builds(lambda peers, pairs: plan_of(*peers, endpoints=endpoints(*pairs)), devices, served)


@quick
@given(st.lists(plans, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_an_engine_is_each_plan_after_its_change(several: list[AwgPlan], has_faces: bool, has_rates: bool) -> None:
    state = DeviceState(listen_port=40000)
    for plan in several:
        change = change_for(plan, state, has_faces=has_faces, has_rates=has_rates)
        state = state_after(state, change)
        assert not differs(plan, state, has_faces=has_faces, has_rates=has_rates)
        assert has_faces or not change.faces
        assert has_rates or not any(peer.send_rate for peer in state.peers)
        everybody = {peer.public_key for peer in plan.peers.values()} if plan.endpoints else set()
        assert {peer.public_key for peer in state.peers} == everybody


@quick
@given(plans)
def test_an_engine_of_which_nothing_is_known_is_told_everything(plan: AwgPlan) -> None:
    told = state_after(attrs.evolve(DeviceState(), parameters=OLDER), change_for(plan, None))
    assert not differs(plan, told)


def test_a_peer_that_stays_is_not_named() -> None:
    state = state_after(DeviceState(), change_for(plan_of(device(0), device(1)), None))
    change = change_for(plan_of(device(1), device(2)), state)
    assert {(peer.public_key, peer.remove) for peer in change.peers} == {
        (device(0).public_key, True),
        (device(2).public_key, False),
    }
    assert (change.private_key, change.listen_port, change.parameters, change.faces) == (None, None, {}, ())


def test_peers_that_were_told_before_are_not_looked_at_unless_the_engine_has_lost_them() -> None:
    first = plan_of(device(0), device(1))
    state = state_after(DeviceState(), change_for(first, None))
    meddled = attrs.evolve(state.peers[0], send_rate=7)
    lost = attrs.evolve(state, peers=(meddled,))
    second = attrs.evolve(first, peers={**first.peers, DeviceId("d1"): device(1, rate_limit=8)})
    assert [peer.public_key for peer in change_for(second, lost, before=first).peers] == [device(1).public_key]
    assert [peer.public_key for peer in change_for(first, lost, before=first).peers] == [device(1).public_key]
    assert len(change_for(first, lost).peers) == 2


def test_only_what_changed_of_a_peer_is_said() -> None:
    before = device(0)
    state = state_after(DeviceState(), change_for(plan_of(before), None))
    more = ("10.86.0.2/32", "fd86::2/128", "192.168.7.0/24")
    cases: dict[str, tuple[Any, dict[str, Any]]] = {
        "rate_limit": (17, {"send_rate": 3, "receive_rate": 3}),
        "preshared_key": (b"n" * 32, {"preshared_key": b"n" * 32}),
        "addresses": (more, {"allowed_ips": (ip_network("192.168.7.0/24"),)}),
    }
    for field, (value, said) in cases.items():
        after = attrs.evolve(before, **{field: value})
        assert change_for(plan_of(after), state).peers == (PeerChange(public_key=before.public_key, **said),)
    fewer = attrs.evolve(before, addresses=("10.86.0.2/32",))
    (change,) = change_for(plan_of(fewer), state).peers
    assert (change.replace_allowed_ips, change.allowed_ips) == (True, (ip_network("10.86.0.2/32"),))


def test_what_somebody_else_told_a_peer_is_taken_back() -> None:
    state = state_after(DeviceState(), change_for(plan_of(device(0)), None))
    (peer,) = state.peers
    meddled = attrs.evolve(peer, persistent_keepalive=Range(25, 25), send_rate=7)
    (change,) = change_for(plan_of(device(0)), attrs.evolve(state, peers=(meddled,))).peers
    assert change == PeerChange(public_key=peer.public_key, persistent_keepalive=OFF, send_rate=0)


def test_parameters_that_stay_on_their_port_are_not_touched() -> None:
    state = state_after(DeviceState(), change_for(plan_of(), None))
    change = change_for(plan_of(endpoints=endpoints((8443, BEFORE), (443, NOW))), state)
    assert (change.listen_port, change.parameters) == (None, {})
    (face,) = change.faces
    assert (face.number, face.listen_port, face.parameters["s1"]) == (1, 8443, BEFORE.s1)


def test_old_parameters_move_to_a_face_when_the_port_gets_new_ones() -> None:
    state = state_after(DeviceState(), change_for(plan_of(), None))
    reissued = plan_of(endpoints=endpoints((443, BEFORE), (8443, NOW)))
    after = state_after(state, change_for(reissued, state))
    assert (after.listen_port, after.parameters) == (443, BEFORE)
    assert after.faces == (FaceState(number=1, listen_port=8443, parameters=NOW),)
    ended = state_after(after, change_for(plan_of(endpoints=endpoints((443, BEFORE))), after))
    assert (ended.listen_port, ended.faces) == (443, ())


def test_the_number_of_a_face_that_goes_is_not_used_again_at_once() -> None:
    first = plan_of(endpoints=endpoints((443, NOW), (8443, BEFORE)))
    state = state_after(DeviceState(), change_for(first, None))
    change = change_for(plan_of(endpoints=endpoints((443, NOW), (9443, OLDER))), state)
    assert [(face.number, face.remove) for face in change.faces] == [(1, True), (2, False)]


def test_where_a_face_serves_the_port_in_use_the_main_one_speaks_likewise_on_a_port_of_the_system() -> None:
    state = state_after(DeviceState(), change_for(plan_of(endpoints=endpoints((443, NOW))), None))
    both = state_after(state, change_for(plan_of(endpoints=endpoints((8443, BEFORE), (443, NOW))), state))
    change = change_for(plan_of(endpoints=endpoints((8443, BEFORE))), both)
    assert (change.listen_port, change.faces) == (0, ())
    after = state_after(both, change)
    assert after.parameters == BEFORE
    assert change_for(plan_of(endpoints=endpoints((8443, BEFORE))), after) == NOTHING


def test_an_engine_that_serves_nothing_has_no_key_no_peers_and_gives_its_ports_back() -> None:
    full = plan_of(device(0), endpoints=endpoints((443, NOW), (8443, BEFORE)))
    state = state_after(DeviceState(), change_for(full, None))
    after = state_after(state, change_for(plan_of(device(0), endpoints=()), state))
    assert after == DeviceState(private_key=NO_PRIVATE_KEY)
    assert change_for(plan_of(endpoints=()), after) == NOTHING


def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="must be"):
        change_for(plan_of(device(0, addresses=("nonsense",))), None)


async def test_our_engine_is_each_plan_in_turn() -> None:
    one, two, three = free_ports(3)
    turns: list[AwgPlan] = [
        plan_of(device(0), device(1), endpoints=endpoints((one, NOW))),
        plan_of(device(1, rate_limit=8000), endpoints=endpoints((one, BEFORE), (two, NOW))),
        plan_of(device(1), device(2), endpoints=endpoints((one, BEFORE), (three, OLDER), (two, NOW))),
        # Addresses change hands.
        plan_of(
            device(1, addresses=device(2).addresses),
            device(2, addresses=device(1).addresses),
            endpoints=endpoints((three, OLDER)),
        ),
        plan_of(device(1), endpoints=()),
        plain_plan(one, device(3)),
    ]
    async with running_engine(memory_link()[0]) as engine:
        for plan in turns:
            assert engine.apply(change_for(plan, engine.state())) == 0
            assert change_for(plan, engine.state()) == NOTHING
            state = engine.state()
            assert state.private_key == (NODE_KEY if plan.endpoints else NO_PRIVATE_KEY)
            ports = {state.listen_port: state.parameters} | {face.listen_port: face.parameters for face in state.faces}
            for endpoint in plan.endpoints:
                assert ports[endpoint.port] == endpoint.parameters
            # Ports that were left are closed in the engine's own time, and the next turn may want them.
            await trio.testing.wait_all_tasks_blocked()


async def test_any_port_is_whichever_the_engine_has() -> None:
    async with running_engine(memory_link()[0]) as engine:
        plan = plan_of(device(0), endpoints=endpoints((0, NOW), (0, BEFORE)))
        assert engine.apply(change_for(plan, engine.state())) == 0
        before = engine.state()
        assert change_for(plan, before) == NOTHING
        assert engine.apply(change_for(attrs.evolve(plan, peers={}), before)) == 0
        after = engine.state()
        assert (after.listen_port, after.faces) == (before.listen_port, before.faces)


def test_a_chain_of_changes_is_what_the_last_one_alone_makes() -> None:
    turns = [plan_of(device(0)), plan_of(device(0), device(1)), plan_of(device(1))]
    state = state_after(DeviceState(), change_for(turns[0], None))
    for _, plan in pairwise(turns):
        state = state_after(state, change_for(plan, state))
    assert state == state_after(DeviceState(), change_for(turns[-1], None))
