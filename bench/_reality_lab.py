"""The processes of bench.reality, and the transfers between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import create_server
from typing import Any, Final
from uuid import UUID

import attrs
import psutil

from bench._reality_node import Control, whole
from bench._reality_wire import HOST, PLAIN_ID
from bench.support import Worker, cpu_seconds
from pharos.wire.units import GIB, MIB, SECONDS
from tests.support.reality import NAME, NODE_KEY, SHORT_ID
from tests.support.xray import PROGRAM, running_xray, unpadded

HAS_XRAY: Final = PROGRAM is not None
_LEARNING: Final = 60 * SECONDS
"""On loopback it takes two."""


@attrs.frozen
class Result:
    """Of one transfer."""

    rate: float
    """MB a second."""
    cpu: float
    """Seconds of CPU per GiB of whoever is looked at."""


@attrs.frozen
class Node:
    """A node of ours that is told everything."""

    worker: Worker
    control: Control
    port: int

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used, exactly."""
        return float(self.worker.ask(task="cpu")["seconds"])


class Lab:
    """Everything on loopback, a process each."""

    def __init__(self, start: Callable[..., Worker], folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        # They all load at once; what needs another's port follows.
        self.tls, self.origin, self.feeder = (
            start("bench._reality_ends", role) for role in ("tls", "origin", "reality")
        )
        self.site = start("bench._reality_node", "--site")
        self.app, self.device = start("bench._reality_app"), start("bench._reality_device")
        nodes = {path: start("bench._reality_node", str(path)) for path in (folder / "one.sock", folder / "other.sock")}
        self.relay = start("bench._reality_ends", "relay", port_of(self.origin))
        self.tcp = start("bench._reality_hops", "relay", port_of(self.tls))
        self.plain = start("bench._reality_hops", "plain", port_of(self.tcp))
        self.node, self.other = (self._tell(worker, path) for path, worker in nodes.items())
        self.vision = start("bench._reality_hops", "vision", str(self.node.port))

    def _tell(self, worker: Worker, path: Path) -> Node:
        """Tell a node everything, and wait until it knows its target."""
        assert worker.ready
        control = Control(path)
        self._stack.callback(control.close)
        control.say(whole(self.site.ready["port"]))
        wait_until(lambda: control.say("get=1\n\n")["learnt"] == "true")
        return Node(worker, control, int(control.say("get=1\n\n")["listen"].rpartition(":")[2]))

    def _transfer(self, asked: Worker, *measured: Worker, count: int, **request: Any) -> Result:
        """Have ``asked`` receive so many octets; the CPU is its own, or that of the ``measured``."""
        before = sum(worker.cpu() for worker in measured)
        done = asked.ask(count=count, **request)
        cpu = sum(worker.cpu() for worker in measured) - before if measured else done["cpu"]
        return Result(rate=count / 1e6 / done["seconds"], cpu=cpu * GIB / count)

    def receives(self, count: int) -> Result:
        return self._transfer(self.device, count=count, task="sealed", port=self.feeder.ready["port"])

    def receives_tls(self, count: int) -> Result:
        return self._transfer(self.app, count=count, task="tls", port=self.tls.ready["port"])

    def sends(self, count: int) -> Result:
        return self._transfer(self.app, self.node.worker, count=count, **self._ask_origin(self.node.port))

    def sends_tls(self, count: int) -> Result:
        return self._transfer(self.app, self.relay, count=count, task="sink", port=self.relay.ready["port"])

    def copies(self, count: int) -> Result:
        """Vision: the octets are those of a TLS behind the node, and no end of ours opens or seals them."""
        result = self._through(self.vision, self.node.worker, count)
        copied = self.vision.ask(task="copied")
        if copied["sealed"] or not copied["raw"]:
            raise RuntimeError("Vision did not go past the outer TLS")
        return result

    def copies_plain(self, count: int) -> Result:
        return self._through(self.plain, self.tcp, count)

    def downloads(self, count: int, streams: int) -> Result:
        """Receive by streams through the node, both ends being ours; they are open when the clock starts."""
        self.device.ask(task="open", port=self.node.port, origin=self.origin.ready["port"], count=streams)
        before = self.device.cpu() + self.node.worker.cpu()
        done = self.device.ask(task="download", count=count)
        cpu = self.device.cpu() + self.node.worker.cpu() - before
        self.device.ask(task="close")
        octets = count * streams
        return Result(rate=octets / 1e6 / done["seconds"], cpu=cpu * GIB / octets)

    def xray_sends(self, xray: Xray, count: int) -> Result:
        before = xray.cpu()
        done = self._transfer(self.app, count=count, **self._ask_origin(xray.port))
        return Result(rate=done.rate, cpu=(xray.cpu() - before) * GIB / count)

    @contextmanager
    def xray(self) -> Iterator[Xray]:
        """Run Xray as a node of the same target, keys and user."""
        with create_server((HOST, 0)) as free:
            port: int = free.getsockname()[1]
        before = set(psutil.Process().children())
        with running_xray(self._folder, [_inbound(port, self.site.ready["port"])], [{"protocol": "freedom"}]):
            (process,) = set(psutil.Process().children()) - before
            xray = Xray(process, port)
            # It learns its target for some seconds before it answers the first one.
            self.app.ask(count=MIB, **self._ask_origin(port))
            yield xray

    def _ask_origin(self, port: int) -> dict[str, Any]:
        return {"task": "reality_sink", "port": port, "origin": self.origin.ready["port"]}

    def _through(self, socks: Worker, node: Worker, count: int) -> Result:
        request = {"task": "sink", "port": self.tls.ready["port"], "socks": socks.ready["port"]}
        return self._transfer(self.app, socks, node, count=count, **request)


@attrs.frozen
class Xray:
    """A node that is not ours."""

    process: psutil.Process
    port: int

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        return cpu_seconds(self.process.pid)


def port_of(worker: Worker) -> str:
    return str(worker.ready["port"])


def wait_until(holds: Callable[[], bool]) -> None:
    """Raises: RuntimeError — it does not come to be."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() > began + _LEARNING:
            raise RuntimeError("a node does not learn its target")
        time.sleep(0.1)


def _inbound(port: int, target: int) -> dict[str, Any]:
    reality = {
        "target": f"{HOST}:{target}",
        "serverNames": [NAME],
        "privateKey": unpadded(NODE_KEY),
        "shortIds": [SHORT_ID.hex()],
    }
    return {
        "listen": HOST,
        "port": port,
        "protocol": "vless",
        "settings": {"decryption": "none", "clients": [{"id": str(UUID(bytes=PLAIN_ID))}]},
        "streamSettings": {"network": "raw", "security": "reality", "realitySettings": reality},
    }
