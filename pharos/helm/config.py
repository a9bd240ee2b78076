"""What an operator sets on helm."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import platformdirs

DEFAULT_STATE: Final = platformdirs.user_data_path("pharos") / "helm"
WEB_PORT: Final = 8440
SOCKET_NAME: Final = "helm.sock"
"""Below the state directory: where the operator's commands reach a running helm."""


def _check_loopback(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"{attribute.name} = {value!r}: helm's web edge listens on loopback only")


def _check_web_port(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    # Not 0: the guard has to know the exact Host that browsers will send.
    if not 0 < value <= 65535:
        raise ValueError(f"{attribute.name} = {value} is not a port (1 to 65535)")


@attrs.frozen(kw_only=True)
class HelmConfig:
    """helm's settings; each has a key of the same name in its TOML file and an option of `helm run`."""

    state: Path = DEFAULT_STATE
    """Directory of databases and keys, mode 0700."""
    web_host: str = attrs.field(default="127.0.0.1", validator=_check_loopback)
    """Loopback address of the web edge."""
    web_port: int = attrs.field(default=WEB_PORT, validator=_check_web_port)
    """TCP."""
