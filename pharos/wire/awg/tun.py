"""TUN interfaces of Linux: the inner end of a tunnel that the whole machine can use.

With offloads one read brings up to 64 KiB of a stream, and one write takes as much. Which of them a kernel has is
found out by asking for them; without any, packets travel one by one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import Struct
from typing import Final

import attrs

from pharos.wire.awg.batches import SlicedBuffer
from pharos.wire.awg.coalesce import Coalescer, IsLocal
from pharos.wire.awg.offload import MAX_CUT_BYTES, MAX_UNCUT_BYTES, cut
from pharos.wire.awg.vnet import VNET_BYTES
from pharos.wire.errors import WireError

TUN_DEVICE: Final = "/dev/net/tun"

# linux/if_tun.h, linux/sockios.h
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x4000, 0x8000
_CSUM, _TSO4, _TSO6, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
_SIOCGIFINDEX, _SIOCGIFMTU, _SIOCSIFMTU = 0x8933, 0x8921, 0x8922
_IFREQ_FLAGS: Final = Struct("16sH22x")
_IFREQ_INT: Final = Struct("16si20x")
_MAX_NAME_BYTES: Final = 15


class TunGoneError(WireError):
    """The TUN interface was removed; start the tunnel again."""


@attrs.frozen
class Offloads:
    """What a kernel leaves to us, and what it takes off us in turn."""

    header: bool = False
    """Packets have a vnet header in front; without it there are no offloads at all."""
    tcp: bool = False
    """Large packets of TCP, both families."""
    udp: bool = False
    """Large packets of UDP, both families; since Linux 6.2."""


# The best first; the last needs nothing of the kernel.
_ATTEMPTS: Final = (
    (Offloads(header=True, tcp=True, udp=True), _CSUM | _TSO4 | _TSO6 | _USO4 | _USO6),
    (Offloads(header=True, tcp=True), _CSUM | _TSO4 | _TSO6),
    (Offloads(header=True), 0),
)


class Tun:
    """An open interface; ``open_tun`` makes it. One task reads and one writes."""

    def __init__(self, descriptor: int, name: str, offloads: Offloads, is_local: IsLocal) -> None:
        self.name = name
        self.offloads = offloads
        self.dropped = 0
        """Packets or joined packets that the kernel did not take: the interface is down, or it has no memory."""
        self._descriptor = descriptor
        self._coalescer = Coalescer(udp=offloads.udp, is_local=is_local)
        self._frame = SlicedBuffer((VNET_BYTES if offloads.header else 0) + MAX_UNCUT_BYTES)
        self._cut = SlicedBuffer(MAX_CUT_BYTES)

    def fileno(self) -> int:
        return self._descriptor

    @property
    def index(self) -> int:
        """The interface's number."""
        return _ask_interface(_SIOCGIFINDEX, self.name)

    @property
    def mtu(self) -> int:
        return _ask_interface(_SIOCGIFMTU, self.name)

    def read_nowait(self) -> Sequence[memoryview]:
        """Return one packet, or those that one large packet stands for; valid until the next read.

        Raises: BlockingIOError — there is none. TunGoneError.
        """
        frame = self._frame
        try:
            size = os.readv(self._descriptor, (frame.data,))
        except BlockingIOError:
            raise
        except OSError as error:
            raise TunGoneError(f"{self.name}: {error.strerror}") from error
        if self.offloads.header:
            return cut(frame, size, self._cut)
        return (frame.view[:size],)

    def write_nowait(self, packets: Sequence[memoryview]) -> None:
        """Take packets, whose bytes may change meanwhile; what the kernel does not take is dropped, and counted.

        Raises: TunGoneError.
        """
        frames = self._coalescer.join(packets) if self.offloads.header else [[packet] for packet in packets]
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
        tun = Tun(descriptor, name, _probe(descriptor) if offload else Offloads(), is_local)
        set_mtu(name, mtu)
        yield tun
    finally:
        os.close(descriptor)


def set_mtu(name: str, mtu: int) -> None:
    """Raises: OSError — there is no such interface, or the MTU is out of range."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFMTU, _IFREQ_INT.pack(name.encode(), mtu))


def _probe(descriptor: int) -> Offloads:
    for offloads, bits in _ATTEMPTS[:-1]:
        try:
            fcntl.ioctl(descriptor, _TUNSETOFFLOAD, bits)
        except OSError:
            continue
        return offloads
    return _ATTEMPTS[-1][0]


def _ask_interface(request: int, name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, request, _IFREQ_INT.pack(name.encode(), 0))
    return int(_IFREQ_INT.unpack(answer)[1])
