"""How fast is helm's record? Lists, durable changes, the live feed, event ingest, the audit, and opening a large file.

    python -m bench.record [--quick]

Real files, real sockets; every figure is of this run and this machine. The last line is one JSON object. Exit code 1
means that something could not be measured.
"""

import argparse
import sys
from collections.abc import Callable

from bench._record_audit import measure_verify
from bench._record_list import measure_list
from bench._record_live import measure_ws
from bench._record_store import measure_writes
from bench._record_telemetry import measure_ingest, measure_reopen
from bench.support import report
from pharos.wire.units import MIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter rounds, below a minute")
    quick = parser.parse_args().quick
    seconds = 3 if quick else 10
    measures: dict[str, Callable[[], float]] = {
        "list_10k_p95_ms": lambda: measure_list(10_000),
        "writes_per_s": lambda: measure_writes(seconds),
        "ws_p95_ms": lambda: measure_ws(clients=50, rate=200, seconds=seconds),
        "ingest_events_per_s": lambda: measure_ingest(seconds),
        "verify_rows_per_s": lambda: measure_verify(50_000 if quick else 500_000),
        "reopen_s": lambda: measure_reopen(1024 * MIB),
    }
    figures = {}
    try:
        for name, measure in measures.items():
            figures[name] = measure()
            print(f"{name}: {figures[name]:,.3f}", flush=True)
    except (RuntimeError, OSError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("record", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
