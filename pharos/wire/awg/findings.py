"""What is wrong, or unwise, in a tunnel's configuration."""

from __future__ import annotations

import enum
from typing import Final

import attrs

# A template of an I packet can be a screenful; its beginning tells which one it is.
_MAX_QUOTED: Final = 60


class Severity(enum.Enum):
    """How bad it is."""

    ERROR = "error"
    """It breaks a rule and is refused."""
    WARNING = "warning"
    """It works, and costs speed, cover or compatibility."""


@attrs.frozen(kw_only=True)
class Finding:
    """A value and the rule that it breaks or the reason why another would be better."""

    severity: Severity
    key: str
    """As the configuration spells it."""
    value: str
    """As a person may see it: never a secret."""
    rule: str
    line: int = 0
    """In the file, from 1; 0 when there is none."""

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        value = f" = {self.value}" if self.value else ""
        return f"{place}{self.key}{value}: {self.rule}"


def quote(text: str) -> str:
    """Show a text in a message, whatever is in it."""
    if len(text) > _MAX_QUOTED:
        text = text[:_MAX_QUOTED] + "…"
    return text if text.isprintable() and text == text.strip() and text else repr(text)
