"""A record as one message of RFC 5424, and messages as octets of a TLS stream (RFC 5425). Sans-IO."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

from pharos.helm.model.sinks import Source
from pharos.helm.siem.records import Record

# RFC 5425 §4.3.1: receivers should take 8192 octets, and need not take more.
MAX_MESSAGE: Final = 8_192
# Some ten values of this length leave half of the message to the detail.
MAX_VALUE: Final = 400
_MAX_MSGID: Final = 32
_VERSION: Final = 1
_APP: Final = "pharos-helm"
# RFC 5424 §6.2.1: 13 is "log audit", 16 is "local use 0".
_FACILITY: Final = {Source.AUDIT: 13, Source.EVENTS: 16}
# RFC 5424 §7.2.2 wants a private enterprise number, and RFC 5612 gives this one to whoever has none.
SD_ID: Final = "pharos@32473"
_BOM: Final = b"\xef\xbb\xbf"
# RFC 5424 §6.3.3.
_ESCAPED: Final = frozenset('"\\]')


def encode(record: Record) -> bytes:
    """Return one message, at most `MAX_MESSAGE` octets, without a control character in it."""
    data = _structured_data(record)
    priority = _FACILITY[record.source] * 8 + record.severity
    host = _ascii(f"helm.{record.fields['fleet']}.internal", 255)
    head = f"<{priority}>{_VERSION} {_time(record.at)} {host} {_APP} - {_ascii(record.name, _MAX_MSGID)} "
    begin = head.encode("ascii") + data
    if not record.text:
        return begin
    # RFC 5424 §6.4: text that is UTF-8 begins with a byte order mark. Many receivers show it, so ASCII goes without.
    mark = b" " if record.text.isascii() else b" " + _BOM
    return begin + mark + _fit(record.text, MAX_MESSAGE - len(begin) - len(mark))


def frame(records: Sequence[Record]) -> bytes:
    """Return messages as they go over the stream: each behind its length and a blank (RFC 5425 §4.3)."""
    return b"".join(b"%d %s" % (len(message), message) for message in map(encode, records))


def size_of(record: Record) -> int:
    """Return how many octets a record adds to the stream."""
    return len(frame([record]))


def _structured_data(record: Record) -> bytes:
    values: dict[str, str | int] = {
        "id": record.id,
        "source": record.source.value,
        "sequence": record.sequence,
        "name": record.name,
        "received": _time(record.received_at),
        **record.fields,
    }
    said = (
        b' %s="%s"' % (name.encode("ascii"), _fit(str(value), MAX_VALUE, _ESCAPED)) for name, value in values.items()
    )
    return b"[" + SD_ID.encode("ascii") + b"".join(said) + b"]"


def _fit(text: str, most: int, escaped: frozenset[str] = frozenset()) -> bytes:
    """Return as much of a text as fits into so many octets; nothing in it ends a line or moves a cursor."""
    if text.isprintable() and escaped.isdisjoint(text):
        # So are nearly all, and one by one their characters would take a hundred times as long.
        octets = text.encode("utf-8")
        if len(octets) <= most:
            return octets
    fitted = bytearray()
    for sign in text:
        octets = (f"\\{sign}" if sign in escaped else _visible(sign)).encode("utf-8")
        if len(fitted) + len(octets) > most:
            break
        fitted += octets
    return bytes(fitted)


def _visible(sign: str) -> str:
    """Return a character, or what stands for one that is not to be seen: its octets in octal.

    ``#012`` is how rsyslog writes a line feed.
    """
    return sign if sign.isprintable() else "".join(f"#{octet:03o}" for octet in sign.encode("utf-8", "replace"))


def _ascii(text: str, most: int) -> str:
    """Return a field of the header: printable ASCII without blanks (RFC 5424 §6)."""
    kept = "".join(sign if "!" <= sign <= "~" else "_" for sign in text)
    return kept[:most] or "-"


def _time(at: int) -> str:
    moment = _EPOCH + datetime.timedelta(microseconds=at)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
