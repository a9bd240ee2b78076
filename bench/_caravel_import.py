"""How long the library takes to import, beside the four libraries that it stands on: each in a process of its own.

The libraries are asked for exactly those of their modules that a connected client has in use.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Final

LIBRARY: Final = "from pharos.caravel import open_client"
WHOLE: Final = (
    f"{LIBRARY}\nimport pharos.caravel.follow, pharos.caravel.tunnel.connection, pharos.wire.awg.netstack.stack"
)
"""With all that comes when a program connects and hears of helm."""
BELOW: Final = ("trio", "grpclib", "cryptography", "nacl")


def seconds(code: str) -> float:
    """Return how long a fresh interpreter takes over so much code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def modules_below() -> list[str]:
    """Return the modules of the four that are there once all of ours is."""
    code = f"{WHOLE}\nimport sys\nprint(*[m for m in sys.modules if m.partition('.')[0] in {BELOW!r}])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def import_rounds(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of ours, of all of ours, and of those below, without those of a bare interpreter."""
    codes = {"caravel": LIBRARY, "whole": WHOLE, "below": "import " + ", ".join(modules_below())}
    for code in codes.values():
        seconds(code)
    found: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        bare = seconds("pass")
        for name, code in codes.items():
            found[name].append(seconds(code) - bare)
    return found
