"""What the errors of an account are to a device: a status each, and their own sentence."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from grpclib.const import Status

from pharos.helm.errors import (
    BusyError,
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    NotSignedInError,
    ProviderError,
    TooManyTriesError,
)
from pharos.wire.rpc.status import STATUSES

ACCOUNT_STATUSES: Final[Mapping[type[Exception], Status]] = MappingProxyType(
    {
        NotSignedInError: Status.UNAUTHENTICATED,
        TooManyTriesError: Status.RESOURCE_EXHAUSTED,
        BusyError: Status.RESOURCE_EXHAUSTED,
        ProviderError: Status.ABORTED,
        NotAllowedError: Status.PERMISSION_DENIED,
        NotFoundError: Status.NOT_FOUND,
        ConflictError: Status.ALREADY_EXISTS,
        InvalidRequestError: Status.INVALID_ARGUMENT,
        **STATUSES,
    }
)
