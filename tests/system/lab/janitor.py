"""Removes a lab when its owner has ended, however it ended; a process of its own, of the standard library alone.

`python janitor.py LAB` waits for the end of its standard input, whose other end only the owner holds, so that an owner
who is killed is noticed too. A lab whose janitor was killed as well is swept by the next one: a namespace's name tells
its owner's pid and when that process started.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

NAMES = Path("/run/netns")
PATIENCE = 10.0
"""Seconds in which killed processes have to be gone."""

_NAME = re.compile(r"(ph(?P<pid>\d+)\.(?P<start>\d+)\.\d+)-\w+")


def lab_name(number: int) -> str:
    """Return what the names of this process's ``number``-th lab begin with."""
    return f"ph{os.getpid()}.{start_time(os.getpid())}.{number}"


def start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since boot, or None when there is none: a pid may be another's now."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): field 22; field 2, the command, may hold blanks and ends with the last parenthesis.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def namespaces(lab: str) -> list[str]:
    """Return the names of a lab's namespaces."""
    return [name for name in _all_names() if name.startswith(f"{lab}-")]


def sweep() -> list[str]:
    """Remove the labs whose owners are dead, and return their names."""
    dead = set()
    for name in _all_names():
        match = _NAME.fullmatch(name)
        if match is not None and start_time(int(match["pid"])) != int(match["start"]):
            dead.add(match[1])
    for lab in dead:
        # What does not die disturbs no lab of another name.
        with contextlib.suppress(TimeoutError):
            remove(lab)
    return sorted(dead)


def remove(lab: str) -> None:
    """Kill whatever runs in a lab's namespaces, and remove them. Another may be doing the same.

    Raises: TimeoutError — something in there does not die.
    """
    deadline = time.monotonic() + PATIENCE
    names = namespaces(lab)
    while _kill(names):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes in {lab} outlive SIGKILL")
        time.sleep(0.005)
    lines = "".join(f"netns del {name}\n" for name in names)
    # What another has removed is an error to ip, and none to us.
    subprocess.run(["ip", "-force", "-batch", "-"], input=lines, text=True, stderr=subprocess.DEVNULL, check=False)


def _all_names() -> list[str]:
    try:
        return sorted(path.name for path in NAMES.iterdir())
    except FileNotFoundError:
        return []


def _kill(names: Collection[str]) -> bool:
    """Kill each process in these namespaces; tell whether there was one."""
    there = set()
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            there.add(_identity(NAMES / name))
    there.discard(_identity(Path("/proc/self/ns/net")))
    found = False
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        # A process that has ended meanwhile, a zombie too, has no namespace any more.
        with contextlib.suppress(OSError):
            if _identity(Path(f"/proc/{pid}/ns/net")) in there:
                found = True
                handle = os.pidfd_open(pid)
                try:
                    # The pid may have become another's between the look and the hold.
                    if _identity(Path(f"/proc/{pid}/ns/net")) in there:
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
    return found


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def main(lab: str) -> None:
    """Wait for the owner's end, then remove its lab."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    remove(lab)
    left = namespaces(lab)
    sys.exit(f"these namespaces could not be removed: {', '.join(left)}" if left else 0)


if __name__ == "__main__":
    main(sys.argv[1])
