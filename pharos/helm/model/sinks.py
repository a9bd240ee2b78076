"""Where events and the audit go besides helm: a sink is one receiver, and how it is spoken to."""

from __future__ import annotations

import enum
import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit

import attrs


class SinkKind(enum.Enum):
    """How a sink is spoken to."""

    WEBHOOK = "webhook"
    """A batch of records as one JSON document, by HTTPS POST."""
    SYSLOG = "syslog"
    """RFC 5424 messages over TLS (RFC 5425)."""
    OTLP = "otlp"
    """OTLP/HTTP logs, protobuf."""


class Source(enum.Enum):
    """What a sink can be told of."""

    AUDIT = "audit"
    """Rows of the audit chain."""
    EVENTS = "events"
    """What nodes tell of themselves."""


class SinkState(enum.Enum):
    """Whether anything is sent."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    """Its cursors stand still, and it goes on from them."""


# IANA's ports: syslog-tls (RFC 5425 §4.1), and that of OTLP/HTTP in its specification.
SYSLOG_PORT: Final = 6514
OTLP_PATH: Final = "/v1/logs"
MAX_URL: Final = 1_000


@attrs.frozen(kw_only=True)
class Sink:
    """A sink's record."""

    id: str
    name: str
    kind: SinkKind
    url: str
    """``https://host/path``, or ``tls://host:port`` for syslog; no user and no password in it."""
    sources: tuple[Source, ...]
    header_names: tuple[str, ...] = ()
    """Of the headers that go along, whose values are secret."""
    headers: bytes | None = attrs.field(default=None, repr=False)
    """Names and values as JSON, wrapped by the data key."""
    ca: str | None = attrs.field(default=None, repr=False)
    """PEM certificates that the receiver's has to come from; None: those that this machine trusts."""
    state: SinkState = SinkState.ENABLED
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""

    @property
    def host(self) -> str:
        """``host:port``, which is all of the URL that may stand in a log: its path may be a secret."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}:{port_of(parts)}"


def port_of(parts: SplitResult) -> int:
    """Return the port of a URL, its scheme's own where it names none."""
    return parts.port or {"https": 443, "http": 80, "tls": SYSLOG_PORT}[parts.scheme]


def check_url(kind: SinkKind, url: str) -> str:
    """Return the URL as it is kept.

    Raises: ValueError — it cannot be one; the message says why.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"a URL has at most {MAX_URL} printable ASCII characters, and no blanks")
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL is shown to whoever looks: give what is secret by headers, not in it")
    if not parts.hostname or port_of_or_none(parts) is None or parts.fragment:
        raise ValueError(f"{_WANTS[kind]}, and not what was given")
    if kind is SinkKind.SYSLOG:
        if parts.scheme != "tls" or parts.path not in ("", "/") or parts.query:
            raise ValueError(_WANTS[kind])
        return f"tls://{parts.netloc}"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError(f"{_WANTS[kind]}; http:// only to this machine itself")
    if kind is SinkKind.OTLP and parts.path in ("", "/"):
        return parts._replace(path=OTLP_PATH).geturl()
    return url


def port_of_or_none(parts: SplitResult) -> int | None:
    """Return the port of a URL that may be none at all."""
    try:
        return port_of(parts)
    except (KeyError, ValueError):
        return None


def is_loopback(host: str) -> bool:
    """Return whether nothing that is sent there leaves this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_WANTS: Final = {
    SinkKind.WEBHOOK: "a webhook is a URL such as https://siem.example.org/hook",
    SinkKind.SYSLOG: "a syslog receiver is a URL such as tls://siem.example.org:6514",
    SinkKind.OTLP: "an OTLP receiver is a URL such as https://otel.example.org:4318",
}


@attrs.frozen(kw_only=True)
class Cursor:
    """How far a sink was told of a source."""

    sequence: int
    """Of the last row that it acknowledged."""
    mark: int
    """The row's time, by which it is known again: numbers begin anew where a table was emptied or replaced."""


@attrs.frozen(kw_only=True)
class Health:
    """How it goes with a sink."""

    sent_at: int | None = None
    """When it last acknowledged something; microseconds since 1970, as all times here."""
    failing_since_at: int | None = None
    """None: it does not fail."""
    error: str = ""
    """Why it failed last."""
