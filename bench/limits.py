"""What each figure shall be: the limits of the issues, with a unit and what the figure means, in one table.

A figure without a limit is told beside those that have one, for whoever wants to know why. Series are figures at
several sizes (bench.growth): ``NAME_at_N`` for each size, and ``NAME_ratio``.
"""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Figure:
    """One number of a bench."""

    name: str
    unit: str
    words: str
    """What it means, for somebody who has not read the bench."""
    limit: float | None = None
    at_least: bool = False
    """The limit is the least that it shall be, or, if not, the most."""
    when: str = ""
    """What it takes to be measured at all, besides the bench: ``not with --quick``, ``root``; empty: nothing."""

    def meets(self, value: float) -> bool | None:
        """Tell whether a value is within the limit; None where there is none."""
        if self.limit is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


@attrs.frozen
class Series:
    """One figure at several sizes, 10 at the least."""

    name: str
    unit: str
    of: str
    """What there are so many of: ``devices``."""
    words: str
    plot: str
    """Those with the same one share a plot (bench/_all_plots.py)."""
    sizes: tuple[int, ...] = (10, 100, 1_000, 10_000)
    full: tuple[int, ...] = ()
    """Sizes that are left out with ``--quick``."""

    def at(self, size: int) -> str:
        """Return the name of its figure at a size."""
        return f"{self.name}_at_{size}"

    @property
    def ratio(self) -> str:
        """The name of the figure that is its value at the largest size measured ÷ that at the smallest."""
        return f"{self.name}_ratio"


@attrs.frozen
class Bench:
    """One of ``bench/NAME.py``."""

    name: str
    issue: int
    """Where its limits are written."""
    asks: str
    figures: tuple[Figure, ...] = ()
    series: tuple[Series, ...] = ()

    @property
    def all_figures(self) -> tuple[Figure, ...]:
        """Its figures, those of its series among them."""
        return self.figures + tuple(figure for series in self.series for figure in _figures_of(series))


def _figures_of(series: Series) -> list[Figure]:
    at = [
        Figure(series.at(size), series.unit, series.words, when="not with --quick" if size in series.full else "")
        for size in series.sizes
    ]
    return [*at, Figure(series.ratio, "×", f"largest ÷ smallest size: {series.words}")]


def most(name: str, limit: float, unit: str, words: str, *, when: str = "") -> Figure:
    """A figure that shall be no more than its limit."""
    return Figure(name, unit, words, limit, when=when)


def least(name: str, limit: float, unit: str, words: str, *, when: str = "") -> Figure:
    """A figure that shall be no less than its limit."""
    return Figure(name, unit, words, limit, at_least=True, when=when)


def told(name: str, unit: str, words: str, *, when: str = "") -> Figure:
    """A figure without a limit."""
    return Figure(name, unit, words, when=when)


SLOW: Final = "not with --quick"
ROOT: Final = "root"

BENCHES: Final = (
    Bench(
        "rpc",
        2,
        "How does the gRPC engine fare beside grpc.aio, in one run, over the same mTLS on loopback?",
        (
            least("unary50_ratio", 1.0, "×", "unary calls a second with 50 in flight, ÷ grpc.aio's"),
            least("stream_ratio", 4, "×", "messages a second of a server stream of 100 bytes each, ÷ grpc.aio's"),
            most("link_memory_ratio", 0.6, "×", "memory of an idle link of 1,000, ÷ grpc.aio's"),
            most("relay_p50_ratio", 2.5, "×", "median unary call through the beacon's forwarding ÷ direct"),
            told("unary50_per_second", "/s", "unary calls a second, 50 in flight"),
            told("stream_messages_per_second", "/s", "messages a second of one server stream"),
            told("link_memory_kb", "kB", "memory of an idle link"),
            told("direct_p50_us", "µs", "median unary call, direct"),
        ),
    ),
    Bench(
        "wire",
        3,
        "What do the checks of the wire cost, and what can those do who mean ill?",
        (
            least("handshakes_ratio", 0.65, "×", "mTLS connects a second, both ends checked, ÷ grpc.aio's unchecked"),
            most("flood_good_p99_ratio", 5, "×", "a good client's p99 while another floods with resets ÷ idle"),
            most("flood_cpu_s", 0.3, "s", "CPU that 20,000 resets on one connection cost the server"),
            most("idle_link_kb", 75, "kB", "memory of an idle link at the side that dialled, of 1,000"),
            most("passage_echo_ratio", 2.5, "×", "median call inside an open passage through a relay ÷ direct"),
            most("light_passage_helm_kb", 35, "kB", "helm's memory for an idle passage that waits for notices"),
            most("full_passage_helm_kb", 75, "kB", "helm's memory for an idle passage with a connection inside"),
            most("stalled_good_ratio", 3, "×", "a good device's dial and 20 calls beside 40 that do not read ÷ alone"),
            told("handshakes_cpu_ratio", "×", "grpc.aio's CPU for a connect ÷ ours, both ends"),
            told("handshakes_per_second", "/s", "connects a second with a first call, 4 in flight"),
            told("flood_many_cpu_s", "s", "CPU of 20,000 resets, a connection for each 101"),
            told("flood_many_connections", "", "connections that those took"),
            told("idle_p99_us", "µs", "a good client's p99 with no flood"),
            told("idle_link_own_context_kb", "kB", "memory of an idle link whose TLS context is its own"),
            told("passage_p50_us", "µs", "median call inside a passage"),
            told("direct_p50_us", "µs", "the same call without relay and passage"),
            told("dial_and_calls_ms", "ms", "a passage opened, and 20 calls inside"),
            told("light_passage_helm_ms", "ms", "helm's CPU for opening a light passage"),
            told("full_passage_helm_ms", "ms", "helm's CPU for opening a full one"),
        ),
    ),
    Bench(
        "record",
        4,
        "How fast is helm's record: durable changes, lists, the live feed, events, the audit?",
        (
            most("list_10k_p95_ms", 50, "ms", "p95 of the first page of a filtered list of 10,000 devices"),
            least("writes_per_s", 300, "/s", "changes a second, each durable and audited, 8 callers"),
            most("ws_p95_ms", 50, "ms", "p95 from commit to 50 WebSocket clients at 200 changes a second"),
            least("ingest_events_per_s", 20_000, "/s", "events a second taken in and written, in batches"),
            least("verify_rows_per_s", 50_000, "/s", "audit rows a second whose chain is verified"),
            most("reopen_s", 1, "s", "opening a store whose telemetry.db has 1 GiB"),
        ),
    ),
    Bench(
        "fleet",
        5,
        "What does a helm with 1,000 simulated nodes and 10,000 devices take? (200 and 2,000 with --quick)",
        (
            most("cold_up_s", 20, "s", "from helm's start until every node is up and in force"),
            most("link_kb", 90, "kB", "helm's memory for each link that is up"),
            most("peer_ack_p95_ms", 100, "ms", "p95 from a device's commit until its node has acknowledged it"),
            most("fleet_change_s", 10, "s", "a change of the whole fleet's policy until every node has it"),
            most("events_10k_cpu_pct", 70, "% of a core", "helm at 10,000 events a second, store and hub included"),
            most("event_ws_p95_ms", 50, "ms", "p95 from a node's event to 50 open pages at 200 a second"),
            most("event_ws_loaded_p95_ms", 400, "ms", "the same at 10,000 a second"),
            most("idle_cpu_pct", 6, "% of a core", "helm while nothing happens"),
            most("reseal_10k_s", 5, "s", "sealing 10,000 profiles anew while helm serves"),
            told("nodes", "", "simulated nodes"),
            told("devices", "", "devices"),
            told("helm_mb", "MiB", "all of helm's memory with every link up"),
            told("events_200_pages_cpu_pct", "% of a core", "helm at 200 events a second with 50 open pages"),
            told("events_10k_pages_cpu_pct", "% of a core", "helm at 10,000 events a second with 50 open pages"),
        ),
    ),
    Bench(
        "awg",
        6,
        "How fast is the AmneziaWG engine, beside wireguard-go in the same run?",
        (
            least(
                "terminate_ratio", 3, "×", "one TCP stream whose tunnel ends here, ÷ wireguard-go to itself", when=ROOT
            ),
            least("forward_ratio", 1.7, "×", "the same, forwarded to another network", when=ROOT),
            least("obfuscated_ratio", 0.65, "×", "with headers, sizes and names hidden, ÷ our plain WireGuard"),
            least("mixed_ratio", 1.2, "×", "engine ↔ wireguard-go, the worse direction, ÷ wireguard-go", when=ROOT),
            least("handshakes_per_s", 3_500, "/s", "handshakes answered by one core"),
            most("idle_10k_mb", 25, "MB", "memory of 10,000 configured peers without a session"),
            most("idle_10k_cpu_pct", 2, "% of a core", "CPU that those take while idle"),
            most("lookup_ns", 400, "ns", "finding a packet's peer among 10,000 networks"),
            told("trailers_ratio", "×", "with random trailers too, ÷ our plain"),
            told("padding_ratio", "×", "with padded contents too, ÷ our plain"),
            told("terminate_mbit", "Mbit/s", "that stream's rate"),
            told("cpu_s_per_gb", "s/GB", "CPU of both engines for a gigabyte"),
            told("obfuscated_cpu_s_per_gb", "s/GB", "the same, obfuscated"),
            told("forward_cpu_s_per_gb", "s/GB", "the same, forwarded", when=ROOT),
            told("go_cpu_s_per_gb", "s/GB", "the same of two wireguard-go", when=ROOT),
            told("amneziawg_go_ratio", "×", "obfuscated, ÷ amneziawg-go to itself", when="amneziawg-go on the PATH"),
        ),
    ),
    Bench(
        "reality",
        7,
        "How fast is REALITY, beside plain TLS 1.3 of the standard library in the same run?",
        (
            least("client_ratio", 0.6, "×", "a client's download ÷ that of the ssl module"),
            least("server_ratio", 0.5, "×", "a node's sending ÷ a relay of the ssl module's"),
            least("vision_ratio", 0.8, "×", "Vision's direct copy through SOCKS ÷ two plain hops"),
            most("handshake_cpu_ms", 2, "ms", "CPU of a handshake at the worse end"),
            least("parallel_ratio", 0.6, "×", "100 streams at once ÷ one that carries as much"),
            most("idle_conn_kb", 60, "kB", "a node's memory for a connection that does nothing"),
            most("users_5k_extra_ms", 0.2, "ms", "what 5,000 known users add to a first answer"),
            least("user_changes_per_s", 1_000, "/s", "changes of a user a second, a request each"),
            told("client_cpu_ratio", "×", "ssl's CPU for a byte ÷ ours, client"),
            told("server_cpu_ratio", "×", "ssl's CPU for a byte ÷ ours, node"),
            told("vision_cpu_ratio", "×", "CPU for a byte of two plain hops ÷ Vision's"),
            told("handshake_client_ms", "ms", "CPU of a handshake at the client"),
            told("handshake_node_ms", "ms", "CPU of a handshake at the node"),
            told("idle_client_kb", "kB", "a client's memory for such a connection"),
            told("users_told_per_s", "/s", "users a second that a node is told of in one request"),
            told("xray_server_ratio", "×", "a node's sending ÷ a real Xray's", when="xray on the PATH"),
            told("xray_server_cpu_ratio", "×", "Xray's CPU for a byte ÷ ours", when="xray on the PATH"),
        ),
    ),
    Bench(
        "agents",
        8,
        "What do a buoy and a beacon take of a small server?",
        (
            most("cold_10k_peers_s", 5, "s", "from a buoy's start with 10,000 peers to the first handshake"),
            most("one_peer_ms", 30, "ms", "one peer more beside 1,000, pushed and acknowledged"),
            most("event_p95_ms", 50, "ms", "p95 from a handshake until helm knows of it"),
            most("agent_mb", 80, "MB", "a buoy with its engines inside and 1,000 peers (PSS)"),
            most("all_mb", 190, "MB", "a buoy and both engines as processes of their own (PSS)", when=ROOT),
            most("idle_cpu_pct", 1.5, "% of a core", "a node that nobody uses, watched by helm"),
            most("idle_passage_kb", 95, "kB", "a beacon's memory for an idle passage, of 2,000 (250 with --quick)"),
            most("forward_p50_ratio", 2.5, "×", "median call in a passage through the beacon ÷ without it"),
            most("passage_cpu_ms", 6, "ms", "a beacon's CPU for opening a passage"),
            told("cold_10k_cpu_s", "s", "CPU of that start"),
            told("one_peer_10k_ms", "ms", "one peer more beside 10,000"),
            told("passage_p50_ratio", "×", "median call in a passage through the beacon ÷ a bare call"),
        ),
    ),
    Bench(
        "desk",
        9,
        "What does the desk take: joining, logging in, an admin from elsewhere, looking for what is odd?",
        (
            most("login_p95_ms", 400, "ms", "p95 of a login by passphrase, 2 in flight (Argon2id, 64 MiB)"),
            most("login_flood_good_ratio", 4, "×", "a good login while sixteen guess without rest ÷ alone"),
            most("enrol_p95_ms", 150, "ms", "p95 from ticket to bundle through a beacon"),
            least("enrol_per_s", 20, "/s", "enrolments a second, 8 in flight"),
            most("admin_ui_ratio", 4, "×", "20 reads of the API over a passage ÷ on helm's loopback"),
            most("anomaly_100k_s", 10, "s", "one look over 100,000 sessions for what is odd"),
        ),
    ),
    Bench(
        "install",
        10,
        "How long is the way from a clone to a fleet?",
        (
            most("deb_s", 180, "s", "make deb, its wheels downloaded before", when=SLOW),
            most("deb_mb", 12, "MB", "the larger agent's package"),
            most("onboard_s", 120, "s", "helm nodes add of one bare server with a relay", when=ROOT),
            most("agent_ready_s", 1.5, "s", "systemd's start to READY of the slower agent", when=ROOT),
            most("journey_s", 600, "s", "all commands of the README", when=f"{ROOT}, {SLOW}"),
        ),
    ),
    Bench(
        "web",
        11,
        "How does the admin page feel in Chromium, with a real helm of 20 nodes and 10,000 devices?",
        (
            most("first_load_kb", 250, "KiB", "what a browser receives until the overview stands, compressed"),
            most("fcp_ms", 800, "ms", "first contentful paint, median"),
            most("event_paint_p95_ms", 120, "ms", "p95 from helm's commit until it is painted, 3 pages open"),
            most("longest_task_ms", 100, "ms", "longest task at 1,000 deltas a second over 10,000 rows"),
            least("scroll_fps", 30, "/s", "frames a second while scrolling through them"),
            most("axe_violations", 0, "", "what axe finds on any page in either theme"),
            most("heap_growth_ratio", 1.2, "×", "heap after five more minutes of that ÷ before", when=SLOW),
            told("event_paint_p50_ms", "ms", "the median of the same"),
            told("heap_mb", "MiB", "that heap at its end", when=SLOW),
        ),
    ),
    Bench(
        "caravel",
        12,
        "How quick is caravel, how light, and does it hold?",
        (
            most("enrol_first_packet_s", 2, "s", "from an invitation's link to a first packet through a tunnel"),
            most("cached_connect_ms", 400, "ms", "connecting from what is kept, helm not asked"),
            most("failover_s", 5, "s", "from a node's death until another carries, the worst"),
            most("leaks", 0, "", "packets outside the tunnel in so many forced switches", when=ROOT),
            most("import_ratio", 1.3, "×", "importing the library ÷ importing what it stands on"),
            most("rss_mb", 90, "MB", "memory of a connected client"),
            least("netstack_mbit", 150, "Mbit/s", "through our own TCP over loopback, the worse direction"),
            least("netstack_lossy_ratio", 0.7, "×", "20 ms and 1 % loss: our TCP ÷ Linux's over the same relay"),
            told("import_whole_ratio", "×", "with all that a connection needs"),
            told("import_ms", "ms", "importing the library"),
            told("netstack_down_mbit", "Mbit/s", "download of the same"),
            told("netstack_up_mbit", "Mbit/s", "upload of the same"),
            told("userns_mbit", "Mbit/s", "Linux's TCP in the same place"),
            told("netstack_lossy_down_ratio", "×", "download over the lossy line"),
            told("netstack_lossy_up_ratio", "×", "upload over the lossy line"),
            told("netstack_lossy_bbr_ratio", "×", "upload ÷ Linux with BBR, which loss does not slow", when=SLOW),
            told("switches", "", "forced switches in which leaks were looked for", when=ROOT),
        ),
    ),
    Bench(
        "growth",
        13,
        "How does what we measure grow from 10 to 10,000?",
        series=(
            Series("list_ms", "ms", "devices", "p95 of the first page of a filtered list", "wait"),
            Series("search_ms", "ms", "devices", "p95 of a search by name over all kinds", "wait"),
            Series("one_peer_ms", "ms", "peers", "one peer more, pushed and acknowledged, median", "wait"),
            Series("snapshot_us", "µs", "peers", "a first push of all peers, for each of them", "each"),
            Series("reseal_us", "µs", "bundles", "all bundles sealed anew, for each", "each", full=(10_000,)),
            Series("verify_us", "µs", "audit rows", "the audit verified, for each row", "each"),
            Series("ingest_us", "µs", "devices", "an event taken in and written", "each"),
            Series(
                "deny_us",
                "µs",
                "entries",
                "a deny list verified and loaded, for each entry",
                "each",
                (10, 100, 1_000, 4_096),
            ),
            Series(
                "denied_ns", "ns", "entries", "one look whether a member is denied", "look", (10, 100, 1_000, 4_096)
            ),
            Series("lookup_ns", "ns", "peers", "the AmneziaWG engine finds a packet's peer", "look"),
            Series("snapshot_kb", "kB", "peers", "a first push on the wire, for each peer", "size"),
            Series("store_kb", "kB", "devices", "core.db for each device, its audit included", "size"),
            Series("awg_peer_kb", "kB", "peers", "the AmneziaWG engine's memory for each peer", "size"),
            Series("helm_mb", "MiB", "nodes", "helm's memory with all nodes up", "fleet", (10, 100, 1_000), (1_000,)),
            Series("cold_up_s", "s", "nodes", "helm's start until all are up", "fleet", (10, 100, 1_000), (1_000,)),
        ),
    ),
)
"""In the order of the issues; ``install`` runs only when it is asked for (bench/_all_run.py)."""

BY_NAME: Final = {bench.name: bench for bench in BENCHES}
