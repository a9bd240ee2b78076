"""A whole AmneziaWG device without I/O: datagrams, packets and time in; datagrams, packets and events out.

Nothing that a stranger sends raises, is answered or leaves a trace, save one thing: under load a message that shows
it knows our public key earns a cookie reply, smaller than itself.
"""

from typing import Final

from pharos.wire.awg import ippackets
from pharos.wire.awg.allowedips import AllowedIps
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.context import Context
from pharos.wire.awg.cookies import MacChecker, MacStamper
from pharos.wire.awg.endpoint import Address, check_address
from pharos.wire.awg.events import Output, PeerStatus
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.handshake import meet, read_initiation
from pharos.wire.awg.handshaker import Handshaker
from pharos.wire.awg.keys import StaticKey
from pharos.wire.awg.load import LoadGauge, NetworkLimiter
from pharos.wire.awg.messages import COOKIE_REPLY, RESPONSE, TRANSPORT_HEADER, MessageKind
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.peer import Peer
from pharos.wire.awg.randomness import Random
from pharos.wire.awg.tai64n import TimestampSource, WallClock
from pharos.wire.awg.timing import Timing
from pharos.wire.errors import DecryptError, LocalProtocolError, ParameterError

DEFAULT_MTU: Final = 1420
"""Of the inner end: 1500 less 80 for IPv6, UDP and the message, as in wg-quick."""


class Device:
    """One private key, its peers and their tunnels.

    ``now`` is a monotonic clock's reading in seconds and never goes back between calls. Whatever a call brings forth
    waits in ``take_output``; a caller feeds a batch, then takes once.

    Raises: ParameterError — ``private_key`` is not 32 bytes long.
    """

    def __init__(
        self,
        *,
        private_key: bytes,
        random: Random,
        wall_clock: WallClock,
        parameters: ObfuscationParameters = PLAIN,
        mtu: int = DEFAULT_MTU,
        timing: Timing | None = None,
    ) -> None:
        static = StaticKey(private_key)
        self.mtu = mtu
        self._context = Context(
            static=static,
            framing=Framing(parameters, random),
            timing=timing or Timing(),
            mtu=mtu,
            random=random,
            wall_clock=wall_clock,
            timestamps=TimestampSource(wall_clock),
        )
        self._macs = MacChecker(static.public, random)
        self._load = LoadGauge()
        self._limiter = NetworkLimiter()
        self._peers: dict[bytes, Peer] = {}
        self._routes: AllowedIps[Peer] = AllowedIps()

    def __repr__(self) -> str:
        return f"<Device {self.public_key.hex()[:8]}… with {len(self._peers)} peers>"

    @property
    def public_key(self) -> bytes:
        return self._context.static.public

    @property
    def parameters(self) -> ObfuscationParameters:
        return self._context.framing.parameters

    # What the operator wants

    def set_parameters(self, parameters: ObfuscationParameters) -> None:
        """Frame everything otherwise from now on. Sessions live on, for peers that change likewise."""
        self._context.framing = Framing(parameters, self._context.random)

    def set_peer(self, config: PeerConfig, now: float) -> None:
        """Add a peer or change it. Its session survives a change of anything but the preshared key.

        An allowed network that another peer has is taken from it, as in every WireGuard. A persistent keepalive
        begins the handshake at once if the endpoint is known.

        Raises: ParameterError — the public key is our own, or one no handshake can be made with.
        """
        if config.public_key == self.public_key:
            raise ParameterError(f"public_key = {config.public_key.hex()}: must not be this device's own")
        peer = self._peers.get(config.public_key)
        if peer is None or peer.remote.preshared_key != config.preshared_key:
            remote = meet(self._context.static, config.public_key, config.preshared_key)
        else:
            remote = peer.remote
        if peer is None:
            handshaker = Handshaker(context=self._context, stamper=MacStamper(config.public_key))
            peer = Peer(context=self._context, remote=remote, handshaker=handshaker)
            self._peers[config.public_key] = peer
        for network in peer.allowed_ips:
            self._routes.remove(network, peer)
        for network in config.allowed_ips:
            self._routes.add(network, peer)
        peer.configure(config, remote, now)

    def remove_peer(self, public_key: bytes) -> None:
        """Forget a peer, with its sessions, at once; nothing happens if it is not known."""
        peer = self._peers.pop(public_key, None)
        if peer is not None:
            for network in peer.allowed_ips:
                self._routes.remove(network, peer)
            peer.drop_sessions()
            self._context.deadlines.forget(peer)

    def initiate_handshake(self, public_key: bytes, now: float) -> None:
        """Begin a handshake without waiting for a packet, or 5 s after the last one was begun or answered.

        Raises: LocalProtocolError — there is no such peer.
        """
        self._peer(public_key).initiate(now)

    def set_endpoint(self, public_key: bytes, endpoint: Address, now: float) -> None:
        """Send to ``endpoint`` from now on, at once if there is a session, so that the peer follows.

        Raises: LocalProtocolError — there is no such peer. ParameterError — it is not a numeric address.
        """
        peer = self._peer(public_key)
        peer.endpoint = check_address(endpoint)
        peer.send_keepalive(now)

    def status(self, public_key: bytes, now: float) -> PeerStatus:
        """Raises: LocalProtocolError — there is no such peer."""
        return self._peer(public_key).status(now)

    def statuses(self, now: float) -> list[PeerStatus]:
        """Every peer as it is, in the order they were added."""
        return [peer.status(now) for peer in self._peers.values()]

    def _peer(self, public_key: bytes) -> Peer:
        try:
            return self._peers[public_key]
        except KeyError:
            raise LocalProtocolError(f"no peer has the public key {public_key.hex()}") from None

    # Bytes and time

    def receive_datagram(self, datagram: bytes, source: Address, now: float) -> None:
        """Take one datagram from the outer network, whatever it is."""
        context = self._context
        framing = context.framing
        kind = framing.classify(datagram)
        if kind is None:
            return
        message = framing.unwrap(kind, datagram)
        if kind is not MessageKind.TRANSPORT:
            self._receive_handshake(kind, message, len(datagram), source, now)
            return
        _, index, counter = TRANSPORT_HEADER.unpack_from(message)
        found = context.sessions.get(index)
        if found is None:
            return
        peer, session = found
        plaintext = session.open(counter, message, now)
        if plaintext is None:
            return
        plaintext = peer.accept_transport(session, plaintext, len(datagram), source, now)
        if plaintext is None:
            return
        packet = ippackets.trim(plaintext)
        if packet is not None and self._routes.find(ippackets.source(packet)) is peer:
            context.output.packets.append(packet)

    def send_packet(self, packet: bytes, now: float) -> None:
        """Send one inner IP packet to the peer its destination belongs to; dropped if that is nobody."""
        destination = ippackets.destination(packet)
        if destination is not None:
            peer = self._routes.find(destination)
            if peer is not None:
                peer.send_packet(packet, now)

    def tick(self, now: float) -> None:
        """Do what time has brought due. Cheap when nothing is; call it at ``next_deadline`` at the latest."""
        for peer in self._context.deadlines.due(now):
            peer.fire_timers(now)

    def next_deadline(self) -> float:
        """When to call ``tick``; infinity if nothing is due ever. Any other call may bring it nearer."""
        return self._context.deadlines.next_deadline()

    def take_output(self) -> Output:
        """Hand over what has gathered; it is the caller's from now on."""
        output, self._context.output = self._context.output, Output()
        return output

    # Handshakes

    def _receive_handshake(self, kind: MessageKind, message: bytes, size: int, source: Address, now: float) -> None:
        try:
            if kind is MessageKind.COOKIE_REPLY:
                self._receive_cookie(message, now)
            elif self._admit(message, source, now):
                if kind is MessageKind.INITIATION:
                    self._receive_initiation(message, size, source, now)
                else:
                    self._receive_response(message, size, source, now)
        except DecryptError:
            # Anybody can send it, so it is noise: no reply, no trace, no log line.
            return

    def _admit(self, message: bytes, source: Address, now: float) -> bool:
        """Whether to spend a handshake's cost on this message; in its stead the sender may get a cookie."""
        if not self._macs.mac1_matches(message):
            return False
        if not self._load.arrival(now):
            return True
        if self._macs.mac2_matches(message, source, now):
            return self._limiter.allow(source, now)
        framing = self._context.framing
        header = framing.header(MessageKind.COOKIE_REPLY)
        reply = self._macs.make_reply(message, source, now, header=header)
        self._context.output.datagrams.append((framing.wrap(MessageKind.COOKIE_REPLY, reply), source))
        return False

    def _receive_initiation(self, message: bytes, size: int, source: Address, now: float) -> None:
        claimed = read_initiation(self._context.static, message)
        peer = self._peers.get(claimed.static)
        if peer is not None:
            peer.accept_initiation(claimed.authenticate(peer.remote), size, source, now)

    def _receive_response(self, message: bytes, size: int, source: Address, now: float) -> None:
        _, _, index, _, _ = RESPONSE.unpack_from(message)
        peer = self._context.pending.get(index)
        if peer is not None:
            peer.accept_response(message, size, source, now)

    def _receive_cookie(self, message: bytes, now: float) -> None:
        _, index, _, _ = COOKIE_REPLY.unpack(message)
        peer = self._context.pending.get(index)
        if peer is None and index in self._context.sessions:
            peer, _ = self._context.sessions[index]  # It was our response that the peer had no time for.
        if peer is not None:
            peer.handshaker.stamper.accept_reply(message, now)
