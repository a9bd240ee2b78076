"""What becomes known of refused passages: now and then an event of each kind, and an alert where a relay may lie."""

from __future__ import annotations

import logging
from typing import Final

from pharos.helm.alerts.acts import raise_alert
from pharos.helm.anomalies.tries import Door
from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.live.board import now_us
from pharos.helm.model.alerts import Severity
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.wire.ids import RelayId
from pharos.wire.passage.server import Incident, Trouble

log = logging.getLogger(__name__)

# Microseconds: one refusal of a kind every ten seconds and relay is what a person can read.
TELL_INTERVAL: Final = 10_000_000

WRONG_FINGERPRINT: Final = "relay_fingerprint"
"""Kind of the alert; one stands for a relay, so that no number of lies fills the audit."""


class Refusals:
    """Tells of refusals. A relay can make any number of them, and must not push everything else out of the feed."""

    def __init__(self, context: HelmContext) -> None:
        self._context = context
        # By kind as well: else a relay could hide one kind behind another.
        self._told: dict[tuple[RelayId, Trouble], int] = {}

    async def tell(self, relay_id: RelayId, incident: Incident) -> None:
        """Make it known, in the log as well, unless one of its kind just was."""
        now, kind = now_us(), (relay_id, incident.trouble)
        request = incident.request
        if incident.trouble is Trouble.HANDSHAKE and request is not None and request.ticket_id is not None:
            self._context.tries.refused(Door.ENROLMENT, request.ticket_id.hex(), now)
        known = now - self._told.get(kind, 0) < TELL_INTERVAL
        level = logging.DEBUG if known else logging.WARNING
        log.log(level, "passage through relay %s: %s (%s)", relay_id, incident.trouble.value, incident.detail)
        if known:
            return
        self._told[kind] = now
        self._context.hub.publish("passage_refused", at=now, node=relay_id, text=incident.trouble.value)
        if incident.trouble is Trouble.FINGERPRINT:
            try:
                await self._context.store.run(_accuse, relay_id, incident, now)
            except (BusyError, DatabaseCorruptError) as error:
                log.warning("that could not be written down: %s", error)


def _accuse(db: Database, relay_id: RelayId, incident: Incident, at: int) -> None:
    text = (
        f"relay {relay_id} brought device {incident.device} with a certificate that is not this device's:"
        " the relay lies, or the device's keys were copied"
    )
    raise_alert(
        db,
        Act(actor="helm", at=at, via="passage"),
        WRONG_FINGERPRINT,
        Severity.CRITICAL,
        text,
        noun="relay",
        subject=relay_id,
        evidence={"device": incident.device or "", "fingerprint": incident.fingerprint or ""},
    )
