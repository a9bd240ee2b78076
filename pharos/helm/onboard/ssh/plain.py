"""What a machine says, made fit for a terminal and a log: it may be an enemy's."""

from __future__ import annotations

from typing import Final

MAX_SAID: Final = 600
"""Characters: the last lines of apt and dpkg, which name the cause, fit into it."""


def plain(said: bytes | str, limit: int = MAX_SAID) -> str:
    """Return the end of what was said, in one line, without any sign that a terminal would obey (ECMA-48)."""
    # Four bytes are the most that a sign of UTF-8 takes: what is cut off here could not have been in the end of it.
    text = said[-4 * limit :].decode(errors="replace") if isinstance(said, bytes) else said
    lines = ("".join(sign if sign.isprintable() else "�" for sign in line).strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line)[-limit:]
