"""Row 60, at a node. Position: whoever writes what helm pushes, or has taken the agent over. Wants: a line of its own.

A driver speaks to its engine in lines: a file of awg-quick, UAPI, REALITY's control socket, `wg syncconf`, `ip -batch`.
The standard library takes a new line as the zone of an IPv6 address, and a network with one is in its usual spelling.
Countermeasure: what is pushed has no zones, acts of root are typed values, and no program is run by way of a shell.
"""

import ast
import ipaddress
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pharos
from pharos.buoy.dataplane.awgchange import change_for
from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer, AwgPlan, RealityEndpoint, RealityPlan, RealityUser
from pharos.buoy.dataplane.realityplan import Place, change_of
from pharos.buoy.render import conf_of
from pharos.buoy.roothelper.acts import Act, Interface, SetLink, SyncAwg, SyncPeer
from pharos.buoy.roothelper.codec import from_json, to_json
from pharos.buoy.roothelper.links import LinkSeen, link_lines
from pharos.buoy.roothelper.wgtool import AWG, render_sync
from pharos.wire import desired as orders
from pharos.wire.awg.conf import render as render_conf
from pharos.wire.awg.params import Generation
from pharos.wire.awg.uapiwrite import render_change as render_uapi
from pharos.wire.desired import Fence, Peer, Policy, Push
from pharos.wire.errors import ParameterError
from pharos.wire.ids import DeviceId
from pharos.wire.reality.controlwrite import render_change as render_control
from pharos.wire.reality.params import RealityParameters
from tests.support.strategies import parameters_of, peer_of, quick, reality_of

KEY = bytes(range(32))
PEER, POLICY, REALITY = peer_of(1), Policy(), reality_of(1)
REFUSED = (ValueError, ParameterError)
LINE = "listen=0.0.0.0:22"
# A zone, and behind it the prefix that makes a network of it.
ZONED = f"fe80::%\n{LINE}/64"
PAYLOADS = [
    ZONED,
    ZONED.replace("\n", "\r"),
    ZONED.removesuffix("/64"),
    f"10.0.0.0/8\n{LINE}",
    f"10.0.0.1\n{LINE}",
    f"a\n{LINE}",
    f"a.example:443\n{LINE}",
    "00\n00",
    "fd00::1%eth0/128",
    "a,b",
    "a b",
]
PUSHED = {
    "device": lambda text: attrs.evolve(PEER, device_id=text),
    "device's network": lambda text: attrs.evolve(PEER, addresses=(text,)),
    "device's protocol": lambda text: attrs.evolve(PEER, protocols=(text,)),
    "node's address": lambda text: Push(fence=Fence(1, 1, 1), snapshot=True, addresses=(text,)),
    "closed network": lambda text: Policy(closed=(text,)),
    "resolver": lambda text: Policy(resolvers=(text,)),
    "target": lambda text: attrs.evolve(REALITY, target=text),
    "server name": lambda text: attrs.evolve(REALITY, server_names=(text,)),
    "short id": lambda text: attrs.evolve(REALITY, short_ids=(text,)),
}


def usual_spelling(text):
    """The check as it was: a text that is the standard library's own is believed."""
    if str(ipaddress.ip_network(text)) != text:
        raise ValueError(text)
    return text


def control_text(policy=POLICY, parameters=REALITY, name="phone"):
    """What a REALITY server of ours is told."""
    plan = RealityPlan(
        endpoints=(RealityEndpoint(port=443, parameters=parameters, private_key=KEY),),
        users={DeviceId(name): RealityUser(device_id=DeviceId(name), user_id=bytes(16))},
        policy=policy,
    )
    change = change_of(plan.endpoints[0], plan, None, Place(hosts=("0.0.0.0",)))
    return render_control(change).decode()


def awg_plan(peer=PEER, addresses=("10.86.0.1", "fd86::1")):
    return AwgPlan(
        private_key=KEY,
        endpoints=(AwgEndpoint(port=443, parameters=parameters_of(1)),),
        addresses=addresses,
        networks=peer.addresses,
        peers={
            peer.device_id: AwgPeer(
                device_id=peer.device_id, public_key=KEY, preshared_key=bytes(32), addresses=peer.addresses
            )
        },
    )


def lines_of(text):
    """Keys of the lines, in their order."""
    return [line.partition("=")[0].strip() for line in text.splitlines()]


@pytest.mark.red_inside
def test_a60_a_zone_would_be_a_line_of_the_control_socket(monkeypatch):
    # Red: the rule that there was before.
    monkeypatch.setattr(orders, "check_network", usual_spelling)
    told = control_text(Policy(closed=(ZONED,)))
    assert f"\n{LINE}/64\n" in told
    monkeypatch.undo()
    with pytest.raises(ValueError, match="spelling"):
        Policy(closed=(ZONED,))


def test_a60_a_zone_would_have_been_a_device_s_network(monkeypatch):
    monkeypatch.setattr(orders, "check_network", usual_spelling)
    assert attrs.evolve(PEER, addresses=(ZONED,)).addresses == (ZONED,)
    # No engine would have been told: each driver reads networks by a rule of its own.
    hostile = awg_plan(attrs.evolve(PEER, addresses=(ZONED,)))
    for render in (lambda: conf_of(hostile, "awg0"), lambda: change_for(hostile, None)):
        with pytest.raises(REFUSED):
            render()


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("field", PUSHED)
def test_a60_no_text_that_is_more_than_its_value_can_be_pushed(field, payload):
    with pytest.raises(REFUSED):
        PUSHED[field](payload)


@quick
@given(st.sampled_from(sorted(PUSHED)), st.text(max_size=30) | st.text("fe80:%/\n =1.", max_size=20))
def test_a60_whatever_is_taken_adds_no_line_to_what_engines_are_told(field, text):
    try:
        taken = PUSHED[field](text)
    except REFUSED:
        return
    match taken:
        case Peer():
            assert lines_of(control_text(name=taken.device_id)) == lines_of(control_text())
            told = render_uapi(change_for(awg_plan(taken), None), Generation.V3_1, ours=True)
            assert lines_of(told).count("allowed_ip") == len(taken.addresses)
            assert set(lines_of(told)) <= set(
                lines_of(render_uapi(change_for(awg_plan(), None), Generation.V3_1, ours=True))
            )
        case Policy():
            assert lines_of(control_text(taken)) == lines_of(control_text())
        case RealityParameters():
            assert lines_of(control_text(parameters=taken)) == lines_of(control_text())
        case Push():
            assert not any(sign.isspace() for sign in "".join(taken.addresses))


def sync_of(*networks):
    peers = (SyncPeer(public_key=KEY, networks=networks),)
    return SyncAwg(interface=Interface.AWG0, private_key=KEY, port=443, parameters=parameters_of(1), peers=peers)


@pytest.mark.red_inside
def test_a60_root_s_tools_are_told_typed_values_only():
    texts = ("10.0.0.2/32\nPostUp = reboot", "10.0.0.2/32\n[Peer]")
    for text in texts:
        # Red: acts whose fields nobody checks.
        with attrs.validators.disabled():
            assert f"AllowedIPs = {text}\n" in render_sync(sync_of(text), AWG).decode()
        with pytest.raises(ValueError, match="networks"):
            sync_of(text)
    zoned = ipaddress.ip_network(ZONED)
    with attrs.validators.disabled():
        assert f"\n{LINE}/64\n" in render_sync(sync_of(zoned), AWG).decode()
        said = to_json(sync_of(zoned), Act)
    # Whoever has taken the agent over speaks to root in JSON, and there a network has no zone.
    with pytest.raises(ValueError, match="address"):
        from_json(said, Act)
    assert from_json(to_json(sync_of(ipaddress.ip_network("fe80::/64")), Act), Act)


@pytest.mark.red_inside
def test_a60_ip_s_batch_has_no_line_of_somebody_else_s():
    order = "link set dev eth0 down"
    address = ipaddress.ip_interface(f"fd00::1%\n{order}\n#/64")

    def link():
        return SetLink(interface=Interface.AWG0, addresses=(address,), mtu=1420)

    with attrs.validators.disabled():
        batch = "\n".join(link_lines(link(), LinkSeen(kind="tun", addresses=frozenset()), [], ipv6=True))
        assert f"\n{order}\n" in batch
    with pytest.raises(ValueError, match="scope"):
        link()


def test_a60_the_file_that_awg_quick_runs_as_root_has_no_hook():
    written = render_conf(conf_of(awg_plan(), "awg0"))
    assert not {"PreUp", "PostUp", "PreDown", "PostDown"} & set(lines_of(written))
    with pytest.raises(REFUSED):
        conf_of(awg_plan(addresses=("fd86::1%\nPostUp = reboot\n#",)), "awg0")


SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "trio.run_shell"}


def shells_in(source):
    """Calls by which a text could become a command."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        has_shell = any(keyword.arg == "shell" for keyword in call.keywords)
        if has_shell or ast.unparse(call.func) in SHELLS:
            found.append(ast.unparse(call))
    return found


def test_a60_no_program_is_run_by_way_of_a_shell():
    assert shells_in("subprocess.run('wg syncconf ' + name, shell=True)\nos.system(name)\nrun(['wg', name])") == [
        "subprocess.run('wg syncconf ' + name, shell=True)",
        "os.system(name)",
    ]
    sources = sorted(Path(pharos.__file__).parent.rglob("*.py"))
    assert len(sources) > 300
    assert {path.name: shells for path in sources if (shells := shells_in(path.read_text()))} == {}
