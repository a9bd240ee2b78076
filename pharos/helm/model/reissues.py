"""Obfuscation parameters of a node that were replaced, and are still served to devices that have not heard of it."""

from __future__ import annotations

import enum

import attrs

from pharos.wire.awg.params import ObfuscationParameters


class ReissueState(enum.Enum):
    """Whether the node still serves what was replaced."""

    SERVED = "served"
    DONE = "done"
    """Every device had acknowledged the new ones, or the time was up."""


@attrs.frozen(kw_only=True)
class Reissue:
    """A re-issue's record."""

    id: str
    node_id: str
    port: int
    """UDP: where the old parameters are served; one of the node's spare ports."""
    parameters: ObfuscationParameters
    """The old ones."""
    until_at: int
    """Microseconds since 1970: then they end, whoever still uses them."""
    state: ReissueState = ReissueState.SERVED
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""
