"""What caravel tells its user.

CaravelError
├── NotEnrolledError        this device belongs to no fleet yet
├── AlreadyEnrolledError    it belongs to one, and a second never replaces the first
├── EnrolmentRefusedError   helm said no: the ticket is used, expired or for somebody else
├── NoSuchNodeError
└── NoAnswerError           nobody answered in time
"""

from pharos.wire.errors import WireError


class CaravelError(WireError):
    """caravel could not do that."""


class NotEnrolledError(CaravelError):
    """This device is in no fleet yet; run: caravel enroll LINK."""


class AlreadyEnrolledError(CaravelError):
    """This device is in a fleet already; choose another --state directory for a second one."""


class EnrolmentRefusedError(CaravelError):
    """helm refused the ticket: it is used up, expired or unknown; ask for a new one."""


class NoSuchNodeError(CaravelError):
    """The profile has no such node; see: caravel profiles."""


class NoAnswerError(CaravelError):
    """Nobody answered in time; try again, or see: caravel doctor."""
