"""What an alert's kind looks like, for those who name one."""

from __future__ import annotations

import re
from typing import Final

from pharos.helm.errors import InvalidRequestError

# The set of kinds is open, for every part of helm names its own; a word that looks like none is a slip of the pen.
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{1,39}")


def check_kind(kind: str) -> str:
    """Return it. Raises: InvalidRequestError — no kind looks like this."""
    if not _KIND.fullmatch(kind):
        raise InvalidRequestError(f"a kind of alert is a word like node_stale, not {kind[:40]!r}")
    return kind
