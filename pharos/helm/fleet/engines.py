"""An engine that is not what was ordered: one alert a node, for as long as it says so."""

from __future__ import annotations

from typing import Final

from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.model.alerts import Severity
from pharos.helm.model.nodes import Node
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.wire.reports import NodeReport

KIND: Final = "engine_trouble"
_PROTOCOLS: Final = "protocols"


def troubled(report: NodeReport) -> str:
    """Return the protocols whose engines are in trouble, sorted, with a space between; empty: none is."""
    return " ".join(sorted(engine.protocol for engine in report.engines if engine.trouble))


def troubles_are_news(db: Database, node: Node, report: NodeReport) -> bool:
    """Whether the record says otherwise; what the trouble of an engine is may change without being news."""
    standing = standing_alert(db, KIND, node.id)
    return troubled(report) != ("" if standing is None else standing.evidence.get(_PROTOCOLS, ""))


def note_troubles(db: Database, act: Act, node: Node, report: NodeReport) -> None:
    """Raise the alert, or end it; where other engines are in trouble than before, it begins anew with their text."""
    if not troubles_are_news(db, node, report):
        return
    clear_alert(db, act, KIND, node.id)
    said = "; ".join(f"{engine.protocol}: {engine.trouble}" for engine in report.engines if engine.trouble)
    if said:
        text = f"{node.name} does not serve all that it was told to: {said}"
        evidence = {_PROTOCOLS: troubled(report)}
        raise_alert(db, act, KIND, Severity.WARNING, text, noun="node", subject=node.id, evidence=evidence)
