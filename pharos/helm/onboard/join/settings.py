"""Setting keys in an agent's TOML file, whose every key stands there commented out with its default."""

from __future__ import annotations

import re
from collections.abc import Mapping


def set_keys(text: str, values: Mapping[str, int]) -> str:
    """Return the file with these keys; whatever else stands there stays, comments and all."""
    for key, value in values.items():
        line = f"{key} = {value}"
        written = re.compile(rf"^{key}[ \t]*=.*$", re.MULTILINE)
        asleep = re.compile(rf"^#[ \t]*{key}[ \t]*=.*$", re.MULTILINE)
        if written.search(text):
            text = written.sub(line, text, count=1)
        elif asleep.search(text):
            text = asleep.sub(line, text, count=1)
        else:
            # Before all else: after a table's head it would be a key of that table.
            text = f"{line}\n{text}"
    return text
