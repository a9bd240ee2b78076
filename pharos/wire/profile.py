"""What a device is told about its fleet: the plaintext inside a sealed bundle.

Every way to reach a node is one tagged entry of its protocol list. A reader takes the entries whose type it knows and
passes over the others, so that a newer helm can offer a protocol before every device speaks it. Nodes and relays have
no type today, and entries among them that have one are passed over alike; so are members that the reader does not know.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.errors import BundleFormatError, ParameterError
from pharos.wire.ids import DeviceId, FleetId, NodeId, RelayId, check_label, parse_fleet_id
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.reality.params import MAX_GENERATION, check_server_names, check_short_ids

VERSION: Final = 1
KEY_SIZE: Final = 32
AMNEZIAWG: Final = "amneziawg"
VLESS_REALITY: Final = "vless-reality"
FLOW: Final = "xtls-rprx-vision"
"""Of VLESS: inner TLS goes through as it is, with the lengths of its first records blurred."""
FINGERPRINT: Final = "chrome"
"""Whose client hello ours looks like."""


@attrs.frozen(kw_only=True)
class AmneziaWgAccess:
    """How to reach a node by AmneziaWG."""

    host: str
    """Host name or IP address."""
    port: int
    """UDP."""
    public_key: bytes
    """The node's AmneziaWG public key, 32 bytes."""
    parameters: ObfuscationParameters


@attrs.frozen(kw_only=True)
class RealityAccess:
    """How to reach a node by VLESS over REALITY; the user id is derived (`pharos.wire.seal.blind`)."""

    host: str
    """Host name or IP address."""
    port: int
    """TCP."""
    public_key: bytes
    """The node's REALITY key of this generation, X25519, 32 bytes."""
    proof: bytes = attrs.field(repr=False)
    """By the node's derive key (`pharos.wire.seal.realitykey`): without it a helm could hand out a key of its own."""
    generation: int
    server_names: tuple[str, ...]
    """Any of them goes into the hello."""
    short_ids: tuple[str, ...]
    """Any of them does, in hexadecimal: they are the same for all devices, whose profiles are made together."""
    flow: str = FLOW
    fingerprint: str = FINGERPRINT


Access: TypeAlias = AmneziaWgAccess | RealityAccess


@attrs.frozen(kw_only=True)
class ProfileNode:
    """A node as a device sees it."""

    id: NodeId
    name: str
    tags: tuple[str, ...]
    derive_key: bytes
    """X25519 public key of the blind derivation, 32 bytes."""
    generation: int
    """Which derived secret is in use between this device and this node."""
    next_generation: int = 0
    """The one that the node takes into use once this device has said what it derived for it; 0: none is coming."""
    addresses: tuple[str, ...]
    """The node's own addresses inside the tunnel."""
    access: tuple[Access, ...]
    """Ways in that this version knows, best first; may be empty."""
    other_awg_key: bytes = attrs.field(default=b"", repr=False)
    """The AmneziaWG public key of a node that is not reached by that: secrets are derived of it all the same."""
    key_proof: bytes = attrs.field(default=b"", repr=False)
    """The key before these says that they follow it (`pharos.wire.seal.successor`); empty: they follow none."""
    lock_signature: bytes = attrs.field(default=b"", repr=False)
    """The fleet lock says that the keys are this node's (`pharos.wire.seal.lock`); empty: it does not."""

    @property
    def amneziawg(self) -> tuple[AmneziaWgAccess, ...]:
        """The ways in by AmneziaWG."""
        return tuple(way for way in self.access if isinstance(way, AmneziaWgAccess))

    @property
    def reality(self) -> tuple[RealityAccess, ...]:
        """The ways in by REALITY."""
        return tuple(way for way in self.access if isinstance(way, RealityAccess))

    @property
    def awg_key(self) -> bytes:
        """The node's AmneziaWG public key; empty where the profile does not say it."""
        ways = self.amneziawg
        return ways[0].public_key if ways else self.other_awg_key


@attrs.frozen(kw_only=True)
class ProfileRelay:
    """A relay through which helm can be reached."""

    id: RelayId
    host: str
    port: int


@attrs.frozen(kw_only=True)
class Profile:
    """One device's view of its fleet."""

    fleet: FleetId
    device_id: DeviceId
    addresses: tuple[str, ...]
    """The device's own networks inside the tunnel, CIDR."""
    nodes: tuple[ProfileNode, ...]
    relays: tuple[ProfileRelay, ...]
    resolvers: tuple[str, ...] = ()
    """Addresses of DNS resolvers to use inside the tunnel."""
    lock_key: bytes = b""
    """Ed25519 public key of the fleet lock, 32 bytes; empty: there is none."""


def render_profile(profile: Profile) -> bytes:
    """Return the profile as canonical JSON."""
    common = render_common(
        profile.fleet,
        [render_node(node) for node in profile.nodes],
        profile.relays,
        resolvers=profile.resolvers,
        lock_key=profile.lock_key,
    )
    return render_own(profile.device_id, profile.addresses) + common


def render_own(device_id: DeviceId, addresses: tuple[str, ...]) -> bytes:
    """Return the first part of a profile, which is the device's own; `render_common` gives the rest."""
    return encode_canonical({"addresses": list(addresses), "device": device_id})[:-1]


def render_common(
    fleet: FleetId,
    nodes: Iterable[bytes],
    relays: Iterable[ProfileRelay],
    *,
    resolvers: tuple[str, ...] = (),
    lock_key: bytes = b"",
) -> bytes:
    """Return the second part of a profile: all that devices with the same nodes have in common.

    ``nodes`` are as `render_node` gives them. In canonical JSON members stand in the order of their names, so that the
    parts can be put side by side.
    """
    before = {"fleet": fleet} | ({"lock_key": _encode(lock_key)} if lock_key else {})
    after: dict[str, object] = {
        "relays": [{"id": relay.id, "host": relay.host, "port": relay.port} for relay in relays],
        **({"resolvers": list(resolvers)} if resolvers else {}),
        "v": VERSION,
    }
    return b"".join(
        (
            b",",
            encode_canonical(dict(before))[1:-1],
            b',"nodes":[',
            b",".join(nodes),
            b"],",
            encode_canonical(after)[1:],
        )
    )


def render_node(node: ProfileNode) -> bytes:
    """Return one node of a profile."""
    body: dict[str, object] = {
        "id": node.id,
        "name": node.name,
        "tags": list(node.tags),
        "derive_key": _encode(node.derive_key),
        "generation": node.generation,
        "addresses": list(node.addresses),
        "access": [_render_access(way, [other.port for other in more]) for way, more in _alike(node.access)],
    }
    if node.other_awg_key:
        body["awg_key"] = _encode(node.other_awg_key)
    if node.next_generation:
        body["next_generation"] = node.next_generation
    if node.key_proof:
        body["key_proof"] = _encode(node.key_proof)
    if node.lock_signature:
        body["lock_signature"] = _encode(node.lock_signature)
    return encode_canonical(body)


def _alike(access: Iterable[Access]) -> list[tuple[Access, list[Access]]]:
    """Put ways in that follow each other, and differ in the port alone, together: parameters are what is long."""
    found: list[tuple[Access, list[Access]]] = []
    for way in access:
        if found and attrs.evolve(way, port=found[-1][0].port) == found[-1][0]:
            found[-1][1].append(way)
        else:
            found.append((way, []))
    return found


def _render_access(way: Access, more_ports: list[int]) -> dict[str, object]:
    body: dict[str, object] = {"host": way.host, "port": way.port, "public_key": _encode(way.public_key)}
    if more_ports:
        body["more_ports"] = more_ports
    if isinstance(way, AmneziaWgAccess):
        return {"type": AMNEZIAWG, **body, "parameters": way.parameters.as_mapping()}
    return {
        "type": VLESS_REALITY,
        **body,
        "proof": _encode(way.proof),
        "generation": way.generation,
        "server_names": list(way.server_names),
        "short_ids": list(way.short_ids),
        "flow": way.flow,
        "fingerprint": way.fingerprint,
    }


def parse_profile(data: bytes) -> Profile:
    """Read a profile; members and protocol types of a newer version are passed over.

    Raises: BundleFormatError — it is none, or of another major version.
    """
    try:
        body = json.loads(data)
        if body["v"] != VERSION:
            raise BundleFormatError(f"the profile has version {body['v']!r}; upgrade caravel")
        return Profile(
            fleet=parse_fleet_id(body["fleet"]),
            device_id=DeviceId(check_label(body["device"])),
            addresses=tuple(str(ipaddress.ip_interface(text)) for text in _texts(body["addresses"])),
            nodes=tuple(_node(entry) for entry in body["nodes"] if _is_plain(entry)),
            relays=tuple(
                ProfileRelay(id=RelayId(check_label(entry["id"])), host=_text(entry["host"]), port=_port(entry["port"]))
                for entry in body["relays"]
                if _is_plain(entry)
            ),
            resolvers=tuple(str(ipaddress.ip_address(text)) for text in _texts(body.get("resolvers", []))),
            lock_key=_key(body["lock_key"]) if "lock_key" in body else b"",
        )
    except (KeyError, TypeError, ValueError, RecursionError, ParameterError) as error:
        raise BundleFormatError(f"the profile is damaged: {error!r}") from error


def _is_plain(entry: dict[str, Any]) -> bool:
    """Tell whether an entry of a list is of the one kind that there is today; those of a newer helm have a type."""
    return "type" not in entry


def _node(entry: dict[str, Any]) -> ProfileNode:
    return ProfileNode(
        id=NodeId(check_label(entry["id"])),
        name=_text(entry["name"]),
        tags=_texts(entry["tags"]),
        derive_key=_key(entry["derive_key"]),
        generation=_whole(entry["generation"], 2**32 - 1),
        addresses=tuple(str(ipaddress.ip_address(text)) for text in _texts(entry["addresses"])),
        access=tuple(way for body in entry["access"] if _is_known(body["type"]) for way in _access(body)),
        other_awg_key=_key(entry["awg_key"]) if "awg_key" in entry else b"",
        next_generation=_whole(entry["next_generation"], 2**32 - 1) if "next_generation" in entry else 0,
        key_proof=_signature(entry.get("key_proof", "")),
        lock_signature=_signature(entry.get("lock_signature", "")),
    )


def _access(way: dict[str, Any]) -> list[Access]:
    first = _READERS[way["type"]](way)
    more_ports = way.get("more_ports", [])
    if not isinstance(more_ports, list):
        raise TypeError(f"{more_ports!r} is not a list")
    return [first, *(attrs.evolve(first, port=_port(port)) for port in more_ports)]


def _amneziawg(way: dict[str, Any]) -> AmneziaWgAccess:
    return AmneziaWgAccess(
        host=_text(way["host"]),
        port=_port(way["port"]),
        public_key=_key(way["public_key"]),
        parameters=ObfuscationParameters.from_mapping(_mapping(way["parameters"])),
    )


def _reality(way: dict[str, Any]) -> RealityAccess:
    return RealityAccess(
        host=_text(way["host"]),
        port=_port(way["port"]),
        public_key=_key(way["public_key"]),
        proof=_signature(way["proof"]),
        generation=_whole(way["generation"], MAX_GENERATION),
        server_names=check_server_names(_texts(way["server_names"])),
        short_ids=check_short_ids(_texts(way["short_ids"])),
        flow=_text(way["flow"]),
        fingerprint=_text(way["fingerprint"]),
    )


_READERS: Final[dict[str, Callable[[dict[str, Any]], Access]]] = {AMNEZIAWG: _amneziawg, VLESS_REALITY: _reality}


def _is_known(kind: object) -> bool:
    return isinstance(kind, str) and kind in _READERS


def _key(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if len(raw) != KEY_SIZE:
        raise ValueError(f"a public key of {len(raw)} bytes")
    return raw


def _signature(text: str) -> bytes:
    # Whether it is one is for whoever goes by it to find out; that of a newer kind is no damage.
    return base64.b64decode(text, validate=True)


def _port(value: object) -> int:
    return _whole(value, 65535)


def _whole(value: object, most: int) -> int:
    # bool is an int to Python.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise ValueError(f"{value!r} is not a whole number from 1 to {most}")
    return value


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return tuple(_text(item) for item in value)


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
