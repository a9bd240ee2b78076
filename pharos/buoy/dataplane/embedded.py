"""The AmneziaWG engine inside this process: no root, no kernel module, no TUN interface.

Its inside is a link in memory that answers pings at the node's own addresses. Engines with a network behind them are
drivers of their own.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from pharos.buoy.dataplane.base import NO_REASONS, PeerCounters
from pharos.buoy.events import EventFeed
from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.endpoint import format_address
from pharos.wire.awg.events import Event, HandshakeCompleted, SessionEnded
from pharos.wire.awg.params import PLAIN
from pharos.wire.awg.tunnel import Tunnel, open_tunnel
from pharos.wire.convert import EventKind
from pharos.wire.desired import Desired, Peer
from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.blind import Pairing, commitment, derive_psk

# What the event of a peer says that helm took away.
REMOVED: Final = "removed"


class EmbeddedPlane:
    """A `DataPlane` over one in-process tunnel; ``open_embedded`` makes it."""

    def __init__(self, tunnel: Tunnel, inner: EchoEnd, secrets: PeerSecrets, reporter: Reporter) -> None:
        self._tunnel = tunnel
        self._inner = inner
        self._secrets = secrets
        self._reporter = reporter
        self._peers: dict[DeviceId, Peer] = {}

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._tunnel.address[1]

    @property
    def reality_port(self) -> int:
        """0: this engine has no REALITY."""
        return 0

    def check(self, desired: Desired) -> None:
        """Derive every secret and build every peer once, before the push is kept."""
        for peer in desired.peers.values():
            if peer != self._peers.get(peer.device_id):
                self._config(peer)

    async def apply(self, desired: Desired, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Serve exactly ``desired``; peers that stay keep their sessions."""
        self._tunnel.set_parameters(desired.awg or PLAIN)
        self._inner.set_addresses([ipaddress.ip_address(address) for address in desired.addresses])
        # Without parameters nothing was ever ordered, and a tunnel that looks like WireGuard is not served.
        wanted = dict(desired.peers) if desired.awg is not None else {}
        for device_id, peer in list(self._peers.items()):
            new = wanted.get(device_id)
            if new is None or new.awg_key != peer.awg_key:
                self._drop(peer, reasons.get(device_id, REMOVED))
        for device_id, peer in wanted.items():
            if self._peers.get(device_id) != peer:
                self._reporter.owners[peer.awg_key] = device_id
                self._tunnel.set_peer(self._config(peer))
                self._peers[device_id] = peer

    def counters(self) -> list[PeerCounters]:
        """Return what the engine knows of every peer."""
        return [
            PeerCounters(
                device_id=self._reporter.owners[status.public_key],
                last_handshake=(status.last_handshake_ns or 0) // 1000,
                received=status.received_bytes,
                sent=status.sent_bytes,
            )
            for status in self._tunnel.statuses()
        ]

    def commitment(self, device_id: DeviceId) -> bytes:
        """Return HMAC(PSK, "commit")[:8]; empty for a peer that is not served."""
        peer = self._peers.get(device_id)
        return b"" if peer is None else commitment(self._secrets.psk(peer))

    def _drop(self, peer: Peer, reason: str) -> None:
        self._tunnel.remove_peer(peer.awg_key)
        self._reporter.forget(peer.awg_key, reason)
        self._secrets.forget(peer)
        del self._peers[peer.device_id]

    def _config(self, peer: Peer) -> PeerConfig:
        try:
            return PeerConfig(
                public_key=peer.awg_key,
                preshared_key=self._secrets.psk(peer),
                allowed_ips=tuple(ipaddress.ip_network(network) for network in peer.addresses),
            )
        except (ParameterError, RemoteProtocolError) as error:
            raise RemoteProtocolError(f"device {peer.device_id}: {error}") from error


class PeerSecrets:
    """Preshared keys that this node derives by itself, each once (about 50 µs)."""

    def __init__(self, *, membership: Membership, keys: AgentKeys) -> None:
        self._fleet = membership.trust.fleet
        self._node = NodeId(membership.identity.id)
        self._derive_key = keys.derive_key
        self._awg_key = KeyPair.from_private_bytes(keys.awg_key)
        self._known: dict[Peer, bytes] = {}

    def psk(self, peer: Peer) -> bytes:
        """Return the preshared key of a peer.

        Raises: RemoteProtocolError — one of the peer's keys cannot be used.
        """
        if peer not in self._known:
            if peer.awg_key == self._awg_key.public:
                raise RemoteProtocolError("its AmneziaWG key is this node's own")
            # A key of low order would be found by the engine only once the push is kept.
            self._awg_key.exchange(peer.awg_key)
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
            self._known[peer] = derive_psk(pairing, self._derive_key)
        return self._known[peer]

    def forget(self, peer: Peer) -> None:
        """Drop a key that is no longer used."""
        self._known.pop(peer, None)


@asynccontextmanager
async def open_embedded(
    *, host: str, port: int, membership: Membership, keys: AgentKeys, feed: EventFeed
) -> AsyncIterator[EmbeddedPlane]:
    """Run the engine on one UDP port while the block lasts.

    Raises: OSError — the port cannot be bound.
    """
    device = Device(private_key=keys.awg_key, random=os.urandom, wall_clock=time.time_ns)
    inner = EchoEnd([])
    reporter = Reporter(feed)
    async with open_tunnel(device, inner, host=host, port=port, on_event=reporter.report) as tunnel:
        yield EmbeddedPlane(tunnel, inner, PeerSecrets(membership=membership, keys=keys), reporter)


class Reporter:
    """Translates the engine's events, which know keys, into the feed's, which know devices."""

    def __init__(self, feed: EventFeed) -> None:
        self.owners: dict[bytes, DeviceId] = {}
        """Device by AmneziaWG public key."""
        self._feed = feed
        self._connected: set[bytes] = set()

    def report(self, event: Event) -> None:
        """Publish what concerns a device; runs inside the pump, so it only queues."""
        device_id = self.owners.get(event.peer)
        if device_id is None:
            return
        match event:
            case HandshakeCompleted(peer=peer, endpoint=endpoint, at_ns=at_ns):
                where = format_address(endpoint)
                self._feed.publish(EventKind.HANDSHAKE, at=at_ns // 1000, device_id=device_id, detail=where)
                if peer not in self._connected:
                    self._connected.add(peer)
                    self._feed.publish(EventKind.CONNECTED, at=at_ns // 1000, device_id=device_id, detail=where)
            case SessionEnded(peer=peer):
                self._disconnect(peer, device_id, "silent")

    def forget(self, public_key: bytes, reason: str) -> None:
        """Drop a key; its device is gone now, for the engine's own word comes when nobody knows whose key it was."""
        self._disconnect(public_key, self.owners.pop(public_key), reason)

    def _disconnect(self, public_key: bytes, device_id: DeviceId, reason: str) -> None:
        if public_key in self._connected:
            self._connected.discard(public_key)
            at = time.time_ns() // 1000
            self._feed.publish(EventKind.DISCONNECTED, at=at, device_id=device_id, detail=reason)
