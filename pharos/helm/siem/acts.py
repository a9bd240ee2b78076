"""Acts on sinks that an admin asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography import x509

from pharos.helm.accounts.users import check_name
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.sinks import Sink, SinkKind, SinkState, Source, check_url
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record, get_record, remove_record
from pharos.helm.store.sinks import (
    SINKS,
    begin_cursors,
    cursors_of,
    drop_cursor,
    forget_failure,
    list_sinks,
)

# Each has a task and reads by itself; a company has one log system, and changes it for another one now and then.
MAX_SINKS: Final = 16
MAX_HEADERS: Final = 16
MAX_HEADER_VALUE: Final = 4_000
MAX_CA: Final = 64_000
"""Characters of PEM: some 30 certificates."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""A header's name (RFC 9110 §5.6.2)."""
# What the sender says itself; two of one of these could mean two requests to whoever stands between (RFC 9112 §11.2).
_OURS: Final = frozenset({"host", "content-type", "content-length", "content-encoding", "transfer-encoding"} | {"te"})
_WRAP_VERSION: Final = 1


def add_sink(
    db: Database,
    act: Act,
    vault: Vault,
    *,
    name: str,
    kind: SinkKind,
    url: str,
    sources: Iterable[Source],
    headers: Mapping[str, str],
    ca: str | None,
    from_oldest: bool,
) -> Sink:
    """Write a new sink, which is told of what happens from now on, or of all that is kept.

    Raises: InvalidRequestError — a value does not fit. ConflictError — the name is taken, or there are too many.
    """
    if len(list_sinks(db)) >= MAX_SINKS:
        raise ConflictError(f"there are {MAX_SINKS} sinks already; remove one first: helm siem remove")
    sink_id = fresh_id()
    sink = Sink(
        id=sink_id,
        name=check_name(name, "sink"),
        kind=kind,
        url=_checked_url(kind, url),
        sources=_checked_sources(sources),
        header_names=_checked_names(kind, headers),
        headers=_wrapped(vault, sink_id, headers),
        ca=_checked_ca(ca),
    )
    added = add_record(db, SINKS, sink, act, detail=f"{name}: {kind.value} to {sink.host}")
    begin_cursors(db, sink.id, sink.sources, from_oldest=from_oldest)
    return added


def change_sink(db: Database, act: Act, vault: Vault, sink_id: str, version: int, values: Mapping[str, Any]) -> Sink:
    """Change a sink; what it was told already it is not told again. A source that is new begins now.

    Headers stay at the host that they were given for: a URL of another host needs them anew.

    Raises: InvalidRequestError, ConflictError, StaleVersionError, NotFoundError.
    """
    before, changes = get_record(db, SINKS, sink_id), dict(values)
    if "name" in changes:
        check_name(changes["name"], "sink")
    if "url" in changes:
        changes["url"] = _checked_url(before.kind, changes["url"])
    if "sources" in changes:
        changes["sources"] = _checked_sources(changes["sources"])
    if "ca" in changes:
        changes["ca"] = _checked_ca(changes["ca"])
    headers = changes.pop("headers", None)
    if headers is not None:
        changes["header_names"] = _checked_names(before.kind, headers)
        changes["headers"] = _wrapped(vault, sink_id, headers)
    elif before.headers is not None and "url" in changes and _host_of(before, changes["url"]) != before.host:
        raise InvalidRequestError("the secret headers are for another host; give them together with the new URL")
    changed = change_record(db, SINKS, sink_id, version, changes, act, detail=f"{before.name}: {_said(changes)}")
    had = cursors_of(db, sink_id)
    for source in had.keys() - set(changed.sources):
        drop_cursor(db, sink_id, source)
    begin_cursors(db, sink_id, [s for s in changed.sources if s not in had], from_oldest=False)
    forget_failure(db, sink_id)
    return changed


def switch_sink(db: Database, act: Act, sink_id: str, version: int, state: SinkState) -> Sink:
    """Let a sink be told of things, or not; it goes on where it stood.

    Raises: StaleVersionError, NotFoundError.
    """
    name = get_record(db, SINKS, sink_id).name
    changed = change_record(db, SINKS, sink_id, version, {"state": state}, act, verb=state.value, detail=name)
    forget_failure(db, sink_id)
    return changed


def remove_sink(db: Database, act: Act, sink_id: str, version: int) -> None:
    """Remove a sink. Raises: StaleVersionError, NotFoundError."""
    remove_record(db, SINKS, sink_id, version, act, detail=get_record(db, SINKS, sink_id).name)


def open_headers(vault: Vault, sink: Sink) -> dict[str, str]:
    """Return the headers that go along.

    Raises: StateFileError — they were damaged, or belong to another key.
    """
    if sink.headers is None:
        return {}
    opened: dict[str, str] = json.loads(vault.unwrap(_secret_name(sink.id), _WRAP_VERSION, sink.headers))
    return opened


def _wrapped(vault: Vault, sink_id: str, headers: Mapping[str, str]) -> bytes | None:
    if not headers:
        return None
    return vault.wrap(_secret_name(sink_id), _WRAP_VERSION, json.dumps(dict(headers)).encode())


def _secret_name(sink_id: str) -> str:
    return f"sink/{sink_id}"


def _checked_url(kind: SinkKind, url: str) -> str:
    try:
        return check_url(kind, url)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from error


def _host_of(sink: Sink, url: str) -> str:
    return Sink(id="", name="", kind=sink.kind, url=url, sources=()).host


def _checked_sources(sources: Iterable[Source]) -> tuple[Source, ...]:
    checked = tuple(source for source in Source if source in set(sources))
    if not checked:
        raise InvalidRequestError("a sink is told of the audit, of events, or of both")
    return checked


def _checked_names(kind: SinkKind, headers: Mapping[str, str]) -> tuple[str, ...]:
    if headers and kind is SinkKind.SYSLOG:
        raise InvalidRequestError("syslog has no headers; who may send is decided by certificates and addresses")
    if len(headers) > MAX_HEADERS or len({name.lower() for name in headers}) != len(headers):
        raise InvalidRequestError(f"there are at most {MAX_HEADERS} headers, each once")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise InvalidRequestError(f"{name!r} is no header that can be given")
        # Its value is not said again: it is a secret.
        if (
            not 0 < len(value) <= MAX_HEADER_VALUE
            or not (value.isascii() and value.isprintable())
            or value.strip() != value
        ):
            raise InvalidRequestError(
                f"the value of {name} has to be 1 to {MAX_HEADER_VALUE} printable ASCII characters"
            )
    return tuple(sorted(headers))


def _checked_ca(ca: str | None) -> str | None:
    if ca is None:
        return None
    try:
        if len(ca) > MAX_CA:
            raise ValueError("it is too large")
        x509.load_pem_x509_certificates(ca.encode("ascii"))
    except ValueError as error:
        raise InvalidRequestError("the CA file has to hold certificates in PEM, at most 64 kB of them") from error
    return ca


def _said(changes: Mapping[str, Any]) -> str:
    return ", ".join(sorted(changes.keys() - {"header_names"})) or "nothing"
