"""The date of a build, so that equal sources give equal bytes whenever and wherever they are built."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from deb.errors import PackagingError


def read_epoch(root: Path) -> int:
    """Return the date in seconds since 1970: SOURCE_DATE_EPOCH, or the time of the last commit.

    Raises: PackagingError.
    """
    stated = os.environ.get("SOURCE_DATE_EPOCH")
    if stated is None:
        command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
        try:
            stated = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            raise PackagingError("this is no git checkout to take a date from: set SOURCE_DATE_EPOCH") from None
    try:
        return int(stated)
    except ValueError:
        raise PackagingError(f"SOURCE_DATE_EPOCH={stated.strip()!r} is no number of seconds") from None
