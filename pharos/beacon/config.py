"""What an operator sets on a beacon."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from pharos.wire.config import check_port

DEFAULT_STATE: Final = Path("/var/lib/pharos-beacon")
INGRESS_PORT: Final = 443
TUNNEL_PORT: Final = 7444


@attrs.frozen(kw_only=True)
class BeaconConfig:
    """A beacon's settings; each has a key of the same name in its TOML file and an option of `beacon run`."""

    state: Path = DEFAULT_STATE
    """Directory of its identity, mode 0700."""
    host: str = "0.0.0.0"  # noqa: S104 -- a public relay listens to the public
    """Address to listen on, for clients and for helm."""
    ingress_port: int = attrs.field(default=INGRESS_PORT, validator=check_port)
    """TCP, where clients arrive."""
    tunnel_port: int = attrs.field(default=TUNNEL_PORT, validator=check_port)
    """TCP, where helm dials in."""
