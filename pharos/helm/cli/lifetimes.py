"""Durations on the command line."""

from __future__ import annotations

import datetime
import re
from typing import Final

import click

_UNITS: Final = {"m": 60, "h": 3600, "d": 86400}


class Lifetime(click.ParamType[datetime.timedelta]):
    """``15m``, ``2h``, ``7d``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.timedelta:
        """Read a duration; anything else is a usage error."""
        if isinstance(value, datetime.timedelta):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration such as 15m, 2h or 7d", param, ctx)
        return datetime.timedelta(seconds=int(match[1]) * _UNITS[match[2]])
