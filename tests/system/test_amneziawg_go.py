"""Our engine and amneziawg-go are one AmneziaWG, of every generation and whoever begins."""

from __future__ import annotations

import os
import random
import shutil
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest
import trio

from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.uapi import DeviceChange, PeerChange, parameter_changes
from pharos.wire.awg.uapiwrite import parse_reply, render_change
from tests.system.lab.network import Lab, open_lab
from tests.system.test_awg_interop import transfer
from tests.system.tunnels import INNER, OURS, POLL_INTERVAL, PORT, START_TIMEOUT, End, skip_without_tools, start_engine

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("amneziawg-go") is None, reason="amneziawg-go is not on the PATH"),
]

AMNEZIA = "amneziawg-go"
SOCKETS = Path("/var/run/amneziawg")
# 1500 less 60 for IPv4 and the message, and 32 of S4 at most.
MTU = 1408
PAIRS = [(OURS, AMNEZIA), (AMNEZIA, OURS)]


async def start(lab: Lab, host: str, kind: str) -> End:
    """Run an engine at a host, with a key, a port, and addresses on its interface."""
    if kind == OURS:
        end = await start_engine(lab, host, OURS)
        await lab.run(host, "ip", "link", "set", end.interface, "mtu", str(MTU))
        return attrs.evolve(end, sockets=SOCKETS)
    interface = f"w{os.getpid()}{host[0]}"
    socket = SOCKETS / f"{interface}.sock"
    # One that was killed left its socket, which must not be taken for that of the next.
    socket.unlink(missing_ok=True)
    process = await lab.start(host, AMNEZIA, "--foreground", interface, name=f"{host}-{kind}")
    with trio.fail_after(START_TIMEOUT):
        while not socket.exists():
            process.check()
            await trio.sleep(POLL_INTERVAL)
    end = End(
        lab=lab,
        host=host,
        interface=interface,
        private_key=generate_private_key(os.urandom),
        process=process,
        sockets=SOCKETS,
    )
    await change(end, DeviceChange(private_key=end.private_key, listen_port=PORT))
    for family, length in ((4, 24), (6, 64)):
        at_once = ["nodad"] if family == 6 else []
        await lab.run(host, "ip", "addr", "add", f"{end.inner(family)}/{length}", "dev", interface, *at_once)
    await lab.run(host, "ip", "link", "set", interface, "mtu", str(MTU), "up")
    return end


async def change(end: End, wanted: DeviceChange) -> None:
    """Have an engine changed by the request that our manager would send."""
    request = render_change(wanted, Generation.V3_1)
    _, number = parse_reply(await end.uapi(*request.removesuffix("\n\n").split("\n")))
    assert number == 0, end.process


async def join(lab: Lab, client: str, server: str, parameters: ObfuscationParameters) -> tuple[End, End]:
    """Start an engine of each kind with these parameters; the client knows where the server is."""
    skip_without_tools()
    near, far = await start(lab, "clienta", client), await start(lab, "buoya", server)
    changes = parameter_changes(PLAIN, parameters)
    networks = {name: tuple(map(ip_network, addresses.values())) for name, addresses in INNER.items()}
    address = lab.host(far.host).address(4)
    await change(
        far,
        DeviceChange(
            parameters=changes, peers=(PeerChange(public_key=near.public_key, allowed_ips=networks[near.host]),)
        ),
    )
    server_peer = PeerChange(public_key=far.public_key, allowed_ips=networks[far.host], endpoint=(address, PORT))
    await change(near, DeviceChange(parameters=changes, peers=(server_peer,)))
    return near, far


async def see_traffic(near: End, far: End) -> None:
    """Send packets and streams each way."""
    for inner in (4, 6):
        # amneziawg-go loses its first packets of a session when S4 is set, to one of its own kind as well.
        assert await near.ping(far, inner) > 0
        assert await far.ping(near, inner) > 0
        await transfer(near, far, family=inner)
        await transfer(far, near, family=inner)


@pytest.mark.parametrize(("client", "server"), PAIRS)
@pytest.mark.parametrize("generation", list(Generation), ids=str)
async def test_generated_parameters_of_every_generation_carry_traffic(
    tmp_path: Path, client: str, server: str, generation: Generation
) -> None:
    parameters = generate(random.Random(generation).randbytes, generation)
    with trio.fail_after(180):
        async with open_lab(tmp_path) as lab:
            near, far = await join(lab, client, server, parameters)
            await see_traffic(near, far)
            for end in (near, far):
                assert (await end.state()).parameters == parameters


SINGLE = {
    "trailers alone": ObfuscationParameters(random_trailers=True),
    "one zero more": ObfuscationParameters(content_padding_addition=Range(1, 1)),
    "least padding": ObfuscationParameters(s1=12, s2=13, s3=14, s4=12, header_protection_key=b"k" * 32),
    "protected trailers": ObfuscationParameters(
        s1=20,
        s2=21,
        s3=22,
        s4=20,
        h1="5-500",
        h4="1000-4294967295",
        header_protection_key=b"k" * 32,
        random_trailers=True,
        disable_cookies=True,
    ),
    "large paddings": ObfuscationParameters(s1=1132, s2=1187, s3=1214),
    "every tag": ObfuscationParameters(
        # With one datagram more amneziawg-go never connects, to one of its own kind either.
        jc=123,
        jmin=1,
        jmax=1279,
        i1="<b 0xC0ff><t>",
        i2="<r 1400>",
        i3="<rc 9><rd 9>",
        i5="<t>",
    ),
}


@pytest.mark.parametrize(("client", "server"), PAIRS)
@pytest.mark.parametrize("name", SINGLE)
async def test_single_parameters_and_their_limits_carry_traffic(
    tmp_path: Path, client: str, server: str, name: str
) -> None:
    with trio.fail_after(180):
        async with open_lab(tmp_path) as lab:
            near, far = await join(lab, client, server, SINGLE[name])
            await see_traffic(near, far)
            for end in (near, far):
                assert (await end.state()).parameters == SINGLE[name]


@pytest.mark.parametrize(("client", "server"), PAIRS)
async def test_keys_are_renewed_by_timers_that_are_ranges(tmp_path: Path, client: str, server: str) -> None:
    parameters = attrs.evolve(
        generate(random.Random(7).randbytes, Generation.V3_1),
        rekey_after_time=Range(2, 3),
        rekey_timeout=Range(1, 2),
        keepalive_timeout=Range(2, 2),
    )
    with trio.fail_after(180):
        async with open_lab(tmp_path) as lab:
            near, far = await join(lab, client, server, parameters)
            await see_traffic(near, far)
            first = (await near.state()).peers[0].last_handshake_ns
            with trio.fail_after(30):
                while (await near.state()).peers[0].last_handshake_ns == first:
                    await near.ping(far, 4, count=1)
            await see_traffic(near, far)
