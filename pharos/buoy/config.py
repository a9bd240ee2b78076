"""What an operator sets on a buoy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from pharos.wire.config import check_port

DEFAULT_STATE: Final = Path("/var/lib/pharos-buoy")
CONTROL_PORT: Final = 7443
AWG_PORT: Final = 443


@attrs.frozen(kw_only=True)
class BuoyConfig:
    """A buoy's settings; each has a key of the same name in its TOML file and an option of `buoy run`."""

    state: Path = DEFAULT_STATE
    """Directory of identity and peers, mode 0700."""
    host: str = "0.0.0.0"  # noqa: S104 -- a public node listens to the public
    """Address to listen on, for control and tunnel."""
    control_port: int = attrs.field(default=CONTROL_PORT, validator=check_port)
    """TCP, mTLS, for helm only."""
    awg_port: int = attrs.field(default=AWG_PORT, validator=check_port)
    """UDP, AmneziaWG."""
