"""One writer at a time: what changes a device's directory takes its turn, whichever process it is in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pharos.wire.errors import StateFileError
from pharos.wire.files import PRIVATE_FILE, lock_nowait
from pharos.wire.units import MILLISECONDS, SECONDS

LOCK_NAME: Final = "writing.lock"
PATIENCE: Final = 15 * SECONDS
"""A turn is a few fsyncs; a slow disk that is busy with something else may take a second for each."""
LOOK_EVERY: Final = 10 * MILLISECONDS


class Turns:
    """The turns of one directory. Whoever has one may take another inside it."""

    def __init__(self, root: Path) -> None:
        self._path = root / LOCK_NAME
        self._depth = 0

    @property
    def held(self) -> bool:
        """Whether this is our turn."""
        return self._depth > 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the directory while the block runs; blocks until its turn has come.

        Raises: StateFileError — somebody else has not let go of it for `PATIENCE`.
        """
        if self._depth:
            yield
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), PRIVATE_FILE)
        try:
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                # What root does for somebody must not shut them out afterwards.
                owner = self._path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            self._wait(descriptor)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
        finally:
            # The lock goes with the descriptor.
            os.close(descriptor)

    def _wait(self, descriptor: int) -> None:
        give_up = time.monotonic() + PATIENCE
        while not lock_nowait(descriptor):
            if time.monotonic() > give_up:
                raise StateFileError(
                    f"another program has been writing to {self._path.parent} for {PATIENCE:g} s; stop it first"
                )
            time.sleep(LOOK_EVERY)
