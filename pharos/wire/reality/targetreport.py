"""What was found out about a site that a node could stand before, a sentence for each thing that was looked at."""

from __future__ import annotations

import enum

import attrs


class Check(enum.Enum):
    """What is looked at, in this order."""

    ADDRESS = "address"
    """It is on the Internet, and not this machine."""
    REACHABLE = "reachable"
    ROUND_TRIP = "round_trip"
    """Each device's handshake waits for the node's trip to the target."""
    TLS13 = "tls13"
    NO_RETRY = "no_retry"
    """It takes a browser's first hello and asks for no other (HelloRetryRequest)."""
    KEY_EXCHANGE = "key_exchange"
    """X25519, alone or in X25519MLKEM768."""
    POST_QUANTUM = "post_quantum"
    """X25519MLKEM768."""
    RECORDS = "records"
    """Its handshake's records hold those of a node."""
    MLDSA65_ROOM = "mldsa65_room"
    """They hold a certificate that is signed with ML-DSA-65, too."""
    CERTIFICATE = "certificate"
    """It is valid for the name, by this machine's own trust."""
    HTTP2 = "http2"
    SAME_FOR_ALL = "same_for_all"
    """Every name is answered alike."""
    OTHER = "other"
    """What a node of a later version looked at."""


class Verdict(enum.Enum):
    """What a finding means for whoever chooses a target."""

    GOOD = "good"
    NOTE = "note"
    """Worth knowing, and no reason against it."""
    WARNING = "warning"
    """It works, and can be told from the site or costs time."""
    FORBIDS = "forbids"
    """A node cannot stand before it."""


@attrs.frozen
class Finding:
    check: Check
    verdict: Verdict
    text: str
    """A sentence without its full stop, whose subject is the target."""
    name: str = attrs.field(default="", kw_only=True)
    """The server name for which it was found; empty: it holds for all."""

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.name else self.text


@attrs.frozen(kw_only=True)
class TargetReport:
    host: str
    port: int
    names: tuple[str, ...]
    findings: tuple[Finding, ...]
    address: str = ""
    """The one that was visited; empty where none could be."""
    round_trip: float | None = None
    """Seconds that TCP took to connect."""

    @property
    def usable(self) -> bool:
        """Whether nothing forbids it."""
        return all(finding.verdict is not Verdict.FORBIDS for finding in self.findings)
