"""How does the engine fare beside grpc.aio? Both in one run, over the same mTLS on loopback.

    python -m bench.rpc [--quick]

Server, client and relay are processes of their own; rounds are interleaved, and a ratio is the median of the
rounds' ratios. The last line is one JSON object. Exit code 1 means that something could not be measured.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench._rpc_certificates import make
from bench.support import Worker, interleave, paired_ratio, raise_file_limit, report, workers

LINKS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, below a minute")
    quick = parser.parse_args().quick
    raise_file_limit()
    try:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            figures = measure(folder, rounds=7 if quick else 15, seconds=0.4 if quick else 2.0)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("rpc", figures)
    return 0


def measure(folder: str, *, rounds: int, seconds: float) -> dict[str, float]:
    with workers() as start:
        relay = start("bench._rpc_ours", "relay", folder)
        server = start("bench._rpc_ours", "server", folder, str(relay.ready["tunnel"]))
        ours = start("bench._rpc_ours", "client", folder)
        aio_server = start("bench._rpc_aio", "server", folder)
        aio = start("bench._rpc_aio", "client", folder)
        port, aio_port, relay_port = server.ready["port"], aio_server.ready["port"], relay.ready["port"]

        def unary(client: Worker, to: int, in_flight: int) -> Callable[[], float]:
            return lambda: client.ask(task="unary", port=to, in_flight=in_flight, seconds=seconds)["rate"]

        def stream(client: Worker, to: int, messages: int) -> Callable[[], float]:
            return lambda: client.ask(task="stream", port=to, messages=messages)["rate"]

        def latency(to: int) -> Callable[[], float]:
            return lambda: ours.ask(task="latency", port=to, calls=100)["p50"]

        interleave(1, {"ours": unary(ours, port, 50), "aio": unary(aio, aio_port, 50)})  # warm up
        rates = interleave(rounds, {"ours": unary(ours, port, 50), "aio": unary(aio, aio_port, 50)})
        show("unary, 50 in flight, calls/s", rates)
        streams = interleave(
            rounds,
            {
                "ours": stream(ours, port, int(seconds * 30_000)),
                "aio": stream(aio, aio_port, int(seconds * 5_000)),
            },
        )
        show("100-byte server stream, messages/s", streams)
        interleave(1, {"direct": latency(port), "relay": latency(relay_port)})
        # Many short rounds: this ratio is of two sums of wake-ups, which any other load on the machine shifts.
        relayed = interleave(4 * rounds, {"direct": latency(port), "relay": latency(relay_port)})
        show("unary p50, us", {name: [value * 1e6 for value in values] for name, values in relayed.items()})

    memory = {}
    for module in ("bench._rpc_ours", "bench._rpc_aio"):
        with workers() as start:
            server = start(module, "server", folder)
            client = start(module, "client", folder)
            asked = client.ask(task="links", port=server.ready["port"], count=LINKS)
            memory[module] = asked["bytes_per_link"]
    show("memory per idle link, kB", {name: [value / 1000] for name, value in memory.items()})

    return {
        "unary50_ratio": paired_ratio(rates["ours"], rates["aio"]),
        "stream_ratio": paired_ratio(streams["ours"], streams["aio"]),
        "link_memory_ratio": memory["bench._rpc_ours"] / memory["bench._rpc_aio"],
        "relay_p50_ratio": paired_ratio(relayed["relay"], relayed["direct"]),
        "unary50_per_second": statistics.median(rates["ours"]),
        "stream_messages_per_second": statistics.median(streams["ours"]),
        "link_memory_kb": memory["bench._rpc_ours"] / 1000,
        "direct_p50_us": statistics.median(relayed["direct"]) * 1e6,
    }


def show(title: str, results: dict[str, list[float]]) -> None:
    shown = ", ".join(
        f"{name} {statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"
        for name, values in results.items()
    )
    print(f"{title}: {shown}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
