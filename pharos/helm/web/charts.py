"""How the fleet did over a time.

GET /api/v1/charts/{metric}   points of one metric: of a node, of a device, or of the fleet
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError, NotFoundError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.model.telemetry import Metric
from pharos.helm.model.users import Protocol
from pharos.helm.store.admins import check_principal
from pharos.helm.store.charts import read_slots
from pharos.helm.store.database import Database
from pharos.helm.store.samples import HELM, Gap, list_gaps, told_since
from pharos.helm.store.times import rfc3339
from pharos.helm.telemetry.charts import (
    LONGEST,
    OF_DEVICES,
    SECOND,
    SHAPES,
    THROUGH_REALITY,
    UNITS,
    UNSEEN,
    Shape,
    Slot,
    Window,
    choose_window,
    points,
    rest_of,
)
from pharos.helm.telemetry.retention import Retention, get_retention
from pharos.helm.web.acting import Answer, principal
from pharos.helm.web.bodies import Time
from pharos.helm.web.requests import read_query
from pharos.helm.web.resources import API, Problem
from pharos.wire.convert import MAX_TIME
from pharos.wire.ids import NodeId

_HOUR: Final = 3_600 * SECOND
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class ChartQuery(msgspec.Struct, kw_only=True):
    """Of what, and when."""

    node: str | None = None
    """Id; without it, all nodes together."""
    device: str | None = None
    """Id; bytes only."""
    protocol: Protocol | None = None
    """Bytes only; what nodes of an earlier version carried is of neither."""
    since: Time | None = None
    """An hour ago if left out."""
    until: Time | None = None
    """Now if left out."""


class GapView(msgspec.Struct, kw_only=True):
    """A time at which nobody looked, or no node told protocols apart where one is asked for."""

    since: str
    until: str


class ChartView(msgspec.Struct, kw_only=True):
    """At most 500 points, each as long as the step; a point is null where nobody looked."""

    metric: str
    unit: str
    since: str
    """When the first point begins."""
    step: int
    """Seconds."""
    values: list[float | None]
    low: list[float | None]
    """The least sample of each point, where a metric is no rate."""
    high: list[float | None]
    gaps: list[GapView]
    total: int | None
    """Of a rate: all there was, with what passed while nobody looked."""
    unseen: int | None
    """The part of the total of which nobody knows when it was."""


@attrs.frozen(kw_only=True)
class _Of:
    """What a chart is of."""

    node_id: str | None
    device_id: str | None
    protocol: Protocol | None


def make_charts_blueprint(context: HelmContext) -> Blueprint:
    """Serve points for charts."""
    blueprint = Blueprint("charts", __name__, url_prefix=f"{API}/charts")

    @blueprint.get("/<metric>")
    @document_querystring(ChartQuery)
    @document_response(ChartView, 200)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @tag(["charts"])
    async def chart(metric: str) -> Response:
        """Show one metric over a time"""
        wanted = next((known for known in SHAPES if known.value == metric), None)
        if wanted is None:
            known = ", ".join(sorted(known.value for known in SHAPES))
            raise NotFoundError(f"there is no chart of {metric!r}; there are {known}")
        query, now = _read_query(wanted), now_us()
        retention = await context.store.read(_allowed, principal(), now)
        window = _window(query, retention, now)
        of = _Of(node_id=query.get("node"), device_id=query.get("device"), protocol=_protocol(query.get("protocol")))
        body = await context.store.read_telemetry(_chart, wanted, window, of, now)
        return Answer(body=body).response()

    return blueprint


def _allowed(db: Database, who: Principal, at: int) -> Retention:
    check_principal(db, who, Role.VIEWER, noun="charts", at=at)
    return get_retention(db)


def _read_query(metric: Metric) -> dict[str, str]:
    filters = dict(read_query().filters)
    unknown = filters.keys() - set(ChartQuery.__struct_fields__)
    if unknown:
        raise InvalidRequestError(
            f"a chart is of a node, a device or a protocol, since and until, not {', '.join(sorted(unknown))}"
        )
    if "device" in filters and metric not in OF_DEVICES:
        raise InvalidRequestError(f"{metric.value} is known of nodes only, not of devices")
    if "protocol" in filters and metric not in THROUGH_REALITY:
        raise InvalidRequestError(f"{metric.value} is not told apart by protocol")
    return filters


def _protocol(text: str | None) -> Protocol | None:
    try:
        return None if text is None else Protocol(text)
    except ValueError:
        known = " or ".join(one.value for one in Protocol)
        raise InvalidRequestError(f"protocol is {known}, not {text!r}") from None


def _window(query: dict[str, str], retention: Retention, now: int) -> Window:
    until = _time("until", query["until"]) if "until" in query else now
    since = _time("since", query["since"]) if "since" in query else until - _HOUR
    if not 0 <= since < until <= MAX_TIME or until - since > LONGEST:
        raise InvalidRequestError("a chart begins before it ends, and is at most two years long")
    return choose_window(since, until, now=now, kept=retention.levels)


def _time(name: str, text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("it names no offset")
        return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{name} has to be a time such as 2026-07-01T00:00:00Z, not {text!r}") from error


def _chart(db: Database, metric: Metric, window: Window, of: _Of, now: int) -> dict[str, Any]:
    slots = _slots(db, metric, window, of)
    gaps = _gaps(db, window, of, now)
    shape = SHAPES[metric]
    shown = points(window, shape, slots, [(gap.began_at, gap.ended_at) for gap in gaps], now=now)
    total = unseen = None
    if shape is Shape.RATE:
        missed = UNSEEN.get(metric)
        rows = {} if missed is None else _slots(db, missed, window, of)
        unseen = sum(slot.total for slot in rows.values())
        total = unseen + sum(slot.total for slot in slots.values())
    return {
        "metric": metric.value,
        "unit": UNITS[metric],
        "since": rfc3339(window.since),
        "step": window.step // SECOND,
        "values": [point.value for point in shown],
        "low": [point.low for point in shown] if shape is not Shape.RATE else [],
        "high": [point.high for point in shown] if shape is not Shape.RATE else [],
        "gaps": [{"since": rfc3339(gap.began_at), "until": rfc3339(gap.ended_at)} for gap in gaps],
        "total": total,
        "unseen": unseen,
    }


def _slots(db: Database, metric: Metric, window: Window, of: _Of) -> Mapping[int, Slot]:
    read = functools.partial(read_slots, db, window=window, node_id=of.node_id, device_id=of.device_id)
    if of.protocol is None:
        return read(metric)
    through_reality = read(THROUGH_REALITY[metric], told=True)
    if of.protocol is Protocol.REALITY:
        return through_reality
    return rest_of(read(metric, told=True), through_reality)


def _gaps(db: Database, window: Window, of: _Of, now: int) -> list[Gap]:
    until = min(window.until, now)
    if until <= window.since:
        return []
    gaps = list_gaps(db, HELM, since=window.since, until=until)
    node_id = None if of.node_id is None else NodeId(of.node_id)
    if node_id is not None:
        gaps += list_gaps(db, node_id, since=window.since, until=until)
    if of.protocol is not None:
        told = told_since(db, node_id)
        if told is None or told > window.since:
            gaps.append(Gap(node_id or HELM, window.since, until if told is None else min(told, until)))
    return sorted(gaps, key=lambda gap: gap.began_at)
