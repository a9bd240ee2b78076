"""Sinks, as REST serves them: what is secret goes in and never comes out."""

from __future__ import annotations

from typing import Any

import msgspec

from pharos.helm.context import HelmContext
from pharos.helm.model.admins import Role
from pharos.helm.model.sinks import Sink, SinkKind, SinkState, Source
from pharos.helm.siem.acts import add_sink, change_sink, remove_sink, switch_sink
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.sinks import SINKS
from pharos.helm.web.acting import Answer
from pharos.helm.web.bodies import UNSET, Unset, given
from pharos.helm.web.resources import API, ItemAct, Resource


class SinkBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new sink."""

    name: str
    kind: SinkKind
    url: str
    sources: list[Source] = msgspec.field(default_factory=lambda: list(Source))
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Names and values, such as Authorization; the values are shown to nobody."""
    ca: str | None = None
    """PEM certificates that the receiver's own has to come from; without them, those that helm's machine trusts."""
    from_oldest: bool = False
    """Begin with the oldest that is kept, and not with what happens from now on."""


class SinkChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a sink changes; what is left out stays. All headers are given together."""

    name: str | Unset = UNSET
    url: str | Unset = UNSET
    sources: list[Source] | Unset = UNSET
    headers: dict[str, str] | Unset = UNSET
    ca: str | Unset | None = UNSET


def view(sink: Sink) -> dict[str, Any]:
    """Return a sink as whoever may change it sees it."""
    return SINKS.view(sink) | {"url": sink.url}


def _add(context: HelmContext, db: Database, act: Act, body: SinkBody) -> Answer:
    sink = add_sink(
        db,
        act,
        context.vault,
        name=body.name,
        kind=body.kind,
        url=body.url,
        sources=body.sources,
        headers=body.headers,
        ca=body.ca,
        from_oldest=body.from_oldest,
    )
    return Answer(body=view(sink), status=201, version=sink.version, location=f"{API}/{SINKS.table}/{sink.id}")


def _set(context: HelmContext, db: Database, act: Act, sink_id: str, version: int, body: SinkChange) -> Sink:
    return change_sink(db, act, context.vault, sink_id, version, given(body))


SINK_RESOURCE: Resource[Sink] = Resource(
    noun=SINKS,
    view=lambda _context, _db, sink: view(sink),
    reads=Role.ADMIN,
    writes=Role.ADMIN,
    in_helm=True,
    add_body=SinkBody,
    add=_add,
    remove=remove_sink,
    acts={
        # Not PATCH: what a helm has open, the vault, reaches acts only.
        "set": ItemAct(do=_set, role=Role.ADMIN, body=SinkChange, in_helm=True, says="Change a sink"),
        "enable": ItemAct(
            do=lambda db, act, sink_id, version: switch_sink(db, act, sink_id, version, SinkState.ENABLED),
            role=Role.ADMIN,
            says="Let a sink be told of things, from where it stood",
        ),
        "disable": ItemAct(
            do=lambda db, act, sink_id, version: switch_sink(db, act, sink_id, version, SinkState.DISABLED),
            role=Role.ADMIN,
            says="Let a sink be told of nothing",
        ),
    },
)
