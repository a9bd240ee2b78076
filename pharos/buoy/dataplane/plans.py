"""Makes the engines' plans out of what helm ordered: derives every secret, and serves each device what it may use.

Secrets are derived once for each pairing, and a peer that stays the same stays the same object, so that a change to one
of ten thousand costs what one costs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import attrs

from pharos.buoy.dataplane.awgchange import network_of
from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer, AwgPlan, RealityEndpoint, RealityPlan, RealityUser
from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.desired import Desired, Peer
from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.profile import AMNEZIAWG
from pharos.wire.reality.params import RealityParameters
from pharos.wire.seal.blind import Pairing, commitment, derive_both
from pharos.wire.seal.realitykey import derive_reality_key

REALITY: Final = "reality"
"""As helm names the protocol where it grants it; in profiles it has VLESS in its name."""
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen(kw_only=True)
class _Made:
    """A peer, and what was made of it."""

    peer: Peer
    awg: AwgPeer
    reality: RealityUser
    commitment: bytes


class Planner:
    """One node's plans. ``awg_port`` and ``reality_port`` are those in use; a port of 0 is the engine's to choose."""

    def __init__(self, *, membership: Membership, keys: AgentKeys, awg_port: int, reality_port: int) -> None:
        self._fleet = membership.trust.fleet
        self._node = NodeId(membership.identity.id)
        self._derive_key = keys.derive_key
        self._awg_private = keys.awg_key
        self._awg_key = KeyPair.from_private_bytes(keys.awg_key)
        self._awg_port = awg_port
        self._reality_port = reality_port
        self._peers: Mapping[DeviceId, Peer] = {}
        self._made: dict[DeviceId, _Made] = {}
        """Of ``_peers``, which nobody changes."""
        self._reality_keys: dict[int, bytes] = {}
        self._networks: tuple[IpNetwork, ...] = ()

    def check(self, desired: Desired) -> None:
        """Make sure that every plan of ``desired`` can be made, before anything is kept.

        Raises: RemoteProtocolError — a key cannot be used, or two devices would go by one user id; the message names
        the device.
        """
        for device_id, peer in desired.peers.items():
            known = self._made.get(device_id)
            if known is None or (known.peer is not peer and known.peer.awg_key != peer.awg_key):
                self._check_key(peer)
        self._make(desired)

    def awg(self, desired: Desired) -> AwgPlan:
        """Raises: RemoteProtocolError."""
        made = self._make(desired)
        # Without parameters nothing was ever ordered, and a tunnel that looks like WireGuard is not served.
        if desired.awg is None:
            return AwgPlan(private_key=self._awg_private, addresses=desired.addresses, policy=desired.policy)
        before = (AwgEndpoint(port=one.port, parameters=one.awg) for one in desired.previous if one.awg is not None)
        peers = {device_id: one.awg for device_id, one in made.items() if _may(one.peer, AMNEZIAWG)}
        return AwgPlan(
            private_key=self._awg_private,
            endpoints=(AwgEndpoint(port=self._awg_port, parameters=desired.awg), *before),
            addresses=desired.addresses,
            networks=tuple(map(str, self._networks)),
            peers=peers,
            policy=desired.policy,
        )

    def reality(self, desired: Desired) -> RealityPlan:
        """Raises: RemoteProtocolError."""
        made = self._make(desired)
        if desired.reality is None:
            return RealityPlan(policy=desired.policy)
        before = (self._door(one.port, one.reality) for one in desired.previous if one.reality is not None)
        return RealityPlan(
            endpoints=(self._door(self._reality_port, desired.reality), *before),
            users={device_id: one.reality for device_id, one in made.items() if _may(one.peer, REALITY)},
            policy=desired.policy,
        )

    def commitment(self, device_id: DeviceId) -> bytes:
        """Return HMAC(PSK, "commit")[:8] of a device, so that helm can compare both ends; empty for one not known."""
        made = self._made.get(device_id)
        return b"" if made is None else made.commitment

    def _make(self, desired: Desired) -> dict[DeviceId, _Made]:
        # What was checked is then asked for by each protocol.
        if desired.peers is self._peers:
            return self._made
        known, made = self._made, {}
        for device_id, peer in desired.peers.items():
            one = known.get(device_id)
            made[device_id] = one if one is not None and one.peer is peer else self._make_one(peer, one)
        _check_user_ids(made)
        fresh = (one.peer for device_id, one in made.items() if known.get(device_id) is not one)
        # Of devices that went nothing is taken away: packets to them are lost inside the tunnel, which is where they
        # belong, and to go through ten thousand for one takes a tenth of a second.
        self._networks = collapsed(
            (*self._networks, *(network_of(network) for peer in fresh for network in peer.addresses))
        )
        self._peers, self._made = desired.peers, made
        return made

    def _make_one(self, peer: Peer, before: _Made | None) -> _Made:
        try:
            if before is not None and _pairs_alike(before.peer, peer):
                psk, user_id = before.awg.preshared_key, before.reality.user_id
            else:
                psk, user_id = self._derive(peer)
        except (ParameterError, RemoteProtocolError) as error:
            raise RemoteProtocolError(f"device {peer.device_id}: {error}") from error
        awg = AwgPeer(
            device_id=peer.device_id,
            public_key=peer.awg_key,
            preshared_key=psk,
            addresses=peer.addresses,
            rate_limit=peer.rate_limit,
        )
        user = RealityUser(device_id=peer.device_id, user_id=user_id, rate_limit=peer.rate_limit)
        if before is not None:
            # Equal is the same, for drivers that look for what differs among ten thousand.
            awg, user = (before.awg if before.awg == awg else awg), (before.reality if before.reality == user else user)
        return _Made(peer=peer, awg=awg, reality=user, commitment=commitment(psk))

    def _check_key(self, peer: Peer) -> None:
        """Find a key of low order, which an engine would find only once the push is kept.

        What is on disk was checked when it came: with ten thousand peers that is a tenth of a cold start.
        """
        try:
            self._awg_key.exchange(peer.awg_key)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"device {peer.device_id}: {error}") from error

    def _derive(self, peer: Peer) -> tuple[bytes, bytes]:
        if peer.awg_key == self._awg_key.public:
            raise RemoteProtocolError("its AmneziaWG key is this node's own")
        pairing = Pairing(
            fleet=self._fleet,
            device=peer.device_id,
            node=self._node,
            generation=peer.generation,
            device_derive=peer.derive_key,
            node_derive=self._derive_key.public,
            device_awg=peer.awg_key,
            node_awg=self._awg_key.public,
        )
        psk, user_id = derive_both(pairing, self._derive_key)
        return psk, user_id.bytes

    def _door(self, port: int, parameters: RealityParameters) -> RealityEndpoint:
        generation = parameters.generation
        if generation not in self._reality_keys:
            pair = derive_reality_key(self._derive_key, fleet=self._fleet, node=self._node, generation=generation)
            self._reality_keys = {generation: pair.private_bytes(), **dict(list(self._reality_keys.items())[:2])}
        return RealityEndpoint(port=port, parameters=parameters, private_key=self._reality_keys[generation])


def collapsed(networks: Iterable[IpNetwork]) -> tuple[IpNetwork, ...]:
    """Return the fewest networks that hold the same addresses and no others, IPv4 first."""
    every = list(networks)
    four = [network for network in every if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in every if isinstance(network, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))


def _may(peer: Peer, protocol: str) -> bool:
    return not peer.protocols or protocol in peer.protocols


def _pairs_alike(old: Peer, new: Peer) -> bool:
    return (old.awg_key, old.derive_key, old.generation) == (new.awg_key, new.derive_key, new.generation)


def _check_user_ids(made: dict[DeviceId, _Made]) -> None:
    """Xray does not look at octets 6 and 7 of a user id."""
    owners: dict[bytes, DeviceId] = {}
    for device_id, one in made.items():
        user_id = one.reality.user_id
        other = owners.setdefault(user_id[:6] + user_id[8:], device_id)
        if other != device_id:
            raise RemoteProtocolError(f"devices {other} and {device_id} have the same user id")
