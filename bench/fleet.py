"""How does helm carry a fleet? A thousand simulated nodes over real TLS from another process; helm is whole.

    python -m bench.fleet [--quick]

``--quick`` has 200 nodes and 2,000 devices, and does not wait until the first readings of a start are over before it
looks at an idle helm. A link's memory is what helm has with all links up beyond a helm of the same record that reaches
nobody; the whole of it is ``helm_mb``. What it prints before the last line, one JSON object, is the growth with
the number of nodes. Exit code 1 means that something could not be measured.
"""

import argparse
import contextlib
import random
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench._fleet_record import prepare
from bench.support import Worker, raise_file_limit, report, workers
from pharos.helm.telemetry.readings import READ_EVERY
from pharos.helm.web.live import MAX_PER_SESSION
from tests.support.rpc import HOST

PAGES: Final = 50
# While these events flow, helm's share of a core is measured; the store and the hub are in it.
LOADED: Final = 10_000
LIGHT: Final = 200


def free_port() -> int:
    """Return a port below those that the kernel gives to a thousand outgoing connections meanwhile."""
    for port in random.sample(range(20_000, 30_000), 100):
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise RuntimeError("there is no free port between 20,000 and 30,000")


def helm_without_nodes(folder: Path, *, nodes: int) -> float:
    """Return the memory (MiB) of a helm of the same record that reaches none of its nodes."""
    with tempfile.TemporaryDirectory() as other, workers() as start:
        shutil.copytree(folder, other, dirs_exist_ok=True)
        up = start("bench._fleet_helm", other, str(free_port())).ask(task="start", nodes=nodes, down=True)
        return float(up["mb"])


class Fleet:
    """The processes of one fleet, up."""

    def __init__(self, folder: Path, start: Any, *, nodes: int, devices: int) -> None:
        self.ids = prepare(folder, nodes=nodes, devices=devices)
        alone = helm_without_nodes(folder, nodes=nodes)
        self.port = free_port()
        self.nodes: Worker = start("bench._fleet_nodes", str(folder))
        self.helm: Worker = start("bench._fleet_helm", str(folder), str(self.port))
        assert self.nodes.ready
        self.pages = 0
        self.began = time.monotonic()
        self.up = self.helm.ask(task="start", nodes=nodes)
        self.link_kb = (self.up["mb"] - alone) * 1024 / nodes

    def wait_for_quiet(self) -> None:
        """Wait until every node has been read twice, and what follows from what it said first has been done."""
        time.sleep(max(0.0, self.began + 3 * READ_EVERY - time.monotonic()))

    def open_pages(self, pages: Worker) -> None:
        for number in range(0, PAGES, MAX_PER_SESSION):
            role = "viewer" if number % (2 * MAX_PER_SESSION) else "owner"
            headers = self.helm.ask(task="sign_in", name=f"admin {number}", role=role)["headers"]
            pages.ask(task="open", port=self.port, headers=headers, count=min(MAX_PER_SESSION, PAGES - number))
        self.pages = PAGES

    def events(self, pages: Worker, rate: int, seconds: float) -> tuple[float, float]:
        """Return how late an event is (ms, 95th percentile) at this rate, and helm's share of a core (percent)."""
        pages.ask(task="collect")
        before, began, cpu = self.helm.ask(task="written"), time.monotonic(), self.helm.cpu()
        sent = self.nodes.ask(task="tell", per_second=rate, seconds=seconds)["sent"]
        written = shed = 0
        while written + shed < 0.99 * sent:
            if time.monotonic() - began > 3 * seconds + 10:
                raise RuntimeError(f"{sent} events were sent, {written} written and {shed} shed")
            time.sleep(0.05)
            now = self.helm.ask(task="written")
            written, shed = now["events"] - before["events"], now["shed"] - before["shed"]
        if shed:
            print(f"at {rate} events a second {shed} of {sent} were shed: they came faster than they could be written")
        took = max(time.monotonic() - began, seconds)
        share = (self.helm.cpu() - cpu) / took * 100
        seen = pages.ask(task="collect")
        if self.pages and not seen["least"]:
            raise RuntimeError("a page saw no event at all")
        return float(seen["p95"]), share


def measure(folder: Path, *, nodes: int, devices: int, quick: bool) -> dict[str, float]:
    """Return the figures of one fleet."""
    with workers() as start:
        fleet = Fleet(folder, start, nodes=nodes, devices=devices)
        figures: dict[str, float] = {
            "nodes": nodes,
            "devices": devices,
            "cold_up_s": fleet.up["seconds"],
            "link_kb": fleet.link_kb,
            "helm_mb": fleet.up["mb"],
        }
        seconds = 4 if quick else 15
        acks = fleet.helm.ask(task="acks", samples=20 if quick else 60, nodes=fleet.ids[:: max(nodes // 20, 1)])
        figures["peer_ack_p95_ms"] = acks["p95"]
        figures["fleet_change_s"] = fleet.helm.ask(task="change", closed="192.0.2.0/24")["seconds"]
        figures["reseal_10k_s"] = fleet.helm.ask(task="reseal")["seconds"] * 10_000 / devices
        if not quick:
            fleet.wait_for_quiet()
        figures["idle_cpu_pct"] = fleet.helm.ask(task="idle", seconds=2 * seconds)["pct"]
        pages = start("bench._fleet_pages")
        # Without anybody who looks; what fifty open pages cost beside it is a figure of its own.
        _, figures["events_10k_cpu_pct"] = fleet.events(pages, LOADED, seconds)
        fleet.open_pages(pages)
        figures["event_ws_p95_ms"], figures["events_200_pages_cpu_pct"] = fleet.events(pages, LIGHT, seconds)
        figures["event_ws_loaded_p95_ms"], figures["events_10k_pages_cpu_pct"] = fleet.events(pages, LOADED, seconds)
        return figures


def growth(sizes: list[int]) -> None:
    """Print how the start and a link's memory grow with the fleet."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, workers() as start:
            fleet = Fleet(Path(folder), start, nodes=size, devices=size)
            print(f"{size} nodes: up in {fleet.up['seconds']:.2f} s, {fleet.link_kb:.0f} kB a link", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller fleet, below a minute")
    quick = parser.parse_args().quick
    raise_file_limit()
    try:
        if not quick:
            growth([10, 100])
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(
                Path(folder), nodes=200 if quick else 1000, devices=2_000 if quick else 10_000, quick=quick
            )
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    print(f"{figures['nodes']:.0f} nodes: up in {figures['cold_up_s']:.2f} s, {figures['link_kb']:.0f} kB a link")
    report("fleet", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
