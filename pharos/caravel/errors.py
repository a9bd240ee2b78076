"""What caravel tells its user.

CaravelError
├── NotEnrolledError        this device belongs to no fleet yet
├── AlreadyEnrolledError    it belongs to one, and a second never replaces the first
├── LockedStoreError        what this device keeps is sealed, and its key cannot be had
│   └── StorePassphraseError
├── NoSuchFleetError        this device is in no such fleet, or in several that begin so
├── HelmRefusedError        helm said no: the ticket is used up, or the device was revoked
│   └── WrongPassphraseError
├── NotSignedInError        this device's commands are nobody at helm's desk
├── DeskError               helm's desk does not do that
├── NotRunningError         no connection is up
├── AlreadyRunningError     one is, in another process
├── SystemModeError         this machine's network cannot be changed, or not be put back
├── NoNamespaceError        this system gives a program no network of its own
├── NoSuchNodeError
├── NoSuchDeviceError       you have no such device
├── NoSuchLinkError
├── LinkNameTakenError
├── NodeRefusedError        a node's keys are not those that this device knows, or the fleet lock has not signed it
├── SourceError             what was given is nothing that this device could take
│   ├── ImageError          an image in which no code can be read
│   └── SeveralSourcesError an image with several codes: one has to be chosen
├── UnconfirmedError        nobody has confirmed what a link would do
├── ManagedError            this device's organisation does not allow that
└── NoAnswerError           nobody answered in time
    └── TryLaterError       helm has too much to do, or somebody has tried too often
"""

from pharos.wire.errors import DeniedError, WireError


class CaravelError(WireError):
    """caravel could not do that."""


class NotEnrolledError(CaravelError):
    """This device is in no fleet yet; run: caravel enroll LINK."""


class AlreadyEnrolledError(CaravelError):
    """This device is in a fleet already; choose another --state directory for a second one."""


class LockedStoreError(CaravelError, DeniedError):
    """What this device keeps is locked; give its passphrase, or see: caravel protect."""


class StorePassphraseError(LockedStoreError):
    """That is not the passphrase of this store; nothing was changed, try again."""


class NoSuchFleetError(CaravelError):
    """This device is in no such fleet; see: caravel fleets."""


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


class NotRunningError(CaravelError):
    """No connection is up; run: caravel up."""


class AlreadyRunningError(CaravelError):
    """This connection is up already, in another process; see: caravel status."""


class SystemModeError(CaravelError):
    """The network of this machine cannot be changed or put back; see: caravel doctor."""


class NoNamespaceError(CaravelError):
    """This system gives programs of ordinary users no network of their own; the pure one works everywhere."""


class NoSuchNodeError(CaravelError):
    """The profile has no such node; see: caravel profiles."""


class NoSuchDeviceError(CaravelError):
    """You have no such device; see: caravel devices list."""


class NoSuchLinkError(CaravelError):
    """This device keeps no such link; see: caravel profiles."""


class LinkNameTakenError(CaravelError):
    """Another link has that name; choose another, or say --replace."""


class SourceError(CaravelError):
    """This is nothing that caravel reads; it takes links, QR codes, .pharos files and AmneziaWG configurations."""


class ImageError(SourceError):
    """No code can be read in this image; take it anew, or paste the link itself."""


class SeveralSourcesError(SourceError):
    """There are several codes in this image; choose one."""

    def __init__(self, why: str, found: tuple[str, ...]) -> None:
        super().__init__(why)
        self.found = found
        """What each one is, in the order in which `pick` counts them, from 1; nothing secret."""


class UnconfirmedError(CaravelError):
    """A link does nothing before somebody has confirmed it."""


class ManagedError(CaravelError):
    """The organisation that manages this device does not allow that; ask its administrators."""

    def __init__(self, organisation: str, what: str) -> None:
        super().__init__(f"this device is managed by {organisation}, which does not allow to {what}")
        self.organisation = organisation


class NodeRefusedError(CaravelError):
    """This node is not the one this device knows; ask its owner, then see: caravel profiles --confirm."""


class NoAnswerError(CaravelError):
    """Nobody answered in time; try again, or see: caravel doctor."""

    retry_after: float = 0.0
    """Seconds before which a relay has said that to try again is in vain."""


class TryLaterError(NoAnswerError):
    """helm wants you to wait a little; try again in a minute."""
