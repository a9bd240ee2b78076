"""What caravel tells its user.

CaravelError
├── NotEnrolledError        this device belongs to no fleet yet
├── AlreadyEnrolledError    it belongs to one, and a second never replaces the first
├── HelmRefusedError        helm said no: the ticket is used up, or the device was revoked
│   └── WrongPassphraseError
├── NotSignedInError        this device's commands are nobody at helm's desk
├── DeskError               helm's desk does not do that
├── NoSuchNodeError
├── NoSuchDeviceError       you have no such device
├── NoSuchLinkError
├── LinkNameTakenError
├── NodeRefusedError        a node's keys are not those that this device knows, or the fleet lock has not signed it
└── NoAnswerError           nobody answered in time
    └── TryLaterError       helm has too much to do, or somebody has tried too often
"""

from pharos.wire.errors import WireError


class CaravelError(WireError):
    """caravel could not do that."""


class NotEnrolledError(CaravelError):
    """This device is in no fleet yet; run: caravel enroll LINK."""


class AlreadyEnrolledError(CaravelError):
    """This device is in a fleet already; choose another --state directory for a second one."""


class HelmRefusedError(CaravelError):
    """helm refused: the ticket is used up, expired or unknown, or this device was revoked; ask for a new ticket."""


class WrongPassphraseError(HelmRefusedError):
    """The mail address or the passphrase is wrong."""


class NotSignedInError(CaravelError):
    """Nobody is signed in at helm's desk from here; run: caravel admin login NAME."""


class DeskError(CaravelError):
    """helm's desk does not do that."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        """HTTP's."""


class NoSuchNodeError(CaravelError):
    """The profile has no such node; see: caravel profiles."""


class NoSuchDeviceError(CaravelError):
    """You have no such device; see: caravel devices list."""


class NoSuchLinkError(CaravelError):
    """This device keeps no such link; see: caravel profiles."""


class LinkNameTakenError(CaravelError):
    """Another link has that name; choose another, or say --replace."""


class NodeRefusedError(CaravelError):
    """This node is not the one this device knows; ask its owner, then see: caravel profiles --confirm."""


class NoAnswerError(CaravelError):
    """Nobody answered in time; try again, or see: caravel doctor."""

    retry_after: float = 0.0
    """Seconds before which a relay has said that to try again is in vain."""


class TryLaterError(NoAnswerError):
    """helm wants you to wait a little; try again in a minute."""
