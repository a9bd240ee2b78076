"""The daemons of bench.agents, made ready: a node with so many peers, a relay with a helm behind it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM
from typing import Final

import attrs

from bench._agents_crowd import CA_KEY
from bench._agents_daemon import Daemon, running, stop
from bench._agents_state import NODE, RELAY, config, join, order, peer_of
from bench._wire_fleet import make
from bench.support import Worker, workers
from pharos.demo.processes import free_port
from pharos.wire.pki.keys import key_to_der
from pharos.wire.pki.roles import Role
from tests.support.pki import make_fleet
from tests.support.rpc import HOST

INTERFACE: Final = "awg0"
TOOLS: Final = ("ip", "nft", "nsenter", "unshare")
_TUNNELS: Final = 6
"""One for each 500 passages, and room besides."""


@attrs.frozen
class Node:
    """A node that is coming up, and the worker that is helm and its devices."""

    daemon: Daemon
    ends: Worker

    def wait_served(self) -> None:
        """Wait until it serves what is ordered. Raises: RuntimeError — it does not."""
        self.daemon.wait_ready()
        if self.daemon.said("not served as ordered"):
            raise RuntimeError(f"a node does not serve what it shall: {self.daemon.tail()}")


@attrs.frozen
class Relay:
    """A relay that is up, the helm behind it, and devices in front."""

    daemon: Daemon
    helm: Worker
    device: Worker
    crowd: Worker
    ingress: int


class Lab:
    """A fleet on loopback, of daemons that are each a process."""

    def __init__(self, folder: Path, start: Callable[..., Worker]) -> None:
        self.folder, self.start = folder, start
        self._fleet = make_fleet()
        make(folder, self._fleet)
        (folder / CA_KEY).write_bytes(key_to_der(self._fleet.device_ca_key))
        self._site = start("bench._reality_node", "--site")

    @contextmanager
    def node(self, name: str, peers: int, *, within: Sequence[str] = (), **settings: str) -> Iterator[Node]:
        """Run a node whose state directory holds so many peers; it comes up while the block runs."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        request = join(folder / "state", self._fleet, Role.NODE, NODE)
        assert request.awg_key is not None
        assert request.derive_key is not None
        order(folder / "state", map(peer_of, range(peers)), target=self._site.ready["port"])
        control, awg = free_port(SOCK_STREAM), free_port(SOCK_DGRAM)
        file = config(
            folder,
            "buoy",
            state=str(folder / "state"),
            host=HOST,
            control_port=control,
            awg_port=awg,
            reality_port=free_port(SOCK_STREAM),
            **({"awg_driver": "embedded", "reality_driver": "embedded"} | settings),
        )
        keys = request.awg_key.hex(), request.derive_key.hex()
        with workers() as start:
            ends = start("bench._agents_ends", "ends", str(self.folder), str(control), str(awg), *keys)
            assert ends.ready
            with running(folder, "buoy", "run", "--config", str(file), within=within) as daemon:
                yield Node(daemon, ends)
                # A helm does not outlive its node here, or it would complain.
                ends.close()

    @contextmanager
    def relay(self) -> Iterator[Relay]:
        """Run a relay that helm has dialled."""
        folder = self.folder / "relay"
        folder.mkdir(mode=0o700)
        join(folder / "state", self._fleet, Role.RELAY, RELAY)
        ingress, tunnel = free_port(SOCK_STREAM), free_port(SOCK_STREAM)
        file = config(
            folder, "beacon", state=str(folder / "state"), host=HOST, ingress_port=ingress, tunnel_port=tunnel
        )
        with running(folder, "beacon", "run", "--config", str(file)) as daemon, workers() as start:
            helm = start("bench._wire_helm", "helm", str(self.folder), "full")
            device = start("bench._wire_device", "device", str(self.folder))
            crowd = start("bench._agents_crowd", "crowd", str(self.folder))
            daemon.wait_ready()
            helm.ask(task="tunnels", port=tunnel, count=_TUNNELS)
            yield Relay(daemon, helm, device, crowd, ingress)


def missing() -> list[str]:
    """Return what keeps engines in processes of their own from being measured here, in words."""
    if os.geteuid() != 0:
        return ["namespaces and interfaces need root"]
    return [f"{tool} is not on the PATH" for tool in TOOLS if shutil.which(tool) is None]


@contextmanager
def own_machine() -> Iterator[list[str]]:
    """Have a network and a /run that nobody else sees; yield the words that run a command there.

    Raises: RuntimeError — they cannot be had.
    """
    make_run = "mount -t tmpfs run /run && ip link set lo up && echo ready && exec cat"
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", make_run], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with contextlib.ExitStack() as stack:
        stack.callback(stop, holder)
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise RuntimeError("no namespaces are to be had here")
        yield ["nsenter", "--target", str(holder.pid), "--net", "--mount"]
