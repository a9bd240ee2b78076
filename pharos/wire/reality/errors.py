"""What can go wrong in REALITY's TLS, and the alert that tells the peer so (RFC 8446 §6).

RemoteProtocolError
├── TlsError                    the peer broke TLS; it is told by an alert
│   └── RecordForgedError       a record failed to authenticate (a DecryptError too)
└── AlertReceivedError          the peer ended the connection by an alert
PeerRejectedError
└── RealCertificateError        the server did not prove to be our node
WireError
└── TargetError                 the target's handshake cannot be borrowed
"""

import enum

from pharos.wire.errors import DecryptError, PeerRejectedError, RemoteProtocolError, WireError


class Alert(enum.IntEnum):
    """Those that we send or look for."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110


class TlsError(RemoteProtocolError):
    """The peer broke TLS 1.3; its connection was closed."""

    def __init__(self, alert: Alert, message: str) -> None:
        super().__init__(message)
        self.alert = alert
        """What the peer is told."""


class RecordForgedError(TlsError, DecryptError):
    """A TLS record failed to authenticate; its connection was closed."""


class AlertReceivedError(RemoteProtocolError):
    """The peer ended the TLS connection; try again, and look into its log if it goes on."""

    def __init__(self, description: int) -> None:
        name = Alert(description).name.lower() if description in set(Alert) else "unknown"
        super().__init__(f"the peer ended the TLS connection with alert {description} ({name})")
        self.description = description


class RealCertificateError(PeerRejectedError):
    """The server is not our node: it showed a real certificate; check its keys, the short id and this clock."""


class TargetError(WireError):
    """The target's TLS handshake cannot be borrowed; choose another target."""
