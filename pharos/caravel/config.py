"""Where a device keeps what it is, and how it wants to be connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
import platformdirs

from pharos.caravel.profiles.layout import split as split_path

DEFAULT_STATE: Final = platformdirs.user_data_path("pharos") / "caravel"
CONFIG_NAME: Final = "connect.toml"
"""In the state directory; read by `caravel up`."""
ANY: Final = "any"
FLOORS: Final = (ANY, "amneziawg", "reality")
"""What may be chosen by itself: anything that the profile offers; nothing plainer than obfuscated AmneziaWG; nothing
that does not look like a visit to a website."""


def _tuple(values: Any) -> Any:
    return tuple(values) if isinstance(values, list) else values


def _check_floor(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in FLOORS:
        raise ValueError(f"{attribute.name} = {value!r} must be one of {', '.join(FLOORS)}")


def _check_ports(_instance: object, attribute: attrs.Attribute[tuple[int, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(type(port) is int and 0 < port < 65536 for port in value):
        raise ValueError(f"{attribute.name} = {value!r} is not a list of ports (1 to 65535)")


def _check_texts(_instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{attribute.name} = {value!r} is not a list of texts")


def _check_table(_instance: object, attribute: attrs.Attribute[dict[str, Any]], value: object) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{attribute.name} = {value!r} is not a table; write [{attribute.name}]")


def _check_mtu(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value and not 1280 <= value <= 65535:
        raise ValueError(f"{attribute.name} = {value} must be 1280 to 65535")


@attrs.frozen(kw_only=True)
class ConnectConfig:
    """How this machine wants to be connected; each has a key of the same name in `connect.toml`, some an option."""

    node: str = ""
    """Id or name of the only node to use; empty: whichever answers best."""
    floor: str = attrs.field(default=ANY, validator=_check_floor)
    """Nothing plainer is chosen by itself (`FLOORS`)."""
    kill_switch: bool = True
    """Whether nothing leaves outside the tunnel, whatever happens to it."""
    hold: bool = False
    """Whether the kill switch stays when the connection is ended, until `caravel down --force` or a restart."""
    lan: bool = True
    """Whether the private networks around this machine are reached."""
    serve: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_check_ports)
    """TCP ports of this machine that stay reachable from outside, such as 22."""
    mtu: int = attrs.field(default=0, validator=_check_mtu)
    """Octets of the largest packet in the tunnel; 0: what the way out takes."""
    resolvers: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_check_texts)
    """Whom to ask for names, through the tunnel, instead of those that the profile names."""
    portal_checks: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_check_texts)
    """http:// addresses that tell a network with a login page from one without; empty: nobody is asked."""
    portal: bool = False
    """Whether people's programs may log in to a network past the kill switch, while it wants that."""
    split: dict[str, Any] = attrs.field(factory=dict, validator=_check_table)
    """What goes outside, or alone inside: the table ``[split]`` (docs/guide/splitting.md)."""


def config_file(state: Path, named: Path | None) -> Path | None:
    """Return the file to read: the one that was named, else that of the state directory if it is there."""
    if named is not None:
        return named
    # How a machine is connected is no matter of one of its fleets.
    root, _ = split_path(state)
    kept = root / CONFIG_NAME
    return kept if kept.exists() else None
