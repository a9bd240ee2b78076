"""What a node shall do, as helm orders it and a buoy keeps it: the fence, the peers, the parameters, the policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId, check_label
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.reality.params import RealityParameters

KEY_SIZE: Final = 32
# Sixteen inner networks a device are twice what a router with v4, v6 and six subnets behind it needs.
MAX_ADDRESSES: Final = 16
# AmneziaWG and REALITY, and room for what a newer helm offers.
MAX_PROTOCOLS: Final = 16
# Networks that a policy closes: the private ones of both families are eight.
MAX_CLOSED: Final = 64
# One rotation in progress, and another that began before its devices had all heard of it.
MAX_PREVIOUS: Final = 2
DIGEST_SIZE: Final = 8
SET_DIGEST_SIZE: Final = 16
_LARGEST: Final = 2**63 - 1


@attrs.frozen(order=True)
class Fence:
    """The order of pushes: an agent keeps the largest it saw and refuses a lower one.

    The epoch grows with each restore of helm, the term with each start, the revision with each change.
    """

    epoch: int = 0
    term: int = 0
    revision: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.term}.{self.revision}"


@attrs.frozen(kw_only=True)
class QuotaLease:
    """The share of a device's quota that one node may spend without asking again."""

    id: int
    """A lease with another id counts from nothing."""
    octets: int
    """Of inner packets, both directions together."""
    throttle: int = 0
    """Bits per second in each direction once it is used up; 0: the node cuts the peer then."""

    def __attrs_post_init__(self) -> None:
        if not all(0 <= value <= _LARGEST for value in (self.id, self.octets, self.throttle)):
            raise ValueError("a quota lease does not fit into 63 bits")


@attrs.frozen(kw_only=True)
class Peer:
    """One device as a node has to know it: public keys only; the node derives the preshared key itself."""

    device_id: DeviceId
    awg_key: bytes
    """AmneziaWG public key, 32 bytes."""
    derive_key: bytes
    """X25519 public key for the blind derivation, 32 bytes."""
    generation: int
    """Which of the derived secrets is in use."""
    addresses: tuple[str, ...]
    """Inner networks that belong to the device, CIDR."""
    expires_at: int = 0
    """Microseconds since 1970; the node cuts the peer then, with or without helm. 0: never."""
    quota: QuotaLease | None = None
    """None: no limit."""
    rate_limit: int = 0
    """Bits per second in each direction; 0: no limit."""
    protocols: tuple[str, ...] = ()
    """Names of the protocols that it may use at this node, sorted; empty: all."""

    def __attrs_post_init__(self) -> None:
        check_label(self.device_id)
        if len(self.awg_key) != KEY_SIZE or len(self.derive_key) != KEY_SIZE:
            raise ValueError(f"peer {self.device_id}: a public key is not {KEY_SIZE} bytes")
        if not 1 <= len(self.addresses) <= MAX_ADDRESSES:
            raise ValueError(f"peer {self.device_id}: {len(self.addresses)} addresses, 1 to {MAX_ADDRESSES} fit")
        if not 0 < self.generation < 2**32:
            raise ValueError(f"peer {self.device_id}: generation {self.generation} does not fit")
        for network in self.addresses:
            # One spelling each, so that two devices with the same network are seen by comparing text.
            try:
                check_network(network)
            except ValueError as error:
                raise ValueError(f"peer {self.device_id}: {error}") from error
        if not 0 <= self.expires_at <= _LARGEST or not 0 <= self.rate_limit <= _LARGEST:
            raise ValueError(f"peer {self.device_id}: expiry or rate limit does not fit")
        if len(self.protocols) > MAX_PROTOCOLS or list(self.protocols) != sorted({*map(check_label, self.protocols)}):
            raise ValueError(f"peer {self.device_id}: protocols are names, sorted, at most {MAX_PROTOCOLS}")

    @functools.cached_property
    def digest(self) -> bytes:
        """The first 8 octets of the SHA-256 of its canonical JSON: what differs in anything differs in this."""
        return hashlib.sha256(encode_canonical(self.as_json())).digest()[:DIGEST_SIZE]

    @property
    def slowed(self) -> Peer:
        """The peer as it is served once its quota lease is used up: at the lower of its two rates."""
        throttle = 0 if self.quota is None else self.quota.throttle
        if not throttle or 0 < self.rate_limit <= throttle:
            return self
        return attrs.evolve(self, rate_limit=throttle)

    def as_json(self) -> dict[str, Any]:
        """Return the peer for a state file."""
        return {
            "device_id": self.device_id,
            "awg_key": base64.b64encode(self.awg_key).decode(),
            "derive_key": base64.b64encode(self.derive_key).decode(),
            "generation": self.generation,
            "addresses": list(self.addresses),
            "expires_at": self.expires_at,
            "quota": None if self.quota is None else [self.quota.id, self.quota.octets],
            "rate_limit": self.rate_limit,
            "protocols": list(self.protocols),
        } | (
            # What is no news to a node of an earlier version keeps the digest that it computes.
            {"throttle": self.quota.throttle} if self.quota is not None and self.quota.throttle else {}
        )

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read a peer from a state file.

        Raises: KeyError, TypeError, ValueError — it is none.
        """
        # Files of earlier versions end with the addresses.
        quota = body.get("quota")
        if quota is not None and len(quota) != 2:
            raise TypeError(f"quota {quota!r} is none")
        return cls(
            device_id=DeviceId(body["device_id"]),
            awg_key=base64.b64decode(body["awg_key"], validate=True),
            derive_key=base64.b64decode(body["derive_key"], validate=True),
            generation=body["generation"],
            addresses=_texts(body["addresses"]),
            expires_at=body.get("expires_at", 0),
            quota=None if quota is None else QuotaLease(id=quota[0], octets=quota[1], throttle=body.get("throttle", 0)),
            rate_limit=body.get("rate_limit", 0),
            protocols=_texts(body.get("protocols", [])),
        )


class PeerSet(dict[DeviceId, Peer]):
    """Peers by device, not to be changed any more; many nodes may have one and the same."""

    @classmethod
    def of(cls, peers: Mapping[DeviceId, Peer]) -> PeerSet:
        """Return these peers; what is a set already is that one."""
        return peers if isinstance(peers, PeerSet) else cls(peers)

    @functools.cached_property
    def unthrottled(self) -> PeerSet:
        """These peers for a node that can only cut: whoever is to be slowed down has no quota there."""
        slow = {
            device_id: attrs.evolve(peer, quota=None)
            for device_id, peer in self.items()
            if peer.quota is not None and peer.quota.throttle
        }
        return PeerSet({**self, **slow}) if slow else self

    @functools.cached_property
    def digest(self) -> bytes:
        """`peers_digest` of them."""
        return peers_digest((device_id, peer.digest) for device_id, peer in self.items())


def peers_digest(digests: Iterable[tuple[DeviceId, bytes]]) -> bytes:
    """Return what two sets of peers have in common if they are equal and only then, from ids and digests of peers."""
    whole = hashlib.sha256()
    for device_id, digest in sorted(digests):
        # Ids are printable: no other list of pairs is written the same.
        whole.update(b"%s\n%d\n" % (device_id.encode(), len(digest)) + digest)
    return whole.digest()[:SET_DIGEST_SIZE]


@attrs.frozen(kw_only=True)
class Policy:
    """What devices may reach through a node."""

    peer_to_peer: bool = False
    """Devices reach each other."""
    internet: bool = True
    """Devices reach the internet, masqueraded as the node."""
    closed: tuple[str, ...] = ()
    """Destinations that stay closed, CIDR."""
    resolvers: tuple[str, ...] = ()
    """Addresses of the resolvers that devices are pointed to."""

    def __attrs_post_init__(self) -> None:
        if len(self.closed) > MAX_CLOSED or len(self.resolvers) > MAX_ADDRESSES:
            raise ValueError(f"a policy closes at most {MAX_CLOSED} networks and names {MAX_ADDRESSES} resolvers")
        for network in self.closed:
            check_network(network)
        for address in self.resolvers:
            check_address(address)

    def as_json(self) -> dict[str, Any]:
        """Return the policy for a state file or the record."""
        return {
            "peer_to_peer": self.peer_to_peer,
            "internet": self.internet,
            "closed": list(self.closed),
            "resolvers": list(self.resolvers),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read a policy.

        Raises: KeyError, TypeError, ValueError — it is none.
        """
        return cls(
            peer_to_peer=_yes_or_no(body["peer_to_peer"]),
            internet=_yes_or_no(body["internet"]),
            closed=_texts(body["closed"]),
            resolvers=_texts(body["resolvers"]),
        )


@attrs.frozen(kw_only=True)
class PreviousEndpoint:
    """Parameters that were replaced, served on a port of their own until the devices have heard of the new ones."""

    port: int
    """UDP for AmneziaWG, TCP of the same number for REALITY."""
    awg: ObfuscationParameters | None = None
    """One of the two was replaced, or both were."""
    reality: RealityParameters | None = None
    until: int
    """Microseconds since 1970: the node ends it then, with or without helm."""

    def __attrs_post_init__(self) -> None:
        if not 0 < self.port < 65536 or not 0 < self.until <= _LARGEST:
            raise ValueError(f"port {self.port} until {self.until} is no previous endpoint")
        if self.awg is None and self.reality is None:
            raise ValueError(f"a previous endpoint on port {self.port} has no parameters")

    def without_reality(self) -> Self | None:
        """Return the endpoint for a node that knows no REALITY; None where nothing is left of it."""
        return None if self.awg is None else attrs.evolve(self, reality=None)

    def as_json(self) -> dict[str, Any]:
        """Return the endpoint for a state file or the record."""
        body: dict[str, Any] = {"port": self.port, "until": self.until}
        for name, parameters in (("awg", self.awg), ("reality", self.reality)):
            if parameters is not None:
                body[name] = parameters.as_mapping()
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read an endpoint.

        Raises: KeyError, TypeError, ValueError, ParameterError — it is none.
        """
        return cls(
            port=body["port"],
            awg=ObfuscationParameters.from_mapping(dict(body["awg"])) if "awg" in body else None,
            reality=RealityParameters.from_mapping(dict(body["reality"])) if "reality" in body else None,
            until=body["until"],
        )


@attrs.frozen(kw_only=True)
class Push:
    """One change set from helm."""

    fence: Fence
    snapshot: bool
    """True: ``upsert`` are all the peers there are. False: a delta."""
    upsert: tuple[Peer, ...] = ()
    remove: tuple[DeviceId, ...] = ()
    awg: ObfuscationParameters | None = None
    """None leaves the parameters as they are."""
    reality: RealityParameters | None = None
    """None leaves those of REALITY as they are."""
    addresses: tuple[str, ...] = ()
    """The node's own addresses inside the tunnel; empty leaves them as they are."""
    policy: Policy | None = None
    """None leaves the policy as it is."""
    previous: tuple[PreviousEndpoint, ...] | None = None
    """None leaves the replaced parameters as they are."""
    deny_list: bytes = b""
    """Signed, to be in force before the peers are; empty leaves the one in use."""
    manifest: bytes = b""
    """Trust manifest; empty leaves the one in use."""
    checkpoint: bytes = b""
    """Signed audit checkpoint to keep; empty: none."""

    def __attrs_post_init__(self) -> None:
        if len(self.addresses) > MAX_ADDRESSES:
            raise ValueError(f"{len(self.addresses)} addresses, at most {MAX_ADDRESSES} fit")
        if self.previous is not None and len(self.previous) > MAX_PREVIOUS:
            raise ValueError(f"{len(self.previous)} previous endpoints, at most {MAX_PREVIOUS} fit")
        for address in self.addresses:
            check_address(address)


@attrs.frozen(kw_only=True)
class Desired:
    """All that helm has told a node to be."""

    fence: Fence = Fence()
    awg: ObfuscationParameters | None = None
    """None until the first push: the tunnel is not served without parameters."""
    reality: RealityParameters | None = None
    """None until the first push that has some."""
    addresses: tuple[str, ...] = ()
    """The node's own addresses inside the tunnel."""
    peers: Mapping[DeviceId, Peer] = attrs.field(factory=dict)
    policy: Policy = Policy()
    previous: tuple[PreviousEndpoint, ...] = ()

    def require_order(self, fence: Fence) -> None:
        """Check that a push with this fence is not older than what holds.

        Raises: RemoteProtocolError
        """
        if fence < self.fence:
            raise RemoteProtocolError(f"push {fence} is older than {self.fence}, which this node holds")

    def after(self, push: Push) -> Self:
        """Return what holds once ``push`` is applied.

        Raises: RemoteProtocolError — a lower fence, a delta before any snapshot, or two devices with one key.
        """
        self.require_order(push.fence)
        if not push.snapshot and self.fence == Fence():
            raise RemoteProtocolError("a node without state takes a snapshot first")
        peers = {} if push.snapshot else dict(self.peers)
        for device_id in push.remove:
            peers.pop(device_id, None)
        peers.update({peer.device_id: peer for peer in push.upsert})
        check_distinct(peers.values())
        return attrs.evolve(
            self,
            fence=push.fence,
            peers=peers,
            awg=push.awg or self.awg,
            reality=push.reality or self.reality,
            addresses=push.addresses or self.addresses,
            policy=push.policy or self.policy,
            previous=self.previous if push.previous is None else push.previous,
        )


def check_distinct(peers: Iterable[Peer]) -> None:
    """Check that no key and no inner network belongs to two devices.

    Raises: RemoteProtocolError — one does; the message names both.
    """
    owners: dict[bytes | str, DeviceId] = {}
    for peer in peers:
        things: tuple[bytes | str, ...] = (peer.awg_key, *peer.addresses)
        for thing in things:
            other = owners.setdefault(thing, peer.device_id)
            if other != peer.device_id:
                what = thing if isinstance(thing, str) else "AmneziaWG key"
                raise RemoteProtocolError(f"devices {other} and {peer.device_id} have the same {what}")


def check_address(text: str) -> str:
    """Return an IP address that means the same on every machine.

    Raises: ValueError — it is none, or has a zone: that is a text of anybody's choice, a new line included, which the
    standard library takes (RFC 4007 §11).
    """
    if type(text) is not str or "%" in text:
        raise ValueError(f"{text!r} is no address, or has a zone, which means something on one machine only")
    ipaddress.ip_address(text)
    return text


def check_network(text: str) -> str:
    """Return a network in its usual spelling, CIDR.

    Raises: ValueError — it is none, or has a zone, as in `check_address`.
    """
    if type(text) is not str or "%" in text or str(ipaddress.ip_network(text)) != text:
        raise ValueError(f"{text!r} is not the usual spelling of a network")
    return text


def _texts(value: Any) -> tuple[str, ...]:
    # A text would be taken for a list of its letters.
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise TypeError(f"{value!r} is no list of texts")
    return tuple(value)


def _yes_or_no(value: Any) -> bool:
    # Every text but the empty one is true to Python, "no" as well.
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
