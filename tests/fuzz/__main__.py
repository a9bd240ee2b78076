"""`make fuzz MINUTES=…`: each target in turn, by atheris where it is installed and by our own mutator where not.

A failing input is kept in `.cache/fuzz/`, and ``python -m tests.fuzz TARGET FILE`` runs it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.mutate import MAX_BYTES, mutations

CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "fuzz"
# The slowest input takes a few milliseconds; a machine that was asleep for a minute must not be taken for one.
SECONDS_PER_INPUT = 300


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", help="one target; all of them by default")
    parser.add_argument("file", nargs="?", type=Path, help="an input to run once")
    parser.add_argument("--minutes", type=float, default=1.0, help="shared by the targets")
    parser.add_argument("--blind", action="store_true", help="without atheris, even if it is there")
    options = parser.parse_args()
    guided = not options.blind and importlib.util.find_spec("atheris") is not None
    if options.target is None:
        return run_all(options.minutes, blind=options.blind, guided=guided)
    if options.file is not None:
        load(options.target).run(options.file.read_bytes())
        return 0
    folder = CACHE / options.target
    folder.mkdir(parents=True, exist_ok=True)
    seconds = options.minutes * 60
    return run_guided(options.target, folder, seconds) if guided else run_blind(options.target, folder, seconds)


def run_all(minutes: float, *, blind: bool, guided: bool) -> int:
    """Run each target in a process of its own: atheris leaves none alive."""
    from tests.fuzz.targets import TARGETS

    print(
        f"fuzzing {len(TARGETS)} targets {'by coverage (atheris)' if guided else 'blindly: atheris is not installed'}"
    )
    failed = []
    for name in TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", name, "--minutes", str(minutes / len(TARGETS))]
        done = subprocess.run([*command, "--blind"] if blind else command, check=False)
        if done.returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "no input broke a promise")
    return 1 if failed else 0


def load(name):
    from tests.fuzz.targets import TARGETS

    return TARGETS[name]


def run_blind(name: str, folder: Path, seconds: float) -> int:
    target = load(name)
    seed = int.from_bytes(os.urandom(4), "big")
    end, count = time.monotonic() + seconds, 0
    for data in mutations(target.seeds, target.tokens, seed):
        count += 1
        try:
            target.run(data)
        except BaseException:
            kept = folder / f"crash-{seed}-{count}"
            kept.write_bytes(data)
            print(f"{name}: broken by input {count} of seed {seed}, kept in {kept}", file=sys.stderr)
            raise
        if time.monotonic() >= end:
            break
    print(f"{name}: {count} inputs, seed {seed}")
    return 0


def run_guided(name: str, folder: Path, seconds: float) -> int:
    import atheris

    with atheris.instrument_imports(include=["pharos"]):
        target = load(name)
    for number, data in enumerate(target.seeds):
        (folder / f"seed-{number}").write_bytes(data)
    arguments = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-artifact_prefix={folder}/",
        f"-max_len={MAX_BYTES}",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    if target.tokens:
        words = folder.with_suffix(".words")
        words.write_text("".join(f'"{escape(token)}"\n' for token in target.tokens))
        arguments.append(f"-dict={words}")
    atheris.Setup(["tests.fuzz", *arguments, str(folder)], target.run)
    atheris.Fuzz()
    return 0


def escape(token: bytes) -> str:
    """Write a word as libFuzzer's dictionaries have it."""
    return "".join(rf"\x{octet:02x}" for octet in token)


if __name__ == "__main__":
    sys.exit(main())
