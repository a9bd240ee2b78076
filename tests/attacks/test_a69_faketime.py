"""Row 69, with a process whose system clock lies: a node's agent below libfaketime, which OpenSSL believes as well.

It comes up in 1970 from what it has on disk, serves whom it served, and nobody whose access had ended. helm does not
reach it until the clock is right, and needs no restart then. The weakened build goes by its clock alone.

Takes 8 s.
"""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from pharos.demo.processes import free_port
from pharos.demo.story import BUOY_CONFIG
from pharos.helm.fleet.dial import dial_member
from pharos.wire.desired import Fence, Push
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.client import open_channel
from tests.support.agents import joined
from tests.support.buoy import make_buoy
from tests.support.pki import home_fleet, utc_now
from tests.support.strategies import parameters_of, peer_of
from tests.support.trust import Signer

HOME, HELM = home_fleet(), Signer()
HOST: Final = "127.0.0.1"
LIBRARY: Final = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
COLD: Final = "@1970-01-01 00:03:00"
RIGHT: Final = "+0"
PATIENCE: Final = 60
RUN: Final = "from pharos.cli import main; main(prog_name='pharos')"
# Weakened: the wall clock decides alone who still has access.
WITHOUT_A_FLOOR: Final = "from pharos.buoy.node import Node; Node._now = lambda self: self._wall(); "

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (apt install libfaketime)"),
]


@attrs.frozen
class Helm:
    """What of helm's keys a dial takes."""

    trust: object
    controller: object


@attrs.frozen
class ColdNode:
    """An agent's process, and its clock."""

    process: trio.Process
    port: int
    log: Path
    clock: Path

    async def wait_served(self) -> str:
        """Return what it has logged once it serves its devices."""
        while " serves 2 peers " not in (said := self.log.read_text()):
            assert self.process.returncode is None, said
            await trio.sleep(0.02)
        return said

    async def dial(self) -> None:
        """Connect as helm, by the true time, until the node has answered.

        Raises: LinkRefusedError, LinkLostError.
        """
        helm = Helm(HOME.trust, HOME.member(Role.CONTROLLER))
        stream, _ = await dial_member(helm, Role.NODE, "node-1", HOST, self.port)  # type: ignore[arg-type]
        async with open_channel(stream, authority="node-1"):
            pass


async def prepare(state: Path) -> None:
    """Let a node join and be told of two devices, of which the access of one has ended."""
    now = utc_now()
    keys = joined(state, name="node-1")
    ended = attrs.evolve(peer_of(2), expires_at=round((now - datetime.timedelta(days=1)).timestamp() * 1_000_000))
    push = Push(
        fence=Fence(5, 2, 7),
        snapshot=True,
        upsert=(peer_of(1), ended),
        awg=parameters_of(1),
        addresses=("10.86.0.1", "fd00::1"),
        manifest=HELM.manifest(3),
    )
    await make_buoy(state, keys=keys, membership=keys.membership(now=now)).node.push(push)


@asynccontextmanager
async def in_1970(state: Path, code: str) -> AsyncIterator[ColdNode]:
    """Run the agent on what it has, with a clock that stands in 1970."""
    clock, log, config = (state.parent / f"{state.name}.{kind}" for kind in ("clock", "log", "toml"))
    clock.write_text(COLD)
    config.write_text(BUOY_CONFIG)
    control = free_port(socket.SOCK_STREAM)
    words = ["buoy", "run", "--state", str(state), "--config", str(config), "--host", HOST]
    words += ["--control-port", str(control), "--awg-port", str(free_port(socket.SOCK_DGRAM))]
    words += ["--reality-port", str(free_port(socket.SOCK_STREAM))]
    # Timers stay what they are: a battery that is dead does not stop the monotonic clock.
    lies = {"LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    lies |= {"DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", code, *words], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **lies}
        )
    try:
        yield ColdNode(process, control, log, clock)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@pytest.mark.red_inside
async def test_a69_agent_of_a_machine_in_1970_serves_and_is_helms_again_when_its_clock_is_right(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        for name, code in (("whole", RUN), ("weakened", WITHOUT_A_FLOOR + RUN)):
            state = tmp_path / name
            state.mkdir(mode=0o700)
            await prepare(state)
            async with in_1970(state, code) as node:
                said = await node.wait_served()
                assert said.startswith("1970-01-01 00:03")
                assert ("peer device-2 is cut: expired" in said) is (name == "whole")
                # To OpenSSL every certificate of the fleet begins in half a century.
                with pytest.raises((LinkLostError, LinkRefusedError)):
                    await node.dial()
                node.clock.write_text(RIGHT)
                while True:
                    try:
                        await node.dial()
                        break
                    except (LinkLostError, LinkRefusedError):
                        await trio.sleep(0.05)
