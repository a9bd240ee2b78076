"""What onboardings and upgrades tell, as JSON."""

from __future__ import annotations

import enum
from typing import Any

import attrs


def told_as_json(kind: str, event: attrs.AttrsInstance) -> dict[str, Any]:
    """Return an event as JSON has it: ``event`` names its kind, what is not known is left out."""
    said: dict[str, Any] = {"event": kind}
    for name, value in attrs.asdict(event, recurse=False).items():
        if value is not None and value != "":
            said[name] = _plain(value)
    return said


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
