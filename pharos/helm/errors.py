"""What helm refuses, and what it tells the operator.

HelmError
├── NotInitialisedError     the state directory holds no fleet
├── AlreadyInitialisedError
├── NotFoundError           no record has that id or name
├── ConflictError           a unique value is taken, or the record has moved on
├── InvalidRequestError     a value does not fit
├── NotAllowedError         the caller may not do this
└── DatabaseCorruptError    a database failed its check; it is never overwritten
"""

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


class InvalidRequestError(HelmError):
    """A value in the request does not fit."""


class NotAllowedError(HelmError):
    """The caller may not do this."""


class DatabaseCorruptError(HelmError):
    """The database is corrupt and was left as it is; restore it from a backup."""
