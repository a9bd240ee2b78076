"""A network of our own without root: Linux's TCP through a TUN in a user namespace, which a child process holds.

Between this process and the child (`pharos.caravel.tunnel.userns_child`) is one socket, and nothing of a tunnel's
secrets goes over it: the child makes a TUN, whose descriptor comes here, and sockets, which come here as well. It is
started as a program of its own, for a process with threads must not fork.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from pharos.caravel.errors import NoNamespaceError
from pharos.caravel.system.routes import MAIN, Route, RouteKind
from pharos.caravel.system.rtnetlink import add_address, add_route, set_up
from pharos.caravel.tunnel import userns_child as child
from pharos.wire.awg.netlink import set_link
from pharos.wire.units import SECONDS

if TYPE_CHECKING:
    from pharos.wire.awg.tun import Tun

IpInterface: TypeAlias = IPv4Interface | IPv6Interface

DEVICE: Final = "pharos0"
ANSWER_TIMEOUT: Final = 5 * SECONDS
"""A socket takes 50 µs, and a bare interpreter starts in 20 ms, on a machine that has nothing else to do."""
END_TIMEOUT: Final = 1 * SECONDS
_ROOM: Final = 64
_LOOPBACK: Final = 1
_METRIC: Final = 1
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EACCES})
_DEFAULT: Final = {4: "0.0.0.0/0", 6: "::/0"}


class Userns:
    """A network namespace with one interface; ``open_userns`` makes it."""

    def __init__(self, parent: socket.socket) -> None:
        self.addresses: tuple[IpInterface, ...] = ()
        """Those that it was given, of the versions of IP that this kernel speaks."""
        self._socket = parent
        self._turn = trio.Lock()
        self._ended = False

    async def open_socket(self, family: int, type_: int, protocol: int = 0) -> socket.socket:
        """Make a socket in there; it is the caller's, non-blocking, and may outlive its maker.

        Raises: OSError — there is no such kind, or the namespace has ended.
        """
        request = child.REQUESTS["socket"] + child.NUMBERS.pack(family, type_, protocol)
        sock = socket.socket(fileno=(await self._ask(request))[1])
        sock.settimeout(0.0)
        return sock

    async def make_tun(self, name: str) -> tuple[int, int]:
        """Return the descriptor of a new TUN, which is the caller's, and its number in there. Raises: OSError."""
        body, descriptor = await self._ask(child.REQUESTS["tun"] + name.encode())
        return descriptor, child.NUMBER.unpack(body)[0]

    async def tell_kernel(self, message: bytes) -> None:
        """Send a message to the routing socket in there. Raises: OSError — the kernel refuses it."""
        await self._ask(child.REQUESTS["netlink"] + message)

    async def finish(self) -> None:
        """Take all rights from the child but that to make sockets. Raises: OSError."""
        await self._ask(child.REQUESTS["done"])

    async def wait_ready(self) -> None:
        """Wait until the child is in its namespaces. Raises: OSError — it is not let."""
        await self._exchange(None)

    async def _ask(self, request: bytes) -> tuple[bytes, int]:
        async with self._turn:
            return await self._exchange(request)

    async def _exchange(self, request: bytes | None) -> tuple[bytes, int]:
        """Return what is answered to a request, and the descriptor that came along, -1 for none."""
        before, self._ended = self._ended, True
        # An answer that nobody waits for would be taken for the next one's; it comes at once, so it is waited for.
        with trio.move_on_after(ANSWER_TIMEOUT, shield=request is not None):
            try:
                if before:
                    raise BrokenPipeError
                if request is not None:
                    self._socket.send(request)
                await trio.lowlevel.wait_readable(self._socket)
                # `socket.recv_fds` leaves its flags out, and every process that is started would have the descriptor.
                answer, ancillary, _, _ = self._socket.recvmsg(
                    _ROOM, socket.CMSG_SPACE(child.NUMBER.size), socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionError:
                answer = b""
            if answer:
                self._ended = False
                (number,) = child.NUMBER.unpack_from(answer)
                if number:
                    raise OSError(number, os.strerror(number))
                descriptor = child.NUMBER.unpack(ancillary[0][2])[0] if ancillary else -1
                return answer[child.NUMBER.size :], descriptor
        raise OSError(errno.ENOTCONN, "the network inside this program has ended")


@asynccontextmanager
async def open_userns(*, addresses: Sequence[IpInterface], mtu: int) -> AsyncIterator[tuple[Userns, Tun]]:
    """Have a network with these addresses, all of whose packets come out of a TUN, while the block lasts.

    Its sockets are the caller's and have to be closed by then: they are what keeps it alive.

    Raises: NoNamespaceError — this system gives no network to programs of ordinary users.
    """
    # Only Linux has it.
    from pharos.wire.awg.tun import adopt_tun

    packed = frozenset(address.ip.packed for address in addresses)
    async with _running_child() as userns:
        with ExitStack() as stack:
            with _named("it gets no TUN interface"):
                descriptor, index = await userns.make_tun(DEVICE)
                stack.callback(os.close, descriptor)
                tun: Tun = adopt_tun(descriptor, mtu=mtu, is_local=packed.__contains__)
            with _named("its interface cannot be set up"):
                await _set_up(userns, index, addresses, mtu)
                await userns.finish()
            yield userns, tun


async def _set_up(userns: Userns, index: int, addresses: Sequence[IpInterface], mtu: int) -> None:
    """Raises: OSError."""
    from pharos.wire.awg.tun import QUEUE_PACKETS

    userns.addresses = tuple([each for each in addresses if await _add_address(userns, index, each)])
    await userns.tell_kernel(set_link(index, mtu=mtu, queue_packets=QUEUE_PACKETS))
    await userns.tell_kernel(set_up(_LOOPBACK))
    for version in sorted({address.version for address in userns.addresses}):
        network = ip_network(_DEFAULT[version])
        route = Route(network=network, kind=RouteKind.UNICAST, metric=_METRIC, device=index, table=MAIN)
        await userns.tell_kernel(add_route(route))


async def _add_address(userns: Userns, index: int, address: IpInterface) -> bool:
    """Give the TUN an address; False on a machine without IPv6, for one of that. Raises: OSError."""
    try:
        await userns.tell_kernel(add_address(index, address))
    except OSError as error:
        if address.version == 4 or error.errno not in _NO_IPV6:
            raise
        return False
    return True


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Raises: NoNamespaceError, for an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise NoNamespaceError(f"no network inside this program: {what} ({error.strerror})") from error


@asynccontextmanager
async def _running_child() -> AsyncIterator[Userns]:
    """Raises: NoNamespaceError."""
    if sys.platform != "linux":
        raise NoNamespaceError(f"no network inside this program: {sys.platform} has no network namespaces")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process: trio.Process | None = None
    try:
        with theirs:
            process = await _start(theirs)
        ours.settimeout(0.0)
        userns = Userns(ours)
        with _named("it gets no user namespace"):
            await userns.wait_ready()
        yield userns
    finally:
        # By this the child knows; nor does anything else have to reach it, should this process be killed.
        trio.lowlevel.notify_closing(ours)
        ours.close()
        if process is not None:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(END_TIMEOUT):
                    await process.wait()
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def _start(theirs: socket.socket) -> trio.Process:
    """Raises: NoNamespaceError."""
    if not sys.executable or not child.__file__:
        raise NoNamespaceError("no network inside this program: it has no interpreter that could be started")
    command = [sys.executable, "-I", "-S", child.__file__, str(theirs.fileno())]
    nothing = subprocess.DEVNULL
    with _named(f"{sys.executable} cannot be started"):
        return await trio.lowlevel.open_process(
            command,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            pass_fds=(theirs.fileno(),),
            env={},
            cwd="/",
            # What is typed at a terminal is for its parent.
            start_new_session=True,
        )
