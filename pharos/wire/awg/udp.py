"""The outer sockets of a tunnel: UDP that sends and receives up to 64 datagrams of one size at a call (udp(7)).

Whether a kernel can is asked of each socket. Where it refuses a batch, say because one datagram of it would have to be
fragmented, the datagrams go one by one.
"""

import contextlib
import errno
import ipaddress
import socket
from struct import Struct
from typing import Final

from pharos.wire.awg.batches import DatagramBatch
from pharos.wire.awg.endpoint import Address
from pharos.wire.listen import naming_address
from pharos.wire.tcpdial import Protect
from pharos.wire.units import MIB
from pharos.wire.world import this_world

ANY_IPV4: Final = "0.0.0.0"  # noqa: S104 — peers come by whatever interface routes to us.
ANY_IPV6: Final = "::"

SOCKET_BUFFER_BYTES: Final = 4 * MIB
"""Asked for each way; 20 ms of a Gbit/s stream is 2.5 MB. The kernel may grant less without a word."""

_MAPPED: Final = "::ffff:"
"""An IPv4 address at a socket of IPv6 (RFC 4291 §2.5.5.2)."""

# linux/udp.h and asm-generic/socket.h; the socket module of Python 3.11 knows only some of them.
_UDP_SEGMENT, _UDP_GRO = 103, 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SEGMENT: Final = Struct("=H")
_GRO_SEGMENT: Final = Struct("=i")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_GRO_SEGMENT.size) if hasattr(socket, "CMSG_SPACE") else 0
# EIO: the interface cannot compute checksums, so that nothing can be cut for it.
_NO_OFFLOAD: Final = frozenset({errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
# EINVAL and EMSGSIZE: a datagram of the batch is larger than the way there takes.
_NOT_THIS_BATCH: Final = _NO_OFFLOAD | {errno.EINVAL, errno.EMSGSIZE}


class UdpPort:
    """A bound socket, with the offloads it has. ``face`` numbers the parameters that are spoken there."""

    def __init__(self, sock: socket.socket, *, face: int = 0, offload: bool = True) -> None:
        self.sock = sock
        """The caller closes it."""
        self.face = face
        self.lost = 0
        """Datagrams the kernel refused to send: no route, too big, no buffer. The tunnel sees them as loss."""
        self._gso = offload and _has_option(sock, _UDP_SEGMENT)
        self._gro = offload and _set_option(sock, _UDP_GRO, 1)
        self._mapped = sock.family == socket.AF_INET6
        self._recvmsg_into = sock.recvmsg_into
        # The last sender, as the kernel says it and as we do: it is the next one, too, nearly always.
        self._source: object = None
        self._sender: Address = ("", 0)

    @property
    def offloads(self) -> tuple[bool, bool]:
        """Whether batches are sent, and whether they are received."""
        return self._gso, self._gro

    def receive_nowait(self, room: memoryview) -> tuple[int, int, Address]:
        """Read one datagram or a batch from one sender: its bytes, those of each datagram but the last, the sender.

        ``room`` has to hold what the kernel joins at most.

        Raises: BlockingIOError — there is none.
        """
        while True:
            try:
                if self._gro:
                    size, ancillary, _, source = self._recvmsg_into((room,), _ANCILLARY_BYTES)
                else:
                    size, source = self.sock.recvfrom_into(room)
                    ancillary = None
            except ConnectionError:
                continue  # Some systems report a peer's ICMP error here; it concerns no datagram of ours.
            if source != self._source:
                self._source, self._sender = source, to_address(source)
            segment = _GRO_SEGMENT.unpack(ancillary[0][2])[0] if ancillary else size
            return size, segment, self._sender

    def send_nowait(self, batch: DatagramBatch) -> None:
        """Send a batch; what the kernel refuses is lost, and counted.

        Raises: BlockingIOError — the socket is full; the batch holds what is left of it.
        """
        data, segment, address = batch.data, batch.segment, self._to(batch.address)
        if len(data) <= segment:
            self._send(data, address)
            return
        if self._gso:
            try:
                cut = [(socket.SOL_UDP, _UDP_SEGMENT, _SEGMENT.pack(segment))]
                self.sock.sendmsg((data,), cut, 0, address)
            except BlockingIOError:
                raise
            except OSError as error:
                if error.errno in _NO_OFFLOAD:
                    self._gso = False
                if error.errno not in _NOT_THIS_BATCH:
                    self.lost += -(-len(data) // segment)
                    return
            else:
                return
        while batch.data:
            self._send(batch.data[:segment], address)
            batch.data = batch.data[segment:]

    def _send(self, data: bytes | memoryview, address: Address) -> None:
        try:
            self.sock.sendto(data, address)
        except BlockingIOError:
            raise
        except OSError:
            self.lost += 1

    def _to(self, address: Address) -> Address:
        if self._mapped and ":" not in address[0]:
            return _MAPPED + address[0], address[1]
        return address


def bind_udp(host: str, port: int, *, protect: Protect | None = None) -> socket.socket:
    """Bind a non-blocking UDP socket; port 0 takes any. ``ANY_IPV6`` serves IPv4 too. The caller closes it.

    Raises: OSError — the address is not ours, the port is taken, or the socket cannot be protected.
    """
    family = socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
    sock = this_world().udp_socket(family)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for option, forced in ((socket.SO_RCVBUF, _SO_RCVBUFFORCE), (socket.SO_SNDBUF, _SO_SNDBUFFORCE)):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            # Past the system's own limit, for those who may (CAP_NET_ADMIN).
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
        if protect is not None:
            protect(sock)
        sock.settimeout(0.0)
        with naming_address(host, port, "UDP"):
            sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def set_mark(sock: socket.socket, mark: int) -> None:
    """Have a socket's datagrams carry a firewall mark, by which they are routed past the tunnel; 0 is none.

    Raises: OSError — we lack CAP_NET_ADMIN.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


def local_address(sock: socket.socket) -> Address:
    return to_address(sock.getsockname())


def to_address(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Bring what the socket module returns for either family to one form: IPv4 stays IPv4 at a socket of IPv6."""
    if len(sockaddr) == 2:
        return sockaddr
    host, port, _, scope = sockaddr
    if host.startswith(_MAPPED):
        return host[len(_MAPPED) :], port
    return (f"{host}%{scope}" if scope else host), port


def _has_option(sock: socket.socket, option: int) -> bool:
    try:
        sock.getsockopt(socket.SOL_UDP, option)
    except OSError:
        return False
    return True


def _set_option(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(socket.SOL_UDP, option, value)
    except OSError:
        return False
    return True
