"""Folders below the state directory in which backups are made, and what is left of them where one was killed."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from pharos.wire.errors import StateFileError
from pharos.wire.files import lock_state_directory
from pharos.wire.world import this_world

log = logging.getLogger(__name__)

_PREFIX: Final = ".backup-"
# As `tempfile` draws names.
_OURS: Final = re.compile(r"\.backup-[a-z0-9_]{8}")


@contextmanager
def open_scratch(state: Path) -> Iterator[Path]:
    """Make a private folder for a backup, gone once the block is left; what killed ones left goes first.

    A backup is made beside a running helm, which has the state directory's lock. So each folder has one of its own, by
    which others see that it is in use.

    Raises: OSError.
    """
    sweep(state)
    while True:
        with ExitStack() as stack:
            name = stack.enter_context(
                tempfile.TemporaryDirectory(prefix=_PREFIX, dir=state, ignore_cleanup_errors=True)
            )
            folder = Path(name)
            try:
                stack.enter_context(lock_state_directory(folder))
            except (StateFileError, FileNotFoundError):
                # Somebody swept before it was locked.
                continue
            if (folder / "lock").exists():
                yield folder
                return


def sweep(state: Path) -> None:
    """Remove the folders of backups that were killed. One that cannot be removed is logged, and let be."""
    for path in sorted(state.iterdir()):
        if not _OURS.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue
        try:
            with lock_state_directory(path):
                this_world().remove_tree(path)
        except StateFileError:
            # Another backup is being made in it.
            continue
        except OSError as error:
            log.warning("%s is left of a backup that was broken off, and stays: %s", path, error.strerror)
