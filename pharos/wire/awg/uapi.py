"""The UAPI of WireGuard's and AmneziaWG's engines: how a program is told its configuration over a Unix socket.

Source: the "Cross-platform userspace implementation" page of wireguard.com, and the engines as observed. A request is
``get=1`` or ``set=1``, lines of ``key=value`` and an empty line; a reply ends with ``errno=N`` and an empty line.
Ours are the rates of a peer, faces (a further port with parameters of its own) and the request ``watch=1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, TypeAlias

import attrs

from pharos.wire.awg.confkeys import PARAMETER_KEYS
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.ipackets import parse_ipacket
from pharos.wire.awg.keys import NO_PRESHARED_KEY
from pharos.wire.awg.params import PLAIN, ObfuscationParameters, UncheckedParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.texts import read_hex_key

NO_PRIVATE_KEY: Final = bytes(32)
"""In a change: forget it."""
OFF: Final = Range(0, 0)
"""In a change: no persistent keepalive."""
# In bytes a second; a limit of 2^53 is none.
MAX_RATE: Final = 2**53
# A face answers on a port of its own.
MAX_FACE: Final = 255

_DEFAULTS: Final = {name: field.default for name, field in attrs.fields_dict(UncheckedParameters).items()}
_READERS: Final = {key.field: key.read for key in PARAMETER_KEYS} | {"header_protection_key": read_hex_key}


@attrs.frozen(kw_only=True)
class PeerChange:
    """What to do with one peer; None leaves a value as it is."""

    public_key: bytes = attrs.field(repr=bytes.hex)
    remove: bool = False
    update_only: bool = False
    """Do nothing if there is no such peer."""
    preshared_key: bytes | None = attrs.field(default=None, repr=False)
    """All zero: none."""
    endpoint: Address | None = None
    persistent_keepalive: Range | None = None
    """Seconds; `OFF` for never."""
    replace_allowed_ips: bool = False
    """Drop all allowed networks first."""
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    """Added, in this order; a network leaves the peer that has it."""
    removed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    """Taken from this peer."""
    send_rate: int | None = None
    """Bytes of inner packets a second, 0 for no limit; likewise the next. Ours."""
    receive_rate: int | None = None


@attrs.frozen(kw_only=True)
class FaceChange:
    """A further port with parameters of its own. Ours."""

    number: int
    """From 1; the device's own port is face 0."""
    remove: bool = False
    listen_port: int | None = None
    parameters: Mapping[str, Any] = attrs.Factory(dict)
    """As in `DeviceChange`."""


@attrs.frozen(kw_only=True)
class DeviceChange:
    """A `set` request, whole and checked value by value; None leaves a value as it is."""

    private_key: bytes | None = attrs.field(default=None, repr=False)
    listen_port: int | None = None
    """0 lets the system choose."""
    fwmark: int | None = None
    """0 for none."""
    parameters: Mapping[str, Any] = attrs.field(factory=dict, repr=lambda changes: repr(sorted(changes)))
    """Obfuscation parameters to change, typed, by field; `changed_parameters` makes a set of them."""
    faces: tuple[FaceChange, ...] = ()
    replace_peers: bool = False
    """Drop all peers first."""
    peers: tuple[PeerChange, ...] = ()


@attrs.frozen(kw_only=True)
class PeerState:
    """A peer in the reply to `get`."""

    public_key: bytes = attrs.field(repr=bytes.hex)
    preshared_key: bytes = attrs.field(default=NO_PRESHARED_KEY, repr=False)
    endpoint: Address | None = None
    last_handshake_ns: int = 0
    """Unix time; 0 for never."""
    sent_bytes: int = 0
    received_bytes: int = 0
    persistent_keepalive: Range | None = None
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    send_rate: int = 0
    receive_rate: int = 0


@attrs.frozen(kw_only=True)
class FaceState:
    """A face in the reply to `get`."""

    number: int
    listen_port: int = 0
    parameters: ObfuscationParameters = PLAIN


@attrs.frozen(kw_only=True)
class DeviceState:
    """The reply to `get`."""

    private_key: bytes = attrs.field(default=NO_PRIVATE_KEY, repr=False)
    listen_port: int = 0
    fwmark: int = 0
    parameters: ObfuscationParameters = PLAIN
    faces: tuple[FaceState, ...] = ()
    peers: tuple[PeerState, ...] = ()


@attrs.frozen
class GetRequest:
    """`get=1`: answer with a `DeviceState`."""


@attrs.frozen
class WatchRequest:
    """`watch=1`: send events until the connection ends. Ours."""


@attrs.frozen
class BadRequest:
    """A request that cannot be carried out: answer with the errno, and change nothing."""

    errno: int
    reason: str


Request: TypeAlias = GetRequest | DeviceChange | WatchRequest | BadRequest


def read_parameter(field: str, text: str) -> Any:
    """Read a parameter's new value; zero or nothing is WireGuard's own.

    Raises: ValueError — the rule that the text breaks.
    """
    if field.startswith("i") and len(field) == 2:
        return parse_ipacket(text) if text else None
    value = _READERS[field](text)
    return _DEFAULTS[field] if value in (0, OFF, bytes(32)) else value


def write_parameter(field: str, value: Any) -> str:
    """Write a parameter's new value, so that `read_parameter` gives it back."""
    match value:
        case bytes():
            return (value or bytes(32)).hex()
        case bool():
            return "true" if value else "false"
        case None:
            return "" if field.startswith("i") and len(field) == 2 else "0"
        case _:
            return str(value)


def changed_parameters(parameters: ObfuscationParameters, changes: Mapping[str, Any]) -> ObfuscationParameters:
    """Return the set after the changes.

    Raises: ParameterError — it breaks a rule; nothing is changed then.
    """
    return attrs.evolve(parameters, **changes)


def parameter_changes(old: ObfuscationParameters, new: ObfuscationParameters) -> dict[str, Any]:
    """Return what makes ``new`` out of ``old``."""
    return {name: getattr(new, name) for name in _DEFAULTS if getattr(new, name) != getattr(old, name)}
