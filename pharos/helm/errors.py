"""What helm refuses, and what it tells the operator.

HelmError
├── NotInitialisedError     the state directory holds no fleet
├── AlreadyInitialisedError
├── NotFoundError           no record has that id or name
├── ConflictError           a unique value is taken
│   └── StaleVersionError   the record has moved on since it was read
├── InvalidRequestError     a value does not fit
├── PreconditionError       the caller does not say which version it saw
├── NotAllowedError         the caller may not do this
├── NotSignedInError        nobody knows who the caller is
├── TooManyTriesError       somebody tries to sign in too often
├── NodeAwayError           a node cannot be asked right now
├── ProviderError           the OpenID provider says what it should not
│   └── ProviderAwayError   the OpenID provider does not answer
├── BusyError               the store cannot write right now; try again
│   └── ReadOnlyError       the disk is full, or the file system read-only
├── AuditError              the audit chain does not hold
├── SinkError               a log system did not take what was sent
├── BackupError             a backup cannot be made, reached, opened or put in place
├── NewerDatabaseError      a newer helm wrote this database
└── DatabaseCorruptError    a database failed its check; it is never overwritten
"""

import math
from typing import Any, Final

from pharos.wire.errors import WireError


class HelmError(WireError):
    """helm could not do that."""


class NotInitialisedError(HelmError):
    """There is no fleet here yet; run: helm init --personal."""


class AlreadyInitialisedError(HelmError):
    """There is a fleet here already; choose another --state directory."""


class NotFoundError(HelmError):
    """No record has that id or name."""


class ConflictError(HelmError):
    """The record or name is taken or has changed; look at it again and retry."""


class StaleVersionError(ConflictError):
    """Somebody changed this record after you read it; look at it as it is now and try again."""

    def __init__(self, kind: str, *, current: dict[str, Any], seen: int) -> None:
        super().__init__(
            f"this {kind} was changed by {current['updated_by']} at {current['updated_at']}: it is at version"
            f" {current['version']}, and your change was made for version {seen}; look again"
        )
        self.current: Final = current
        """The record as it is now, as views show it."""


class InvalidRequestError(HelmError):
    """A value in the request does not fit."""


class PreconditionError(HelmError):
    """Say which version of the record you saw: somebody else may have changed it since."""


class NotAllowedError(HelmError):
    """The caller may not do this."""


class NotSignedInError(HelmError):
    """Sign in first: helm admins link prints a one-time link."""


class TooManyTriesError(HelmError):
    """Too many tries to sign in; wait a little. The Unix socket needs no password."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many tries to sign in; wait {math.ceil(wait)} s and try again")
        self.wait: Final = wait
        """Seconds."""


class NodeAwayError(HelmError):
    """The node does not answer; see how it is with helm nodes list, and try again."""


class ProviderError(HelmError):
    """The OpenID provider says what it should not; look at it with helm oidc test."""


class ProviderAwayError(ProviderError):
    """The OpenID provider does not answer; look at it with helm oidc test."""


class BusyError(HelmError):
    """The store is in use by another program; try again in a few seconds."""


class ReadOnlyError(BusyError):
    """helm cannot write to its disk; make room and it goes on by itself."""


class AuditError(HelmError):
    """The audit chain does not hold: rows were altered, removed or added outside helm."""


class SinkError(HelmError):
    """The log system did not take what was sent; it is sent again."""

    def __init__(self, why: str, *, smaller: bool = False, wait: float = 0.0) -> None:
        super().__init__(why)
        self.smaller: Final = smaller
        """Less at once may pass."""
        self.wait: Final = wait
        """Seconds that it wants to be left alone for."""


class BackupError(HelmError):
    """The backup cannot be made, reached or opened."""


class NewerDatabaseError(HelmError):
    """A newer helm has written this database; run that one, or go back to the copy from before it."""


class DatabaseCorruptError(HelmError):
    """The database is corrupt and was left as it is; restore it from a backup."""
