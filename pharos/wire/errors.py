"""What can go wrong on the wire, and whose fault it is.

    WireError
    ├── LocalProtocolError          we used a protocol wrongly: a bug of ours
    ├── RemoteProtocolError         the peer did: its connection ends, nothing else
    │   ├── DecryptError            a message failed to authenticate
    │   └── TruncatedError          the peer's stream ended without an authenticated end
    ├── LinkLostError               the peer went away: redial
    ├── LinkRefusedError            the peer answered and said no: tell the operator
    ├── DeniedError                 it takes a secret or a right that is not here
    ├── PeerRejectedError           a certificate does not prove the role or the id we need
    ├── ManifestError               a trust manifest is damaged, outdated or another fleet's
    ├── DenyListError               a list of revoked members is damaged, outdated or not the fleet's
    ├── BundleError                 a sealed profile bundle cannot be used
    │   ├── BundleFormatError
    │   ├── BundleNotForUsError
    │   ├── BundleSignatureError
    │   ├── BundlePassphraseError
    │   └── BundleRollbackError
    ├── LockError                   a fleet lock's key, or a signature on a node's keys, does not fit
    ├── LinkFormatError             a ticket or fleet link does not parse
    ├── AgentError                  a node's or relay's request or grant cannot be used
    ├── AddressError                a local address cannot be listened on (an OSError as well)
    ├── ConfigError                 a configuration file or option does not fit
    ├── ParameterError              a tunnel parameter breaks a rule of its protocol
    └── StateFileError              a state file is corrupt; it is never overwritten

Docstrings of operator-facing errors are the sentence a CLI prints, ending with what to do.
"""


class WireError(Exception):
    """Something on the wire failed."""


class LocalProtocolError(WireError):
    """This program used a protocol wrongly; please report it as a bug."""


class RemoteProtocolError(WireError):
    """The peer broke the protocol; its connection was closed."""


class DecryptError(RemoteProtocolError):
    """A message from the peer failed to authenticate; its connection was closed."""


class TruncatedError(RemoteProtocolError):
    """The peer's stream ended without an authenticated end; reconnect."""


class LinkLostError(WireError):
    """The peer went away; it is redialled by itself."""

    retry_after: float = 0.0
    """Seconds before which the peer has said that to dial again is in vain."""


class LinkRefusedError(WireError):
    """The peer answered and refused us; check that both belong to this fleet."""


class DeniedError(WireError):
    """It takes a secret or a right that is not here; the message says which."""


class PeerRejectedError(WireError):
    """The peer's certificate does not prove who it has to be; check the address and the fleet."""


class ManifestError(WireError):
    """The trust manifest is damaged, outdated or another fleet's; the old one stays in use, sync again."""


class DenyListError(WireError):
    """The deny list is damaged, outdated or not signed by this fleet; the one in use stays, push it again."""


class BundleError(WireError):
    """The profile bundle cannot be used; ask for a new one with `caravel up --sync`."""


class BundleFormatError(BundleError):
    """The profile bundle is damaged or of an unknown version; sync again or upgrade caravel."""


class BundleNotForUsError(BundleError):
    """The profile bundle is sealed for another device; sync with this device's own key."""


class BundleSignatureError(BundleError):
    """The profile bundle is not signed by this fleet; somebody tampered with it."""


class BundlePassphraseError(BundleError):
    """The file is closed with a passphrase, and this is not the one; ask whoever made it."""


class BundleRollbackError(BundleError):
    """The profile bundle is older than the one this device holds; the newer one stays in use."""


class LockError(WireError):
    """The fleet lock's key or a signature on a node's keys does not fit; copy it whole, or sign the node again."""


class LinkFormatError(WireError):
    """The link is not a valid Pharos link; copy it whole or ask for a new one."""


class ParameterError(WireError):
    """A tunnel parameter breaks a rule of its protocol; the message names key, value and rule."""


class AgentError(WireError):
    """The request or grant cannot be used; make it anew on the machine that joins."""


class AddressError(WireError, OSError):
    """The address cannot be listened on; choose another port, or stop what uses it."""


class ConfigError(WireError):
    """A configuration value does not fit; the message names file, key and value."""


class StateFileError(WireError):
    """A state file is corrupt and was left as it is; move it away or restore it from a copy."""
