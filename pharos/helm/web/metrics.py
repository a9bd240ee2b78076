"""How the fleet does at this moment, for Prometheus.

GET /metrics   its text format; ``?devices=1`` adds the counters of each device
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from quart import Blueprint, Response
from quart_schema import hide

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.store.admins import check_principal
from pharos.helm.store.database import Database
from pharos.helm.store.devices import list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.helm.store.samples import counter_totals
from pharos.helm.store.sessions import live_by_node
from pharos.helm.web.acting import principal
from pharos.helm.web.exposition import FleetCollector, Snapshot
from pharos.helm.web.requests import read_query


def make_metrics_blueprint(context: HelmContext) -> Blueprint:
    """Serve the metrics of one helm, out of a registry of its own."""
    blueprint = Blueprint("metrics", __name__)
    collector = FleetCollector(context)
    registry = CollectorRegistry()
    registry.register(collector)

    # Left out of the API's description: its form is Prometheus' own.
    @blueprint.get("/metrics")
    @hide
    async def metrics() -> Response:
        """Give all metrics."""
        each_device = _wants_devices()
        core = await context.store.read(_read_core, principal())
        telemetry = await context.store.read_telemetry(_read_telemetry, each_device=each_device)
        # Nothing else runs between these two lines, so nobody gets another's snapshot.
        collector.snapshot = Snapshot(**core, **telemetry, each_device=each_device)
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return blueprint


def _wants_devices() -> bool:
    filters = read_query().filters
    if filters.keys() - {"devices"} or filters.get("devices", "1") not in ("0", "1"):
        raise InvalidRequestError("/metrics takes devices=1, for the counters of each device, and nothing else")
    return filters.get("devices") == "1"


def _read_core(db: Database, who: Principal) -> dict[str, Any]:
    check_principal(db, who, Role.VIEWER, noun="metrics", at=now_us())
    return {
        "fleet": get_fleet(db),
        "nodes": list_nodes(db),
        "relays": list_relays(db),
        "devices": list_devices(db),
    }


def _read_telemetry(db: Database, *, each_device: bool) -> dict[str, Any]:
    return {"totals": counter_totals(db, each_device=each_device), "live": live_by_node(db, now=now_us())}
