"""What an operator sets on helm."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

import attrs
import platformdirs

from pharos.helm.model import aboard
from pharos.helm.model.aboard import AboardPlan
from pharos.helm.model.fleet import Posture
from pharos.helm.model.postures import BEACON, posture_value

DEFAULT_STATE: Final = Path(os.environ.get("PHAROS_HELM_STATE") or platformdirs.user_data_path("pharos") / "helm")
"""A package's commands set the variable: there the operator and the service mean one directory."""
PACKAGED_STATE: Final = Path("/var/lib/pharos-helm")
"""Of the service of the package pharos-helm."""
WEB_PORT: Final = 8440
SOCKET_NAME: Final = "helm.sock"
"""Below the state directory: where the operator's commands reach a running helm."""


def _check_loopback(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"{attribute.name} = {value!r}: helm's web edge listens on loopback only")


def _check_web_port(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    # Not 0: the guard has to know the exact Host that browsers will send, and the record where devices go.
    if not 0 < value <= 65535:
        raise ValueError(f"{attribute.name} = {value} is not a port (1 to 65535)")


# As browsers write an Origin (RFC 6454 §6.1): lower case, no path, and no port that its scheme has anyway.
_ORIGIN: Final = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?")
_IMPLIED: Final = {"http": "80", "https": "443"}
MAX_ORIGINS: Final = 16
"""More ways to one page than any admin has."""


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_origins(instance: HelmConfig, attribute: attrs.Attribute[tuple[str, ...]], value: object) -> None:
    if not isinstance(value, tuple) or len(value) > MAX_ORIGINS:
        raise ValueError(f"{attribute.name} is a list of at most {MAX_ORIGINS} origins")
    for origin in value:
        match = _ORIGIN.fullmatch(origin) if isinstance(origin, str) else None
        if match is None or int(match["port"] or 1) > 65535:
            raise ValueError(f"{attribute.name}: {origin!r} is no origin such as {instance.scheme}://localhost:9000")
        if match["port"] == _IMPLIED[match["scheme"]]:
            raise ValueError(f"{attribute.name}: browsers leave the port out of {origin!r}, so leave it out too")
        if match["scheme"] != instance.scheme:
            raise ValueError(
                f"{attribute.name}: {origin!r}, but with web_tls = {str(instance.web_tls).lower()} the page is served"
                f" as {instance.scheme}"
            )


def _check_switch(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in ("", "on", "off"):
        raise ValueError(f"{attribute.name} = {value!r} is neither on nor off")


@attrs.frozen(kw_only=True)
class HelmConfig:
    """helm's settings; each has a key of the same name in its TOML file, most an option of `helm run`."""

    state: Path = DEFAULT_STATE
    """Directory of databases and keys, mode 0700."""
    web_host: str = attrs.field(default="127.0.0.1", validator=_check_loopback)
    """Loopback address of the web edge."""
    web_port: int = attrs.field(default=WEB_PORT, validator=_check_web_port)
    """TCP."""
    web_tls: bool = False
    """Serve the web edge by TLS, to browsers with a certificate of an admin (`helm admins certificate`)."""
    web_origins: tuple[str, ...] = attrs.field(default=(), converter=_as_tuple, validator=_check_origins)
    """Further origins of the page, such as ``http://localhost:9000`` for ``ssh -L 9000:localhost:8440``."""
    beacon: str = attrs.field(default="", validator=_check_switch)
    """Whether helm carries a beacon aboard: on, off, or empty for what the fleet's posture says."""
    beacon_host: str = aboard.HOST
    """IP address on which it listens; one that is not of loopback lets other machines in."""
    beacon_port: int = attrs.field(default=aboard.PORT, validator=_check_web_port)
    """TCP."""
    beacon_address: str = ""
    """Where devices reach it, ``host`` or ``host:port``; tickets and profiles name it."""
    geoip: str = ""
    """A MaxMind file with locations, for alerts on travel that is impossible; empty for none."""

    def __attrs_post_init__(self) -> None:
        _ = self._aboard.address

    @property
    def _aboard(self) -> AboardPlan:
        return AboardPlan(host=self.beacon_host, port=self.beacon_port, told=self.beacon_address)

    def aboard(self, posture: Posture) -> AboardPlan | None:
        """Return how the beacon aboard is to be run; None where there is to be none."""
        wanted = self.beacon == "on" if self.beacon else bool(posture_value(BEACON, posture))
        return self._aboard if wanted else None

    @property
    def scheme(self) -> str:
        """Of the page's address."""
        return "https" if self.web_tls else "http"

    @property
    def desk_host(self) -> str:
        """What the page hears as its Host from an admin elsewhere, who comes through no socket of this machine."""
        return f"localhost:{self.web_port}"

    @property
    def web_hosts(self) -> frozenset[str]:
        """What browsers may call helm in the Host header: loopback's names, and those of ``web_origins``."""
        own = {f"{name}:{self.web_port}" for name in ("localhost", "127.0.0.1", "[::1]")}
        return frozenset(own | {origin.partition("://")[2] for origin in self.web_origins})
