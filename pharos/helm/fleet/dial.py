"""helm dials out: mTLS to a node or relay, which must prove exactly the role and id that the record names."""

from __future__ import annotations

import datetime
import functools
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.helm.ca.authority import Authority
from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError, RemoteProtocolError
from pharos.wire.pki.clockfloor import ClockFloor
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import Credentials, client_context
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.transport import SecureStream, open_tls
from pharos.wire.units import SECONDS
from pharos.wire.world import utc_now

# TCP and TLS take three round trips; ten seconds are three of them on a satellite link that loses packets.
DIAL_TIMEOUT: Final = 10 * SECONDS

_REFUSALS: Final = frozenset({Status.PERMISSION_DENIED, Status.UNAUTHENTICATED, Status.FAILED_PRECONDITION})


@contextmanager
def errors_as_fates() -> Iterator[None]:
    """Turn what a peer can do to us into the fates of a link: lost or refused. The rest is a crash, a bug of ours.

    Raises: LinkLostError, LinkRefusedError.
    """
    try:
        yield
    except PeerRejectedError as error:
        raise LinkRefusedError(str(error)) from error
    except (RemoteProtocolError, trio.TooSlowError, trio.BrokenResourceError) as error:
        raise LinkLostError(str(error) or "no answer in time") from error
    except GRPCError as error:
        fate = LinkRefusedError if error.status in _REFUSALS else LinkLostError
        raise fate(f"{error.status.name.lower()}: {error.message}") from error
    except StreamTerminatedError as error:
        raise error if isinstance(error, LinkLostError) else LinkLostError(str(error)) from error


async def dial_member(
    authority: Authority,
    role: Role,
    member_id: str,
    host: str,
    port: int,
    *,
    wall: Callable[[], datetime.datetime] = utc_now,
) -> tuple[SecureStream, Peer]:
    """Open a verified stream to one member of the fleet, whatever address it has; the caller owns it.

    Raises: LinkLostError — nobody answered in time. LinkRefusedError — who answered is not the member.
    """
    identity = Identity(fleet=authority.trust.fleet, role=role, id=member_id)
    name = identity.dns_name
    assert name is not None, "helm dials nodes and relays only, and they have DNS names"
    context = _context(authority.trust, authority.controller)
    with errors_as_fates():
        with trio.fail_after(DIAL_TIMEOUT):
            stream = await open_tls(host, port, context, server_hostname=name)
        try:
            seen = authorize_peer(
                stream.peer_certificate or b"",
                trust=authority.trust,
                roles={role},
                peer_id=member_id,
                now=_floor(authority).now(wall()),
            )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    return stream, Peer(address=stream.peer_address, certificate=stream.peer_certificate, identity=seen)


def _floor(authority: Authority) -> ClockFloor:
    # A clock that was set back would revive members that have expired; our own certificate was made in its time.
    floor = ClockFloor()
    floor.see_certificate(authority.controller.certificate)
    return floor


# One context takes a millisecond to make, and 28 kB where each link has its own. What it is made of is its key, so that
# after a rotation or a renewal the next dial makes another; two, for both are in use meanwhile.
@functools.lru_cache(maxsize=2)
def _context(trust: Trust, credentials: Credentials) -> ssl.SSLContext:
    return client_context(trust=trust, credentials=credentials)
