"""Links as QR codes: on the terminal, or in a file that nobody else can read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import segno

from pharos.wire.console import CommandError, Exit
from pharos.wire.files import write_atomic

# A quarter of a millimetre of a module is too little for a telephone's camera; ten dots of a screen are plenty.
_SCALE: Final = 8
KINDS: Final = (".png", ".svg")


def print_qr(link: str) -> None:
    """Print a link for a camera."""
    # Level L: a screen has no scratches, and a smaller code is easier to catch.
    segno.make(link, error="l").terminal(compact=True)


def check_qr_file(path: Path) -> None:
    """Look whether an image can be written there, before there is a link to write.

    Raises: CommandError.
    """
    if path.suffix.lower() not in KINDS:
        raise CommandError(f"{path} has to end in {' or '.join(KINDS)}", Exit.USAGE)
    if not path.parent.is_dir():
        raise CommandError(f"{path.parent} is no folder", Exit.USAGE)


def save_qr(link: str, path: Path) -> None:
    """Write a link as an image of mode 0600, for a ticket's holds its secret.

    Raises: CommandError — as for ``check_qr_file``. OSError.
    """
    check_qr_file(path)
    image = io.BytesIO()
    # Paper does have scratches: level M.
    segno.make(link, error="m").save(image, kind=path.suffix.lower()[1:], scale=_SCALE)
    write_atomic(path, image.getvalue())
