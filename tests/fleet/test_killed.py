"""helm killed between what it writes and what it says: the change is in the record, and reaches the node."""

from __future__ import annotations

import functools
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.buoy.control import serve_control
from pharos.buoy.events import EventFeed
from pharos.demo.processes import free_port
from pharos.helm.cli.api import ask
from pharos.helm.model.devices import Device
from pharos.wire.agent import AgentKeys
from pharos.wire.console import CommandError
from pharos.wire.errors import StateFileError
from pharos.wire.pki.roles import Role
from tests.support.buoy import FakePlane, SampleBuoy, make_buoy
from tests.support.helm import adopt_sample_node, enrol_sample_device, now, open_helm

pytestmark = pytest.mark.journey

HOST = "127.0.0.1"

# `helm run`, which kills itself at the next call of one function of its link while the file `die` is there.
HELM = """
import os, pathlib, signal, sys
from pharos.helm.cli import main
from pharos.helm.fleet import link

state, port, where = sys.argv[1:]
function, die = getattr(link, where), pathlib.Path(state).parent / "die"

def called(*args):
    if die.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*args)

setattr(link, where, called)
main(["run", "--state", state, "--web-port", port, "--beacon", "off"], prog_name="helm")
"""


@attrs.frozen
class Scene:
    """A record with two devices, the node that serves them, and a helm that comes and goes."""

    folder: Path
    buoy: SampleBuoy
    devices: tuple[Device, ...]
    web_port: int

    @property
    def state(self) -> Path:
        return self.folder / "helm"

    @asynccontextmanager
    async def helm(self, where: str) -> AsyncIterator[trio.Process]:
        words = [sys.executable, "-c", HELM, str(self.state), str(self.web_port), where]
        with (self.folder / "log").open("ab") as log:
            process = await trio.lowlevel.open_process(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async def served(self, *devices: Device) -> None:
        """Wait until the node serves exactly these."""
        while set(self.buoy.node.desired.peers) != {device.id for device in devices}:
            await self.buoy.plane.told.wait()

    async def led(self, *, after: int = 0) -> int:
        """Wait until a helm of a later term leads the node, and return that term.

        It holds the record by then. Asked before, the test itself would do its work.
        """
        while self.buoy.node.desired.fence.term <= after:
            await self.buoy.plane.told.wait()
        return self.buoy.node.desired.fence.term

    async def settled(self) -> None:
        """Wait until helm says that the node is what it shall be."""
        while True:
            # Its links come up a moment before its socket does.
            with suppress(StateFileError):
                (node,) = (await ask(self.state, "GET", "/api/v1/status"))["nodes"]
                if node["link"] == "up" and node["applied_revision"] == node["desired_revision"]:
                    return
            await trio.sleep(0.02)

    async def keyed(self, generation: int) -> dict[str, Any]:
        """Return the node's record once helm knows its REALITY key of this generation."""
        while True:
            (node,) = (await ask(self.state, "GET", "/api/v1/nodes"))["items"]
            shown = await ask(self.state, "GET", f"/api/v1/nodes/{node['id']}")
            if shown["reality"]["generation"] == generation and shown["reality_key"]:
                return shown
            await trio.sleep(0.02)

    async def state_of(self, device: Device) -> dict[str, Any]:
        return await ask(self.state, "GET", f"/api/v1/devices/{device.id}")


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    for name in ("helm", "buoy"):
        (tmp_path / name).mkdir(mode=0o700)
    keys, port = AgentKeys(tmp_path / "buoy", Role.NODE), free_port(socket.SOCK_STREAM)
    async with open_helm(tmp_path / "helm") as helm:
        _, grant = await helm.store.run(
            functools.partial(adopt_sample_node, request=keys.make_request(), control_port=port), helm.authority
        )
        devices = tuple([await helm.store.run(enrol_sample_device, number, f"d{number}") for number in (1, 2)])
    plane = FakePlane(reality_port=443)
    buoy = make_buoy(tmp_path / "buoy", keys=keys, membership=keys.install(grant, now=now()), plane=plane)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(serve_control, buoy.node, EventFeed(), host=HOST, port=port))
            yield Scene(tmp_path, buoy, devices, free_port(socket.SOCK_STREAM))
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("where", "told"),
    [("push_to", False), ("fence_from", True)],
    ids=["between the revision and the push", "between the push and its acknowledgement"],
)
async def test_change_survives_a_helm_that_is_killed(tmp_path: Path, where: str, *, told: bool) -> None:
    async with scene(tmp_path) as made:
        gone, stays = made.devices
        async with made.helm(where) as helm:
            term = await made.led()
            await made.served(gone, stays)
            await made.settled()
            version = (await made.state_of(gone))["version"]
            (tmp_path / "die").touch()
            # Whether its answer still got out is not promised; that it is in the record is.
            with suppress(CommandError):
                await ask(made.state, "POST", f"/api/v1/devices/{gone.id}/disable", version=version)
            assert await helm.wait() == -signal.SIGKILL
        assert (gone.id not in made.buoy.node.desired.peers) is told
        (tmp_path / "die").unlink()
        async with made.helm(where):
            assert await made.led(after=term) == term + 1
            await made.served(stays)
            await made.settled()
            assert (await made.state_of(gone))["state"] == "disabled"


@pytest.mark.parametrize(
    "where",
    ["push_to", "fence_from", "report_from"],
    ids=[
        "between the revision and the push",
        "between the push and its acknowledgement",
        "between the acknowledgement and the new key",
    ],
)
async def test_reissue_survives_a_helm_that_is_killed(tmp_path: Path, where: str) -> None:
    async with scene(tmp_path) as made:
        async with made.helm(where) as helm:
            term = await made.led()
            await made.served(*made.devices)
            await made.settled()
            before = await made.keyed(1)
            (tmp_path / "die").touch()
            with suppress(CommandError):
                await ask(made.state, "POST", f"/api/v1/nodes/{before['id']}/reissue", version=before["version"])
            assert await helm.wait() == -signal.SIGKILL
        (tmp_path / "die").unlink()
        async with made.helm(where):
            assert await made.led(after=term) == term + 1
            await made.settled()
            after = await made.keyed(2)
        held = made.buoy.node.desired
        assert held.awg is not None
        assert held.reality is not None
        assert (held.awg.as_mapping(), held.reality.as_mapping()) == (after["awg_parameters"], after["reality"])
        (old,) = held.previous
        assert old.awg is not None
        assert old.reality is not None
        assert (old.awg.as_mapping(), old.reality.as_mapping()) == (before["awg_parameters"], before["reality"])
        said = (await made.buoy.node.report()).reality
        assert said is not None
        assert [key.public_key.hex() for key in said.keys] == [after["reality_key"], before["reality_key"]]
