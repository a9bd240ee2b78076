"""Holds a network of its own for the process that started it, and hands out what is made in there; Linux, no root.

It is started as a file by a bare interpreter, with no environment and nothing but a socket to its parent, so it imports
the standard library alone. It makes a user namespace and a network namespace in it, where an ordinary user may do what
root may elsewhere (user_namespaces(7)), and answers one packet of a request by one of a reply:

    request   ``T`` name, ``N`` a message for the routing socket, ``S`` family type protocol, ``D``
    reply     errno, 0 for success, and what was asked for: a number, and a descriptor beside it (SCM_RIGHTS)

The first reply comes without a request, when the namespaces are there. After ``D`` it has no rights left, and answers
``S`` alone. It ends when its parent's end of the socket is closed, however that came about.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import socket
import struct
import sys
from pathlib import Path
from typing import Final

MAX_REQUEST: Final = 1024
"""Octets; a route's message has some 60."""
REQUESTS: Final = {"tun": b"T", "netlink": b"N", "socket": b"S", "done": b"D"}
NUMBERS: Final = struct.Struct("=iii")
NUMBER: Final = struct.Struct("=i")

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CAPABILITY_VERSION_3: Final = 0x20080522
# linux/if_tun.h
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_IFREQ: Final = struct.Struct("16sH22x")
_NETLINK_HEADER: Final = struct.Struct("=IHHII")
_NLMSG_ERROR: Final = 2
# Of IPv6 at a point-to-point line nothing else is wanted: no link-local address, and nobody is asked for routers.
_QUIET: Final = {"disable_ipv6": "0", "accept_ra": "0", "addr_gen_mode": "1"}
# A stream that nothing has carried for a while goes on 2 s after something does, where it could be two minutes
# (RFC 6298 §2.5). As many tries as there can be are 8 minutes then; they were 15.
_PATIENT: Final = {"tcp_rto_max_ms": "2000", "tcp_retries2": "255"}
_DESCRIPTORS: Final = 16


class Namespace:
    """What is answered to requests."""

    def __init__(self) -> None:
        self._done = False

    def answer(self, request: bytes) -> tuple[bytes, list[int]]:
        """Return what goes back, and a descriptor that goes with it. Raises: OSError — its number is the answer."""
        kind, body = request[:1], request[1:]
        if kind == REQUESTS["socket"]:
            family, type_, protocol = NUMBERS.unpack(body)
            return b"", [socket.socket(family, type_, protocol).detach()]
        if self._done:
            raise OSError(errno.EPERM, "the namespace is as it is")
        if kind == REQUESTS["tun"]:
            return _make_tun(body.decode())
        if kind == REQUESTS["netlink"]:
            _ask_kernel(body)
        elif kind == REQUESTS["done"]:
            _drop_rights()
            self._done = True
        else:
            raise OSError(errno.EINVAL, "no such request")
        return b"", []


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    parent = socket.socket(fileno=int(sys.argv[1]))
    try:
        _enter_namespaces()
    except OSError as error:
        _reply(parent, error.errno or errno.EIO)
        return
    _reply(parent, 0)
    namespace = Namespace()
    while request := parent.recv(MAX_REQUEST):
        descriptors: list[int] = []
        try:
            body, descriptors = namespace.answer(request)
        except OSError as error:
            _reply(parent, error.errno or errno.EIO)
        else:
            _reply(parent, 0, body, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _reply(parent: socket.socket, number: int, body: bytes = b"", descriptors: list[int] | None = None) -> None:
    message = NUMBER.pack(number) + body
    if descriptors:
        socket.send_fds(parent, [message], descriptors)
    else:
        parent.send(message)


def _enter_namespaces() -> None:
    """Raises: OSError — this system lets nobody, or nobody more."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    own = Path("/proc/self")
    # Who was root is not root in here either.
    own.joinpath("setgroups").write_text("deny")
    own.joinpath("uid_map").write_text(f"{user} {user} 1")
    own.joinpath("gid_map").write_text(f"{group} {group} 1")
    # The first of them is Linux 6.15's, and the second by itself would make it worse.
    with contextlib.suppress(OSError):
        for key, value in _PATIENT.items():
            Path(f"/proc/sys/net/ipv4/{key}").write_text(value)


def _make_tun(name: str) -> tuple[bytes, list[int]]:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR))
        for key, value in _QUIET.items():
            # A container may have its settings out of reach, and does without.
            with contextlib.suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{name}/{key}").write_text(value)
        return NUMBER.pack(socket.if_nametoindex(name)), [descriptor]
    except BaseException:
        os.close(descriptor)
        raise


def _ask_kernel(message: bytes) -> None:
    """Send a message that asks for an acknowledgement (rtnetlink(7))."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.send(message)
        answer = sock.recv(MAX_REQUEST)
    _, kind, *_ = _NETLINK_HEADER.unpack_from(answer)
    (number,) = NUMBER.unpack_from(answer, _NETLINK_HEADER.size)
    if kind != _NLMSG_ERROR or number:
        raise OSError(-number if kind == _NLMSG_ERROR else errno.EPROTO, os.strerror(-number))


def _drop_rights() -> None:
    """Keep what it takes to make sockets, and nothing else; nor may others of this user get in by way of us."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, nothing = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _check(libc.capset(header, nothing))
    _check(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    for which, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
    ):
        resource.setrlimit(which, (most, most))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
