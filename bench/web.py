"""How does the admin page feel? Debian's Chromium, the built page, a real helm with 10,000 devices at 20 nodes.

    python -m bench.web [--quick]

``first_load_kb`` is what a browser without anything in its cache receives until the overview stands, answers of the API
apart; ``fcp_ms`` is the median first contentful paint of such loads. ``event_paint_p95_ms`` begins when helm has
committed a change and ends when a page has painted it; three pages are open, and the clock is the machine's. Deltas are
handshakes, and of each ten one is a change of a record. ``heap_growth_ratio`` compares JavaScript heaps, garbage
collected, after half a minute and after five more; ``--quick`` leaves it out. Exit code 1 means that something could
not be measured.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Error

from bench import _web_scripts as scripts
from bench.support import percentile, report
from tests.browser import axe
from tests.browser.routes import ROUTES
from tests.browser.tabs import PROGRAM, Tab, open_browser, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet, open_web_fleet

NODES: Final = 20
DEVICES: Final = 10_000
PAGES: Final = 3
RATE: Final = 1_000
"""Deltas a second, of which each tenth is a change of a record."""
WARM_UP: Final = 3.0
MINUTES: Final = 5


class Bench:
    """One fleet and one browser, and what is measured of them."""

    def __init__(self, fleet: WebFleet, browser: Browser, *, quick: bool) -> None:
        self._fleet = fleet
        self._browser = browser
        self._quick = quick
        self._admin = signed_in(fleet, "bench")

    @contextmanager
    def storm(self) -> Iterator[None]:
        """Let the fleet live at full rate while the block lasts."""
        self._fleet.ask("tell", per_second=RATE * 9 / 10)
        self._fleet.ask("change", per_second=RATE / 10)
        try:
            yield
        finally:
            self._fleet.ask("tell", per_second=0)
            self._fleet.ask("change", per_second=0)

    def first_load(self) -> dict[str, float]:
        """Load the overview with nothing cached, several times."""
        sizes, paints = [], []
        for _ in range(3 if self._quick else 9):
            with open_tab(self._browser, self._fleet.address, cookie=self._admin) as tab:
                sizes.append(self._received(tab))
                paints.append(float(tab.seen("paints")["first-contentful-paint"]))
        return {"first_load_kb": statistics.median(sizes) / 1024, "fcp_ms": statistics.median(paints)}

    def _received(self, tab: Tab) -> float:
        """Return the octets that came for the page itself, as they came."""
        network = tab.page.context.new_cdp_session(tab.page)
        network.send("Network.enable")
        paths: dict[str, str] = {}
        octets: dict[str, float] = {}
        network.on("Network.responseReceived", lambda e: paths.update({e["requestId"]: e["response"]["url"]}))
        network.on("Network.loadingFinished", lambda e: octets.update({e["requestId"]: e["encodedDataLength"]}))
        tab.go("/")
        tab.page.wait_for_load_state("load")
        # What the page asks for once it stands, the world's outline and its fonts, belongs to the first load.
        tab.page.evaluate("document.fonts.ready.then(() => null)")
        tab.page.wait_for_timeout(500)
        return sum(size for key, size in octets.items() if "/api/" not in paths.get(key, ""))

    def event_paint(self) -> dict[str, float]:
        """Change nodes one after the other; see when each page that lists them has painted it."""
        late: list[float] = []
        nodes = [node["id"] for node in self._fleet.get("/nodes?limit=100")["items"]]
        with ExitStack() as stack:
            tabs = [
                stack.enter_context(open_tab(self._browser, self._fleet.address, cookie=self._admin))
                for _ in range(PAGES)
            ]
            for tab in tabs:
                tab.go("/nodes")
                tab.page.evaluate(scripts.WATCH_NAMES)
            for number in range(30 if self._quick else 150):
                committed = self._fleet.ask("rename", node=nodes[number % len(nodes)], name=f"w{number}x")
                for tab in tabs:
                    tab.page.wait_for_function(scripts.PAINTED, arg=number)
                late += [float(tab.page.evaluate(scripts.PAINTED, number)) - committed for tab in tabs]
        return {"event_paint_p95_ms": percentile(late, 95), "event_paint_p50_ms": percentile(late, 50)}

    def storm_on_devices(self) -> dict[str, float]:
        """Scroll through all devices while the fleet lives."""
        with open_tab(self._browser, self._fleet.address, cookie=self._admin) as tab:
            tab.go("/devices")
            with self.storm():
                time.sleep(WARM_UP)
                tab.forget()
                frames = float(tab.page.evaluate(scripts.SCROLL, 5_000 if self._quick else 15_000))
                longest = max((float(task["duration"]) for task in tab.seen("tasks")), default=0.0)
        return {"longest_task_ms": longest, "scroll_fps": frames}

    def axe(self) -> dict[str, float]:
        """Look at every page in both themes; in the second, at what a theme can change."""
        count = 0
        for theme, only in (("light", ()), ("dark", ("color-contrast",))):
            with open_tab(self._browser, self._fleet.address, cookie=self._admin, theme=theme, still=True) as tab:
                tab.go("/")
                for route in ROUTES:
                    tab.follow(route)
                    found = axe.violations(tab.page, only=only)
                    for line in found:
                        print(f"{route} ({theme}): {line}")
                    count += len(found)
        return {"axe_violations": count}

    def heap(self) -> dict[str, float]:
        """Compare the heap of a page that lives through minutes at full rate."""
        with open_tab(self._browser, self._fleet.address, cookie=self._admin) as tab:
            tab.go("/devices")
            runtime = tab.page.context.new_cdp_session(tab.page)

            def used() -> float:
                runtime.send("HeapProfiler.collectGarbage")
                return float(runtime.send("Runtime.getHeapUsage")["usedSize"])

            with self.storm():
                tab.page.wait_for_timeout(30_000)
                before = used()
                tab.page.wait_for_timeout(MINUTES * 60_000)
                after = used()
        return {"heap_growth_ratio": after / before, "heap_mb": after / 2**20}

    def run(self) -> dict[str, float]:
        figures = self.first_load() | self.event_paint() | self.storm_on_devices() | self.axe()
        return figures if self._quick else figures | self.heap()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer loads and no heap, below a minute")
    quick = parser.parse_args().quick
    if PROGRAM is None:
        print("could not measure: there is no Chromium on this machine", file=sys.stderr)
        return 1
    subprocess.run([sys.executable, str(Path(__file__).resolve().parents[1] / "packaging/spa.py")], check=True)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_web_fleet(Path(folder), nodes=NODES, devices=DEVICES) as fleet,
            open_browser() as browser,
        ):
            figures = Bench(fleet, browser, quick=quick).run()
    except (RuntimeError, OSError, Error) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    print(f"first load {figures['first_load_kb']:.0f} kB, painted after {figures['fcp_ms']:.0f} ms")
    report("web", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
