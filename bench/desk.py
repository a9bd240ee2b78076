"""What does the desk take: joining, logging in, an admin from elsewhere, and looking for what is odd?

    python -m bench.desk [--quick]

helm, a beacon and those who guess run in processes of their own, on loopback; this process is the devices. The last
line is one JSON object. Exit code 1 means that something could not be measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from bench._desk_admin import Away, open_away
from bench._desk_anomalies import measure_anomalies
from bench._desk_enrol import Devices, at_once, one_after_another
from bench._desk_fleet import open_desk
from bench._desk_login import make_accounts
from bench.support import Worker, paired_ratio, percentile, raise_file_limit, report, show, workers
from pharos.caravel.errors import CaravelError

Figures = dict[str, float]
SESSIONS = 100_000
READS = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, below a minute")
    quick = parser.parse_args().quick
    raise_file_limit()
    figures: Figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder, workers() as start:
            figures |= trio.run(measure_desk, Path(folder), start, quick)
        with tempfile.TemporaryDirectory() as folder:
            seconds, alerts = measure_anomalies(Path(folder), SESSIONS)
            show("one look over 100,000 sessions, ms", {f"{alerts} alerts": [1000 * seconds]})
            figures["anomaly_100k_s"] = seconds
    except (RuntimeError, OSError, CaravelError) as error:
        print(f"could not measure: {error}", file=sys.stderr)
        return 1
    report("desk", figures)
    return 0


async def measure_desk(folder: Path, start: Callable[..., Worker], quick: bool) -> Figures:
    """Measure what people do at a desk that runs."""
    async with open_desk(folder, start) as desk:
        devices = Devices(desk)
        await one_after_another(devices, 3)  # warm up
        joined = await one_after_another(devices, 20 if quick else 100)
        rates = [await at_once(devices, 40) for _ in range(1 if quick else 5)]
        show("ticket to bundle, ms", {"one after another": [1000 * each for each in joined]})
        show("enrolments per second", {"8 in flight": rates})
        accounts = await make_accounts(desk, 4)
        await accounts.many(4)  # warm up
        logins = await accounts.many(20 if quick else 100)
        show("login by passphrase, ms", {"2 in flight": [1000 * each for each in logins]})
        guessers = start("bench._desk_guesser")
        idle, guessed = [], []
        for _ in range(2 if quick else 8):
            idle.append(statistics.median([await accounts.log_in() for _ in range(5)]))
            guessed.append(statistics.median(await accounts.while_guessed(guessers, 5)))
        show(
            "login, one after another, ms",
            {"idle": [1000 * each for each in idle], "while others guess": [1000 * each for each in guessed]},
        )
        async with open_away(desk) as away:
            ratio = await measure_away(away, rounds=3 if quick else 15)
    return {
        "login_p95_ms": 1000 * percentile(logins, 95),
        "login_flood_good_ratio": paired_ratio(guessed, idle),
        "enrol_p95_ms": 1000 * percentile(joined, 95),
        "enrol_per_s": statistics.median(rates),
        "admin_ui_ratio": ratio,
    }


async def measure_away(away: Away, *, rounds: int) -> float:
    """Return how much longer twenty reads take over the passage than on helm's own loopback."""
    there, here = [], []
    await away.read_over_passage(READS)
    await away.read_on_loopback(READS)
    for _ in range(rounds):
        there.append(await away.read_over_passage(READS))
        here.append(await away.read_on_loopback(READS))
    show(
        "20 reads, ms",
        {"over the passage": [1000 * each for each in there], "on loopback": [1000 * each for each in here]},
    )
    return paired_ratio(there, here)


if __name__ == "__main__":
    sys.exit(main())
