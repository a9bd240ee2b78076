"""Sealing whole batches of packets into a caller's buffer, ready for segmentation offload.

One run is packets of one session. What costs the same for every packet is done once per run; the loops below do only
what each packet needs.
"""

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from pharos.wire.awg.batches import MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS, DatagramBatch, Packet, SlicedBuffer
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.messages import TRANSPORT_HEADER
from pharos.wire.awg.primitives import TAG_BYTES
from pharos.wire.awg.session import NONCE, Session
from pharos.wire.awg.strides import WORTHWHILE, Nonces

_HEADER_BYTES: Final = TRANSPORT_HEADER.size
_NOWHERE: Final = ("", 0)


class OutgoingBuffer:
    """Room that datagrams are sealed into, and the batches that stand in it.

    It grows by 64 KiB at a time for as long as nobody takes from it.
    """

    def __init__(self) -> None:
        self.size = 0
        """Bytes that wait to be taken."""
        self._chunks = [SlicedBuffer()]
        self._batches: list[DatagramBatch] = []
        self._restart()

    def _restart(self) -> None:
        self._number = 0
        self._chunk = self._chunks[0]
        self._begin = 0  # Of the open batch, in this chunk.
        self._end = 0
        self._address: Address = _NOWHERE
        self._face = 0
        self._segment = 0
        self._room = 0  # Datagrams that the open batch still takes; 0 if there is none.

    def reserve_one(self, address: Address, face: int, size: int) -> tuple[SlicedBuffer, int]:
        """Make room for one datagram; returns where it stands. The caller fills all of it."""
        at, end = self._end, self._end + size
        if (
            size == self._segment
            and self._room
            and end <= MAX_BATCH_BYTES
            and address == self._address
            and face == self._face
        ):
            self._room -= 1
            self._end = end
            self.size += size
            return self._chunk, at
        chunk, at, _ = self.reserve(address, face, size, 1)
        return chunk, at

    def reserve(self, address: Address, face: int, size: int, count: int) -> tuple[SlicedBuffer, int, int]:
        """Make room for datagrams of ``size`` bytes; returns where the first stands, and for how many there is room.

        That is at least one and at most ``count``.
        """
        room = self._room
        if size > self._segment or address != self._address or face != self._face:
            room = 0
        elif room and size < self._segment:
            room = count = 1
        granted = min(count, room, (MAX_BATCH_BYTES - self._end) // size)
        if not granted:
            self._open(address, face, size, count)
            granted = min(count, self._room, (MAX_BATCH_BYTES - self._end) // size)
        at = self._end
        self._end += granted * size
        self.size += granted * size
        # A shorter datagram can only be the last of its batch.
        self._room = self._room - granted if size == self._segment else 0
        return self._chunk, at, granted

    def take(self) -> list[DatagramBatch]:
        """Hand over the batches; their bytes are valid until the next packet is sealed into this buffer."""
        self._close()
        self._restart()
        self.size = 0
        batches, self._batches = self._batches, []
        return batches

    def _open(self, address: Address, face: int, size: int, count: int) -> None:
        """Begin a batch. A long one begins at the beginning of a chunk, where its slices are remembered."""
        self._close()
        if self._end and (count > 1 or self._end + size > MAX_BATCH_BYTES):
            self._number += 1
            if self._number == len(self._chunks):
                self._chunks.append(SlicedBuffer())
            self._chunk, self._end = self._chunks[self._number], 0
        self._begin = self._end
        self._address, self._face, self._segment = address, face, size
        self._room = MAX_BATCH_SEGMENTS

    def _close(self) -> None:
        if self._end > self._begin:
            data = self._chunk.view[self._begin : self._end]
            self._batches.append(DatagramBatch(self._address, self._face, self._segment, data))
            self._begin = self._end


class Sealer:
    """Seals runs for one device; it owns the place where packets are filled up."""

    def __init__(self) -> None:
        self._scratch = SlicedBuffer(MAX_BATCH_BYTES)
        self._nonces = Nonces()

    def seal_packets(
        self,
        packets: Sequence[Packet],
        *,
        session: Session,
        framing: Framing,
        mtu: int,
        width: int,
        address: Address,
        outgoing: OutgoingBuffer,
    ) -> int:
        """Seal packets of any sizes; returns the size of the largest datagram."""
        lead = framing.transport_offset + _HEADER_BYTES
        encrypt, pack_nonce, reserve = session.encrypt_into, NONCE.pack, outgoing.reserve_one
        pack_header, put_header, filling_of = TRANSPORT_HEADER.pack_into, framing.put_header, framing.filling
        bare, header, number = framing.bare, framing.transport_headers.low, framing.number
        index, counter = session.remote_index, session.sent_count
        most, largest = MAX_BATCH_BYTES - lead - TAG_BYTES, 0
        for packet in packets:
            size = len(packet)
            room = most - size
            if room < 0:
                continue  # No datagram holds it.
            filling = filling_of(size, mtu, width)
            if filling:
                filling = min(filling, room)
                packet = self._fill(packet, size, filling)
                size += filling
            total = size + lead + TAG_BYTES
            chunk, at = reserve(address, number, total)
            if bare:
                pack_header(chunk.data, at, header, index, counter)
            else:
                put_header(chunk.data, at, index, counter)
            encrypt(pack_nonce(counter), packet, None, chunk.view[at + lead : at + total])
            counter += 1
            if total > largest:
                largest = total
        session.sent_count = counter
        return largest

    def seal_segments(
        self,
        segments: Sequence[Packet],
        *,
        session: Session,
        framing: Framing,
        mtu: int,
        width: int,
        address: Address,
        outgoing: OutgoingBuffer,
    ) -> int:
        """Seal packets of one size; what it returns is the same."""
        size = len(segments[0])
        anew = framing.sized_anew and size < mtu
        filling = 0 if anew else framing.filling(size, mtu, width)
        begin = framing.transport_offset + _HEADER_BYTES
        sealed = size + filling + TAG_BYTES
        total = begin + sealed
        if anew or len(segments) < WORTHWHILE or total > MAX_BATCH_BYTES:
            return self.seal_packets(
                segments,
                session=session,
                framing=framing,
                mtu=mtu,
                width=width,
                address=address,
                outgoing=outgoing,
            )
        index, counter = session.remote_index, session.sent_count
        done, count = 0, len(segments)
        while done < count:
            chunk, at, granted = outgoing.reserve(address, framing.number, total, count - done)
            if at:
                view = chunk.view
                targets = [view[start : start + sealed] for start in range(at + begin, at + granted * total, total)]
            else:
                targets = chunk.rows(begin, sealed, total)
            counters = range(counter, counter + granted)
            framing.put_headers(chunk.data, at, total, index, counters)
            nonces = self._nonces.write(counters)
            run = segments[done : done + granted] if granted < count else segments
            if filling:
                run = self._fill_all(run, size, filling)
            deque(map(session.encrypt_into, nonces, run, repeat(None), targets), maxlen=0)
            counter += granted
            done += granted
        session.sent_count = counter
        return total

    def _fill_all(self, packets: Sequence[Packet], size: int, filling: int) -> Sequence[Packet]:
        filled, count = size + filling, len(packets)
        scratch = self._scratch
        scratch.data[: filled * count] = bytes(filled * count)
        for packet, place in zip(packets, scratch.rows(0, size, filled), strict=False):
            place[:] = packet
        return scratch.rows(0, filled, filled)[:count]

    def _fill(self, packet: Packet, size: int, filling: int) -> memoryview:
        scratch = self._scratch.view
        scratch[:size] = packet
        end = size + filling
        scratch[size:end] = bytes(filling)
        return scratch[:end]
