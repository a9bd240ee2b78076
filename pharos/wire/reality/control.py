"""What a node's control socket carries, in the manner of WireGuard's UAPI: lines of ``key=value`` and an empty line.

A request begins with ``get=1``, ``set=1`` or ``watch=1``; a reply ends with ``errno=N``. What was said before stays as
it is until it is said anew. Secrets go in and never come out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pharos.wire.reality.auth import Version
from pharos.wire.reality.events import Event, UserConnected
from pharos.wire.reality.vless import Flow


@attrs.frozen(kw_only=True)
class UserChange:
    """What to do with one user; None leaves a value as it is."""

    name: str
    remove: bool = False
    kick: bool = False
    user_id: bytes | None = attrs.field(default=None, repr=False)
    flow: Flow | None = None
    send_rate: int | None = None
    """Octets of payload a second to the user, 0 for no limit; likewise the next, from it."""
    receive_rate: int | None = None


@attrs.frozen(kw_only=True)
class Change:
    """A request `set`; None leaves a value as it is."""

    private_key: bytes | None = attrs.field(default=None, repr=False)
    mldsa65_seed: bytes | None = attrs.field(default=None, repr=False)
    """Empty for none."""
    target: str | None = None
    server_names: tuple[str, ...] | None = None
    short_ids: tuple[str, ...] | None = None
    max_time_difference: int | None = None
    """Seconds; 0 for any."""
    oldest_version: Version | None = None
    newest_version: Version | None = None
    listen: tuple[tuple[str, int], ...] | None = None
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    closed_networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    internet: bool | None = None
    """Whether users may reach what is neither allowed nor closed."""
    replace_users: bool = False
    """Whoever is not named in this request is removed; who is named as he was goes on."""
    users: tuple[UserChange, ...] = ()

    def merged(self, later: Change) -> Change:
        """Return what holds after a later request; users are no part of it."""
        said = {
            field.name: value
            for field in attrs.fields(Change)
            if field.name not in {"users", "replace_users"} and (value := getattr(later, field.name)) is not None
        }
        return attrs.evolve(self, **said)


@attrs.frozen(kw_only=True)
class UserState:
    """A user in the reply to `get`."""

    name: str
    flow: Flow
    sessions: int
    received_bytes: int
    sent_bytes: int
    send_rate: int
    receive_rate: int


@attrs.frozen(kw_only=True)
class State:
    """The reply to `get`."""

    told: Change
    started_ns: int
    """Unix time at which the server began: what it has carried counts from then."""
    listening: tuple[tuple[str, int], ...]
    public_key: bytes | None
    learnt: bool
    """Whether the target's habits are known."""
    strangers: int
    """Connections that are not, or not yet, a device's."""
    counters: dict[str, int]
    users: tuple[UserState, ...]


@attrs.frozen
class GetRequest:
    """`get=1`: answer with a `State`."""


@attrs.frozen
class WatchRequest:
    """`watch=1`: send events until the connection ends."""


@attrs.frozen
class BadRequest:
    """A request that cannot be carried out: answer with the errno, and change nothing."""

    errno: int
    reason: str


Request: TypeAlias = GetRequest | Change | WatchRequest | BadRequest
_NO_FLOW: Final = "none"


def as_public_key(private_key: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def write_flow(flow: Flow) -> str:
    return flow.value or _NO_FLOW


def read_flow(text: str) -> Flow:
    """Raises: ValueError."""
    return Flow.NONE if text == _NO_FLOW else Flow(text or "?")


def write_place(place: tuple[str, int]) -> str:
    return f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"


def read_place(text: str) -> tuple[str, int]:
    """Read an IP address and a port; 0 lets the system choose one. Raises: ValueError."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    address = ipaddress.ip_address(bare)
    if (address.version == 6) != (bare != host) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{text[:60]!r} is not address:port")
    return str(address), int(port)


def render_errno(number: int) -> str:
    # The UAPI's errors are negative.
    return f"errno={-number}\n\n"


def told_lines(told: Change) -> Iterator[str]:
    """Write what was said of a node, but for secrets, users and where it listens."""
    for key in ("target", "max_time_difference"):
        if (value := getattr(told, key)) is not None:
            yield f"{key}={value}"
    for key in ("server_names", "short_ids", "allowed_networks", "closed_networks"):
        if (values := getattr(told, key)) is not None:
            yield f"{key}={','.join(map(str, values))}"
    if told.internet is not None:
        yield f"internet={str(told.internet).lower()}"
    for key in ("oldest_version", "newest_version"):
        if (value := getattr(told, key)) is not None:
            yield f"{key}={'.'.join(map(str, value))}"


def render_state(state: State) -> str:
    told = state.told
    lines = [] if state.public_key is None else [f"public_key={state.public_key.hex()}"]
    lines += told_lines(told)
    lines.append(f"started_ns={state.started_ns}")
    lines.append(f"listen={','.join(map(write_place, state.listening))}")
    lines.append(f"learnt={str(state.learnt).lower()}")
    lines.append(f"strangers={state.strangers}")
    lines += [f"{key}={value}" for key, value in state.counters.items()]
    for user in state.users:
        lines += [
            f"user={user.name}",
            f"flow={write_flow(user.flow)}",
            f"sessions={user.sessions}",
            f"rx_bytes={user.received_bytes}",
            f"tx_bytes={user.sent_bytes}",
            f"send_rate={user.send_rate}",
            f"receive_rate={user.receive_rate}",
        ]
    return "\n".join(lines) + "\n" + render_errno(0)


def render_event(event: Event) -> str:
    if isinstance(event, UserConnected):
        lines = ["event=connected", f"user={event.name}", f"session={event.session}", f"source={event.source}"]
    else:
        lines = [
            "event=disconnected",
            f"user={event.name}",
            f"session={event.session}",
            f"rx_bytes={event.received_bytes}",
            f"tx_bytes={event.sent_bytes}",
            f"kicked={str(event.kicked).lower()}",
        ]
    return "\n".join([*lines, f"at_ns={event.at_ns}"]) + "\n\n"
