"""What an error means: to the gRPC caller (a status), to a link (lost or refused), to the log (whose fault)."""

import ssl
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import trio
from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.errors import ErrorCodes

from pharos.wire.errors import (
    LinkLostError,
    LocalProtocolError,
    ParameterError,
    PeerRejectedError,
    RemoteProtocolError,
    WireError,
)


class ConnectionLostError(LinkLostError, StreamTerminatedError):
    """The connection ended under an RPC: a lost link to Pharos, a terminated stream to grpclib."""


class StreamResetError(StreamTerminatedError):
    """The peer reset one stream; the connection lives on."""

    def __init__(self, code: ErrorCodes | int) -> None:
        super().__init__(f"stream reset by the peer: {_code_name(code)}")
        self.code: Final = code


def _code_name(code: ErrorCodes | int) -> str:
    return code.name if isinstance(code, ErrorCodes) else f"error {code}"


# One table at the edge: the first class that matches decides. Whatever is not listed is a bug of the
# handler's and tells the caller nothing but UNKNOWN.
STATUSES: Final[Mapping[type[Exception], Status]] = MappingProxyType(
    {
        PeerRejectedError: Status.PERMISSION_DENIED,
        ParameterError: Status.INVALID_ARGUMENT,
        LinkLostError: Status.UNAVAILABLE,
        RemoteProtocolError: Status.INTERNAL,
        DecodeError: Status.INTERNAL,
        trio.TooSlowError: Status.DEADLINE_EXCEEDED,
    }
)


def grpc_error(error: Exception, statuses: Mapping[type[Exception], Status] = STATUSES) -> GRPCError | None:
    """Return ``error`` as the status its caller shall see, or None when it is a bug of ours.

    A handler that works in nurseries raises exception groups; a group whose members all have a status
    counts as its first member. The result is a new error, to be raised ``from`` this one.
    """
    first: GRPCError | None = None
    for leaf in leaves(error):
        found = _leaf_status(leaf, statuses)
        if found is None:
            return None
        first = first or found
    return first


def _leaf_status(leaf: BaseException, statuses: Mapping[type[Exception], Status]) -> GRPCError | None:
    if isinstance(leaf, GRPCError):
        return GRPCError(leaf.status, leaf.message, leaf.details)
    for kind, status in statuses.items():
        if isinstance(leaf, kind):
            return GRPCError(status, str(leaf))
    return None


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions inside nested groups, or ``error`` itself."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from leaves(member)
    else:
        yield error


_PEER_FAULTS: Final = (
    WireError,
    StreamTerminatedError,
    trio.BrokenResourceError,
    trio.TooSlowError,
    ssl.SSLError,
    ConnectionError,
)


def is_peer_fault(error: BaseException) -> bool:
    """Tell whether ``error`` was brought about by the peer or the network, not by a bug of this program."""
    return all(isinstance(leaf, _PEER_FAULTS) and not isinstance(leaf, LocalProtocolError) for leaf in leaves(error))
