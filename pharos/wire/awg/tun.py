"""TUN interfaces of Linux: the inner end of a tunnel that the whole machine can use.

One write takes up to 64 KiB of a stream, where a kernel knows how; that is found out by asking. What comes out of the
interface the kernel cuts itself: it takes the checksum of a packet in a tenth of the time that Python does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import Struct
from typing import Final

import attrs

from pharos.wire.awg.batches import MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS, PacketRows, SlicedBuffer
from pharos.wire.awg.coalesce import Coalescer, IsLocal
from pharos.wire.awg.inner import PacketDevice
from pharos.wire.awg.vnet import VNET_BYTES
from pharos.wire.errors import ParameterError, WireError

TUN_DEVICE: Final = "/dev/net/tun"

# linux/if_tun.h, linux/sockios.h
_TUNSETIFF, _TUNSETOFFLOAD, _TUNGETIFF = 0x400454CA, 0x400454D0, 0x800454D2
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x4000, 0x8000
_CSUM, _TSO4, _TSO6, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
_SIOCGIFINDEX, _SIOCGIFMTU, _SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8933, 0x8921, 0x8922, 0x8943
_IFREQ_FLAGS: Final = Struct("16sH22x")
_IFREQ_INT: Final = Struct("16si20x")
_MAX_NAME_BYTES: Final = 15

MAX_OVERHEAD_BYTES: Final = 52
"""Of a datagram over its packet where the path takes 1,500 bytes: 32 of the message, and at most 20 of padding (S4)."""
MAX_MTU: Final = 65_535
QUEUE_PACKETS: Final = 4096
"""That may wait to be read: what TCP has on the way by Linux's own limit (4 MiB, 3,000 packets of 1,420 bytes) and some
more, for it does not notice a full queue but by loss. Linux's 500 are the cut of 11 large packets."""


class TunGoneError(WireError):
    """The TUN interface was removed; start the tunnel again."""


@attrs.frozen
class Offloads:
    """What a kernel takes off us."""

    header: bool = False
    """Packets have a vnet header in front; without it there are no offloads at all."""
    tcp: bool = False
    """It takes large packets of TCP, both families."""
    udp: bool = False
    """It takes large packets of UDP, both families; since Linux 6.2."""


# The best first; the last needs nothing of the kernel.
_ATTEMPTS: Final = (
    (Offloads(header=True, tcp=True, udp=True), _CSUM | _TSO4 | _TSO6 | _USO4 | _USO6),
    (Offloads(header=True, tcp=True), _CSUM | _TSO4 | _TSO6),
    (Offloads(header=True), 0),
)


class Tun(PacketDevice):
    """An open interface; ``open_tun`` makes it. One task reads and one writes."""

    def __init__(self, descriptor: int, name: str, mtu: int, offloads: Offloads, is_local: IsLocal) -> None:
        self.name = name
        self.offloads = offloads
        self.dropped = 0
        """Packets or joined packets that the kernel did not take: the interface is down, or it has no memory."""
        self._descriptor = descriptor
        # It says "nothing there" without raising, and takes a buffer as it is: a tenth less for each packet than readv.
        self._file = io.FileIO(descriptor, "rb", closefd=False)
        self._coalescer = Coalescer(udp=offloads.udp, is_local=is_local)
        self.fit(mtu)

    def fileno(self) -> int:
        return self._descriptor

    @property
    def index(self) -> int:
        """The interface's number."""
        return _ask_interface(_SIOCGIFINDEX, self.name)

    @property
    def mtu(self) -> int:
        return _ask_interface(_SIOCGIFMTU, self.name)

    def fit(self, mtu: int) -> None:
        """Make room for packets of up to ``mtu`` bytes: for as many as fit, sealed, into one call of a socket."""
        self._fitting = mtu
        self._lead = VNET_BYTES if self.offloads.header else 0
        # One more, so that what fills a slot was cut off.
        self._stride = self._lead + mtu + 1
        self.most = max(1, min(MAX_BATCH_SEGMENTS, MAX_BATCH_BYTES // (mtu + MAX_OVERHEAD_BYTES)))
        """Packets that one read brings."""
        self._frames = SlicedBuffer(self.most * self._stride)
        self._slots = self._frames.rows(0, self._stride, self._stride)

    def read_nowait(self) -> PacketRows:
        """Return the packets that are there, at least one and at most ``most``; valid until the next read.

        Raises: BlockingIOError — there is none. TunGoneError.
        """
        read = self._file.readinto
        sizes: list[int] = []
        try:
            for slot in self._slots:
                size = read(slot)
                if not size:
                    break
                sizes.append(size)
        except OSError as error:
            raise TunGoneError(f"{self.name}: {error.strerror}") from error
        if not sizes:
            if size is None:
                raise BlockingIOError
            raise TunGoneError(f"{self.name}: its other end is closed")
        lead, stride = self._lead, self._stride
        rows = PacketRows(self._frames, lead, stride, [size - lead for size in sizes])
        if max(sizes) == stride:
            # The MTU was raised and nobody has said so yet; what was cut off is lost, as it would be on any wire.
            self.fit(min(2 * self._fitting, MAX_MTU))
        return rows

    def write_nowait(self, packets: Sequence[memoryview], rows: PacketRows | None = None) -> None:
        """Take packets, whose bytes may change meanwhile; what the kernel does not take is dropped, and counted.

        ``rows`` is where the first of them stand, if they are of one size and at equal distances.

        Raises: TunGoneError.
        """
        frames = self._coalescer.join(packets, rows) if self.offloads.header else [[packet] for packet in packets]
        descriptor, writev = self._descriptor, os.writev
        for frame in frames:
            try:
                writev(descriptor, frame)
            except OSError as error:
                if error.errno == errno.EBADFD:
                    raise TunGoneError(f"{self.name}: {error.strerror}") from error
                # EIO while the interface is down, EINVAL for what is no IP packet after all.
                self.dropped += 1


@contextmanager
def open_tun(
    name: str, *, mtu: int, is_local: IsLocal = lambda destination: False, offload: bool = True
) -> Iterator[Tun]:
    """Make a TUN interface that lasts as long as the block; a ``%d`` in its name becomes a number.

    ``is_local`` says which packed destinations are this machine's own. ``offload`` False does without, for tests.

    Raises: OSError — there is such an interface, there is no /dev/net/tun, or we lack CAP_NET_ADMIN.
    """
    if not 0 < len(name.encode()) <= _MAX_NAME_BYTES:
        raise OSError(errno.EINVAL, f"{name}: names of interfaces have 1 to {_MAX_NAME_BYTES} bytes")
    descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TUN | _IFF_NO_PI | (_IFF_VNET_HDR if offload else 0)
        given = fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ_FLAGS.pack(name.encode(), flags))
        name = _IFREQ_FLAGS.unpack(given)[0].rstrip(b"\0").decode()
        set_mtu(name, mtu)
        _set_queue_length(name, QUEUE_PACKETS)
        tun = Tun(descriptor, name, mtu, _probe(descriptor) if offload else Offloads(), is_local)
        yield tun
    finally:
        os.close(descriptor)


def adopt_tun(descriptor: int, *, mtu: int, is_local: IsLocal = lambda destination: False) -> Tun:
    """Carry packets by a device that another program has made; the descriptor stays the caller's.

    It becomes non-blocking, for everybody who has it. What is no TUN of Linux has its packets plain, one a read.

    Raises: OSError — it is none of ours. ParameterError — it has Linux's older header, of four bytes.
    """
    os.set_blocking(descriptor, False)
    try:
        name, flags = _IFREQ_FLAGS.unpack(fcntl.ioctl(descriptor, _TUNGETIFF, _IFREQ_FLAGS.pack(b"", 0)))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return Tun(descriptor, f"descriptor {descriptor}", mtu, Offloads(), is_local)
    if not flags & _IFF_NO_PI:
        raise ParameterError("tun_fd: a TUN has to be made with IFF_NO_PI")
    offloads = _probe(descriptor) if flags & _IFF_VNET_HDR else Offloads()
    return Tun(descriptor, name.rstrip(b"\0").decode(), mtu, offloads, is_local)


def set_mtu(name: str, mtu: int) -> None:
    """Raises: OSError — there is no such interface, or the MTU is out of range."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFMTU, _IFREQ_INT.pack(name.encode(), mtu))


def _set_queue_length(name: str, packets: int) -> None:
    """Raises: OSError — there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFTXQLEN, _IFREQ_INT.pack(name.encode(), packets))


def _probe(descriptor: int) -> Offloads:
    """Find out what the kernel knows, and have it cut what it gives to us."""
    found = _ATTEMPTS[-1][0]
    for offloads, bits in _ATTEMPTS[:-1]:
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _TUNSETOFFLOAD, bits)
            found = offloads
            break
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, 0)
    return found


def _ask_interface(request: int, name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, request, _IFREQ_INT.pack(name.encode(), 0))
    return int(_IFREQ_INT.unpack(answer)[1])
