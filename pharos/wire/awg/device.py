"""A whole AmneziaWG device without I/O: datagrams, packets and time in; datagrams, packets and events out.

Nothing that a stranger sends raises, is answered or leaves a trace, save one thing: under load a message that shows
it knows our public key earns a cookie reply, smaller than itself unless S3 is far above S1.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pharos.wire.awg import ippackets
from pharos.wire.awg.admission import Admission, Arrived
from pharos.wire.awg.batches import Packet, PacketRows, SlicedBuffer
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.context import MAIN_FACE, Context
from pharos.wire.awg.endpoint import Address, check_address
from pharos.wire.awg.events import Count, Output, PeerStatus
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.handshake import read_initiation
from pharos.wire.awg.keys import StaticKey
from pharos.wire.awg.messages import COOKIE_REPLY, RESPONSE, MessageKind
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.peertable import PeerTable
from pharos.wire.awg.randomness import Random
from pharos.wire.awg.receiving import Arrival, Opened, Receiver
from pharos.wire.awg.sending import OutgoingBuffer
from pharos.wire.awg.tai64n import TimestampSource, WallClock
from pharos.wire.awg.timers import NEVER
from pharos.wire.awg.timing import Timing
from pharos.wire.errors import DecryptError, LocalProtocolError

DEFAULT_MTU: Final = 1420
"""Of the inner end: 1500 less 80 for IPv6, UDP and the message, as in wg-quick."""
HANDSHAKES_PER_TICK: Final = 16
"""Handshakes done at a time: 4 ms at 250 µs each, which is as long as packets may wait."""


class Device:
    """One private key, its peers and their tunnels.

    ``now`` is a monotonic clock's reading in seconds and never goes back between calls. Whatever the device brings
    forth of its own accord waits in ``take_output``; a caller feeds a batch, then takes once.

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
        self._fixed_timing = timing
        self._context = Context(
            static=StaticKey(private_key),
            faces={MAIN_FACE: Framing(parameters, random, number=MAIN_FACE)},
            timing=timing or Timing.of(parameters),
            mtu=mtu,
            random=random,
            wall_clock=wall_clock,
            timestamps=TimestampSource(wall_clock),
        )
        self._peers = PeerTable(self._context)
        self._admission = Admission(self._context)
        self._receiver = Receiver(self._context, self._peers.routes, self._enqueue_handshake)
        # For datagrams that come one by one.
        self._datagram, self._plain = SlicedBuffer(), SlicedBuffer()

    def __repr__(self) -> str:
        return f"<Device {self.public_key.hex()[:8]}… with {len(self._peers)} peers>"

    @property
    def public_key(self) -> bytes:
        return self._context.static.public

    @property
    def parameters(self) -> ObfuscationParameters:
        """Those of the main face."""
        return self._context.framing.parameters

    @property
    def mtu(self) -> int:
        """Bytes of the largest inner packet; packets are never filled up beyond it."""
        return self._context.mtu

    # What the operator wants

    def set_private_key(self, private_key: bytes, now: float) -> None:
        """Be another device to the same peers. Sessions end; a peer of the new public key is removed.

        Raises: ParameterError — it is not 32 bytes long.
        """
        static = StaticKey(private_key)
        if static.public != self.public_key:
            self._context.static = static
            self._admission = Admission(self._context)
            self._peers.rekey(static, now)

    def set_parameters(self, parameters: ObfuscationParameters) -> None:
        """Frame everything on the main face otherwise from now on.

        Sessions live on, for peers that change likewise. Timers that run go on as they are.
        """
        self.set_face(MAIN_FACE, parameters)
        self._context.timing = self._fixed_timing or Timing.of(parameters)

    def set_face(self, number: int, parameters: ObfuscationParameters) -> None:
        """Speak with these parameters on a further local port, too. Only the main face's set the timers."""
        self._context.faces[number] = Framing(parameters, self._context.random, number=number)

    def remove_face(self, number: int) -> None:
        """Take a further face away; its peers are spoken to on the main one until they are heard elsewhere.

        Raises: LocalProtocolError — it is the main one.
        """
        if number == MAIN_FACE:
            raise LocalProtocolError("a device without its main face")
        self._context.faces.pop(number, None)

    def set_mtu(self, mtu: int) -> None:
        """Follow the inner end's MTU."""
        self._context.mtu = mtu

    def set_peer(self, config: PeerConfig, now: float) -> None:
        """Add a peer or change it. Its session survives a change of anything but the preshared key.

        An allowed network that another peer has is taken from it, as in every WireGuard. A persistent keepalive
        begins the handshake at once if the endpoint is known.

        Raises: ParameterError — the public key is our own, or one no handshake can be made with.
        """
        self._peers.put(config, now)

    def remove_peer(self, public_key: bytes) -> None:
        """Forget a peer, with its sessions, at once; nothing happens if it is not known."""
        self._peers.remove(public_key)

    def initiate_handshake(self, public_key: bytes, now: float) -> None:
        """Begin a handshake without waiting for a packet, or 5 s after the last one was begun or answered.

        Raises: LocalProtocolError — there is no such peer.
        """
        self._peers.known(public_key).initiate(now)

    def set_endpoint(self, public_key: bytes, endpoint: Address, now: float) -> None:
        """Send to ``endpoint`` from now on, at once if there is a session, so that the peer follows.

        Raises: LocalProtocolError — there is no such peer. ParameterError — it is not a numeric address.
        """
        peer = self._peers.known(public_key)
        peer.move(check_address(endpoint))
        peer.send_keepalive(now)

    def config(self, public_key: bytes) -> PeerConfig:
        """A peer as it was configured, but where it is now, and with the networks that nobody has taken since.

        Raises: LocalProtocolError — there is no such peer.
        """
        return self._peers.config(self._peers.known(public_key))

    def configs(self) -> list[PeerConfig]:
        """Every peer's, in the order they were added."""
        return [self._peers.config(peer) for peer in self._peers]

    def status(self, public_key: bytes, now: float) -> PeerStatus:
        """Raises: LocalProtocolError — there is no such peer."""
        return self._peers.known(public_key).status(now)

    def statuses(self, now: float) -> list[PeerStatus]:
        """Every peer as it is, in the order they were added."""
        return [peer.status(now) for peer in self._peers]

    def counts(self) -> Iterator[Count]:
        """What has been carried for every peer, at a tenth of the cost of ``statuses``."""
        return ((peer.public_key, peer.received_bytes, peer.sent_bytes) for peer in self._peers)

    # Batches, in the caller's buffers

    def receive_datagrams(
        self,
        buffer: SlicedBuffer,
        size: int,
        segment: int,
        source: Address,
        plain: SlicedBuffer,
        now: float,
        *,
        face: int = MAIN_FACE,
    ) -> Opened:
        """Take what one read of a socket gave: the first ``size`` bytes of ``buffer``, datagrams of ``segment`` bytes.

        Returns the inner packets in it, in order; they stand in ``plain`` until the next call with it. Handshakes
        wait for ``tick``.

        Raises: LocalProtocolError — ``plain`` is smaller than ``size``.
        """
        if not size:
            return Opened()  # An empty datagram is one that anybody can send.
        arrival = Arrival(buffer, size, segment, source, self._context.face(face))
        return self._receiver.receive(arrival, plain, now)

    def send_packets(self, packets: Sequence[Packet], outgoing: OutgoingBuffer, now: float) -> None:
        """Seal inner IP packets into ``outgoing``, each for the peer its destination belongs to, if there is one."""
        self._send_runs(packets, [*map(ippackets.destination, packets)], [*map(len, packets)], outgoing, now)

    def send_rows(self, rows: PacketRows, outgoing: OutgoingBuffer, now: float) -> None:
        """Do the same with packets at equal distances in one buffer, at less cost."""
        self._send_runs(rows.views(), ippackets.destinations(rows), rows.sizes, outgoing, now)

    def _send_runs(
        self,
        packets: Sequence[Packet],
        destinations: Sequence[bytes | None],
        sizes: Sequence[int],
        outgoing: OutgoingBuffer,
        now: float,
    ) -> None:
        """Seal packets that follow each other, have one destination and are of one size, at one go."""
        end, count = 0, len(packets)
        while end < count:
            begin, destination, size = end, destinations[end], sizes[end]
            end += 1
            while end < count and destinations[end] == destination and sizes[end] == size:
                end += 1
            peer = None if destination is None else self._peers.routes.find(destination)
            if peer is not None:
                peer.send(packets[begin:end], outgoing, now, one_size=True)

    # One by one

    def receive_datagram(self, datagram: bytes, source: Address, now: float, *, face: int = MAIN_FACE) -> None:
        """Take one datagram from the outer network, whatever it is; what it brings forth is in ``take_output``."""
        size = len(datagram)
        if size <= len(self._datagram):
            self._datagram.data[:size] = datagram
            opened = self.receive_datagrams(self._datagram, size, size, source, self._plain, now, face=face)
            self._context.output.packets += map(bytes, opened.packets)
            self._work_off(len(self._admission.queue), now)

    def send_packet(self, packet: bytes, now: float) -> None:
        """Send one inner IP packet to the peer its destination belongs to; dropped if that is nobody."""
        self.send_packets((packet,), self._context.outgoing, now)
        self._context.collect_sealed()

    # Time

    def tick(self, now: float) -> None:
        """Do what time has brought due, and some of the handshakes that wait. Cheap when there is nothing.

        Call it at ``next_deadline`` at the latest.
        """
        self._work_off(HANDSHAKES_PER_TICK, now)
        for peer in self._context.deadlines.due(now):
            peer.fire_timers(now)

    def next_deadline(self) -> float:
        """When to call ``tick``; infinity if nothing is due ever. Any other call may bring it nearer."""
        return -NEVER if self._admission.queue else self._context.deadlines.next_deadline()

    def take_output(self) -> Output:
        """Hand over what has gathered; it is the caller's from now on."""
        output, self._context.output = self._context.output, Output()
        return output

    # Handshakes

    def _enqueue_handshake(self, kind: MessageKind, datagram: bytes, arrival: Arrival, now: float) -> bool:
        framing = arrival.framing
        message = framing.unwrap(kind, datagram)
        return self._admission.enqueue(Arrived(kind, message, len(datagram), arrival.source, framing), now)

    def _work_off(self, count: int, now: float) -> None:
        queue = self._admission.queue
        for _ in range(min(count, len(queue))):
            arrived = queue.popleft()
            try:
                if arrived.kind is MessageKind.INITIATION:
                    self._receive_initiation(arrived, now)
                elif arrived.kind is MessageKind.RESPONSE:
                    self._receive_response(arrived, now)
                else:
                    self._receive_cookie(arrived.message, now)
            except DecryptError:
                # Anybody can send it, so it is noise: no reply, no trace, no log line.
                continue

    def _receive_initiation(self, arrived: Arrived, now: float) -> None:
        claimed = read_initiation(self._context.static, arrived.message)
        peer = self._peers.get(claimed.static)
        if peer is not None:
            authentic = claimed.authenticate(peer.remote)
            peer.accept_initiation(authentic, arrived.size, arrived.source, arrived.framing, now)

    def _receive_response(self, arrived: Arrived, now: float) -> None:
        _, _, index, _, _ = RESPONSE.unpack_from(arrived.message)
        peer = self._context.pending.get(index)
        if peer is not None:
            peer.accept_response(arrived.message, arrived.size, arrived.source, arrived.framing, now)

    def _receive_cookie(self, message: bytes, now: float) -> None:
        _, index, _, _ = COOKIE_REPLY.unpack(message)
        peer = self._context.pending.get(index)
        if peer is None and index in self._context.sessions:
            peer, _ = self._context.sessions[index]  # It was our response that the peer had no time for.
        if peer is not None:
            peer.handshaker.stamper.accept_reply(message, now)
