"""The engine's process: told by the tools of WireGuard, ended by whoever may, and leaving nothing behind."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
from pathlib import Path

import pytest
import trio

from pharos.wire.awg.keys import generate_private_key, public_key
from tests.system.lab.commands import CommandError
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import pids_with
from tests.system.tunnels import COMMAND, OURS, SOCKETS, encode, joined, skip_without_tools, start_engine

pytestmark = pytest.mark.system

END_TIMEOUT = 20.0


def pids(interface: str) -> list[int]:
    """Return the processes of an interface's engine."""
    return pids_with(interface, "pharos.wire.awg.process")


async def wait_gone(interface: str) -> None:
    with trio.fail_after(END_TIMEOUT):
        while True:
            if not pids(interface):
                return
            await trio.sleep(0.02)


async def write_wrapper(folder: Path) -> Path:
    """Make what `pharos-awg` is where it is installed."""
    path = folder / "pharos-awg"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    path.chmod(0o755)
    return path


def skip_with_kernel_wireguard() -> None:
    if Path("/sys/module/wireguard").exists():
        pytest.skip("wg-quick prefers this kernel's own WireGuard")


async def quick(lab: Lab, host: str, verb: str, file: Path, wrapper: Path) -> str:
    """Run wg-quick(8) at a host, with our engine as its implementation."""
    root = Path(__file__).parent.parent.parent
    environment = [f"WG_QUICK_USERSPACE_IMPLEMENTATION={wrapper}", f"PYTHONPATH={root}"]
    return await lab.run(host, "env", *environment, "wg-quick", verb, str(file))


async def test_wg_quick_brings_a_tunnel_up_and_down_with_our_engine(tmp_path: Path) -> None:
    skip_without_tools()
    skip_with_kernel_wireguard()
    keys = {host: generate_private_key(os.urandom) for host in ("clienta", "buoya")}
    names = {host: f"q{os.getpid()}{host[0]}" for host in keys}
    with trio.fail_after(120):
        async with open_lab(tmp_path) as lab:
            wrapper = await write_wrapper(tmp_path)
            peers = {
                "buoya": f"[Peer]\nPublicKey = {encode(public_key(keys['clienta']))}\nAllowedIPs = 10.7.0.2/32\n",
                "clienta": f"[Peer]\nPublicKey = {encode(public_key(keys['buoya']))}\nAllowedIPs = 10.7.0.0/24\n"
                f"Endpoint = {lab.host('buoya').address4}:51820\nPersistentKeepalive = 25\n",
            }
            for host, address in (("buoya", "10.7.0.1/24"), ("clienta", "10.7.0.2/24")):
                file = tmp_path / f"{names[host]}.conf"
                file.touch(mode=0o600)
                key = encode(keys[host])
                interface = f"PrivateKey = {key}\nAddress = {address}\nListenPort = 51820\nMTU = 1400\n"
                file.write_text(f"[Interface]\n{interface}{peers[host]}")
                await quick(lab, host, "up", file, wrapper)
            said = await lab.run("clienta", "ping", "-n", "-c", "5", "-i", "0.1", "-W", "5", "10.7.0.1", check=False)
            assert len(re.findall("time=", said)) == 5, said
            assert "latest handshake" in await lab.run("clienta", "wg", "show", names["clienta"])
            # What wg-quick saves is what the file said.
            saved = await lab.run("clienta", "wg", "showconf", names["clienta"])
            assert f"PrivateKey = {encode(keys['clienta'])}" in saved
            assert "PersistentKeepalive = 25" in saved
            for host in keys:
                await quick(lab, host, "down", tmp_path / f"{names[host]}.conf", wrapper)
                await wait_gone(names[host])
                assert not (SOCKETS / f"{names[host]}.sock").exists()


async def test_a_removed_interface_ends_the_process_and_its_sockets(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            end = await start_engine(lab, "clienta", OURS)
            assert (SOCKETS / f"{end.interface}.sock").exists()
            await lab.run("clienta", "ip", "link", "del", end.interface)
            await wait_gone(end.interface)
            assert not (SOCKETS / f"{end.interface}.sock").exists()
            assert "stopping" in end.process.log.read_text()
            await end.process.stop()


async def test_a_stopped_process_takes_its_interface_along(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            end = await start_engine(lab, "clienta", OURS)
            await end.process.stop()
            with pytest.raises(CommandError, match="does not exist"):
                await lab.run("clienta", "ip", "link", "show", end.interface)
            assert not (SOCKETS / f"{end.interface}.sock").exists()


async def test_a_killed_process_leaves_a_socket_that_the_next_one_takes_over(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            end = await start_engine(lab, "clienta", OURS)
            await end.process.kill()
            assert (SOCKETS / f"{end.interface}.sock").exists()
            again = await start_engine(lab, "clienta", OURS)
            assert (await again.state()).private_key == again.private_key
            await again.process.stop()


async def test_an_interface_that_is_there_already_is_an_error_of_one_line(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            end = await start_engine(lab, "clienta", OURS)
            with pytest.raises(CommandError, match=f"{end.interface}: .*busy"):
                await lab.run("clienta", *COMMAND, "--foreground", end.interface)
            assert pids(end.interface) == [end.process.pid]
            await end.process.stop()


async def test_the_mtu_of_the_interface_is_followed(tmp_path: Path) -> None:
    async with joined(tmp_path, OURS, OURS) as (lab, near, far):
        for end in (near, far):
            await lab.run(end.host, "ip", "link", "set", end.interface, "mtu", "1300")
        said = await lab.run(near.host, "ping", "-n", "-c", "2", "-M", "do", "-s", "1272", far.inner(4), check=False)
        assert len(re.findall("time=", said)) == 2, said


async def test_nonsense_at_the_socket_leaves_the_tunnel_up(tmp_path: Path) -> None:
    async with joined(tmp_path, OURS, OURS) as (_, near, far):
        assert await near.ping(far, 4) == 3
        assert await near.uapi("set=1", "private_key=none") == f"errno=-{errno.EINVAL}\n\n"
        assert await near.uapi("set=1", "listen_port=70000") == f"errno=-{errno.EINVAL}\n\n"
        async with await trio.open_unix_socket(SOCKETS / f"{near.interface}.sock") as stream:
            await stream.send_all(b"\0" * 100_000 + b"\n\n")
            while await stream.receive_some():
                pass
        assert await near.ping(far, 4) == 3


async def test_an_engine_outlives_who_started_it_and_told_it(tmp_path: Path) -> None:
    skip_without_tools()
    interface = f"o{os.getpid()}"
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            # Without --foreground the command returns once there is an interface to be told.
            await lab.run("clienta", *COMMAND, interface)
            key = generate_private_key(os.urandom)
            await lab.run("clienta", "wg", "set", interface, "private-key", "/dev/stdin", stdin=encode(key))
            (pid,) = pids(interface)
            assert (await lab.run("clienta", "wg", "show", interface, "private-key")).strip() == encode(key)
            os.kill(pid, signal.SIGTERM)
            await wait_gone(interface)
