"""What a node shall do, as helm orders it and a buoy keeps it: the fence, the peers, the parameters."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId, check_label

KEY_SIZE: Final = 32
# Sixteen inner networks a device are twice what a router with v4, v6 and six subnets behind it needs.
MAX_ADDRESSES: Final = 16


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
            if str(ipaddress.ip_network(network)) != network:
                raise ValueError(f"peer {self.device_id}: {network!r} is not the usual spelling of a network")

    def as_json(self) -> dict[str, Any]:
        """Return the peer for a state file."""
        return {
            "device_id": self.device_id,
            "awg_key": base64.b64encode(self.awg_key).decode(),
            "derive_key": base64.b64encode(self.derive_key).decode(),
            "generation": self.generation,
            "addresses": list(self.addresses),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read a peer from a state file.

        Raises: KeyError, TypeError, ValueError — it is none.
        """
        return cls(
            device_id=DeviceId(body["device_id"]),
            awg_key=base64.b64decode(body["awg_key"], validate=True),
            derive_key=base64.b64decode(body["derive_key"], validate=True),
            generation=body["generation"],
            addresses=tuple(body["addresses"]),
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
    addresses: tuple[str, ...] = ()
    """The node's own addresses inside the tunnel; empty leaves them as they are."""

    def __attrs_post_init__(self) -> None:
        if len(self.addresses) > MAX_ADDRESSES:
            raise ValueError(f"{len(self.addresses)} addresses, at most {MAX_ADDRESSES} fit")
        for address in self.addresses:
            ipaddress.ip_address(address)


@attrs.frozen(kw_only=True)
class Desired:
    """All that helm has told a node to be."""

    fence: Fence = Fence()
    awg: ObfuscationParameters | None = None
    """None until the first push: the tunnel is not served without parameters."""
    addresses: tuple[str, ...] = ()
    """The node's own addresses inside the tunnel."""
    peers: Mapping[DeviceId, Peer] = attrs.field(factory=dict)

    def after(self, push: Push) -> Self:
        """Return what holds once ``push`` is applied.

        Raises: RemoteProtocolError — a lower fence, a delta before any snapshot, or two devices with one key.
        """
        if push.fence < self.fence:
            raise RemoteProtocolError(f"push {push.fence} is older than {self.fence}, which this node holds")
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
            addresses=push.addresses or self.addresses,
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
