"""A fleet in Prometheus' words: what each number is called, and what it is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

import pharos
from pharos.helm.context import HelmContext
from pharos.helm.model.devices import Device
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import Node
from pharos.helm.model.relays import Relay
from pharos.helm.model.telemetry import Metric
from pharos.helm.store.condition import Health
from pharos.helm.telemetry.charts import UNSEEN
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.link import LinkState

_BYTES: Final = ((Metric.RECEIVED, "receive", "received from"), (Metric.SENT, "transmit", "sent to"))


@attrs.frozen(kw_only=True)
class Snapshot:
    """What the two databases say at one moment."""

    fleet: Fleet
    nodes: list[Node]
    relays: list[Relay]
    devices: list[Device]
    each_device: bool
    """Whether the counters of each device are wanted: two lines for each."""
    totals: Mapping[tuple[NodeId, DeviceId | None, Metric], int]
    live: Mapping[NodeId, int]
    """Sessions by node."""


class FleetCollector(Collector):
    """Gives what the last snapshot says, with what helm counts itself."""

    def __init__(self, context: HelmContext) -> None:
        self._context = context
        self.snapshot: Snapshot | None = None

    def collect(self) -> Iterator[Family]:
        """Give every family of metrics."""
        yield from self._helm()
        yield from self._store()
        yield from self._ingest()
        if self.snapshot is not None:
            yield from self._fleet(self.snapshot)
            yield from self._nodes(self.snapshot)
            yield from self._devices(self.snapshot)

    def _helm(self) -> Iterator[Family]:
        yield InfoMetricFamily("pharos_build", "Which helm this is.", value={"version": pharos.__version__})
        yield GaugeMetricFamily(
            "pharos_start_time_seconds", "When helm started, since 1970.", value=self._context.started_at / 1e6
        )

    def _store(self) -> Iterator[Family]:
        store = self._context.store
        commits = SummaryMetricFamily(
            "pharos_store_commit_seconds", "How long changes waited to be durable.", labels=["database"]
        )
        writable = GaugeMetricFamily("pharos_store_writable", "Whether a database can be written.", labels=["database"])
        for name, file in (("core", store.core), ("telemetry", store.telemetry)):
            commits.add_metric([name], count_value=file.commits, sum_value=file.commit_seconds)
            writable.add_metric([name], file.condition.state.health is Health.WRITABLE)
        yield commits
        yield writable

    def _ingest(self) -> Iterator[Family]:
        ingest = self._context.ingest
        written = ingest.written
        yield GaugeMetricFamily(
            "pharos_ingest_queue_length", "Events and readings that wait to be written.", value=len(ingest.backlog)
        )
        yield CounterMetricFamily("pharos_ingest_events", "Events written.", value=written.events)
        yield CounterMetricFamily(
            "pharos_ingest_repeated_events", "Events that had been written before.", value=written.repeated
        )
        yield CounterMetricFamily("pharos_ingest_readings", "Readings of nodes written.", value=written.readings)
        dropped = CounterMetricFamily(
            "pharos_ingest_dropped_events", "Events lost because too many waited.", labels=["kind"]
        )
        for kind, count in sorted(ingest.backlog.dropped.items()):
            dropped.add_metric([kind], count)
        yield dropped
        yield SummaryMetricFamily(
            "pharos_ingest_batch_seconds",
            "How long batches took to be written.",
            count_value=written.batches,
            sum_value=written.seconds,
        )

    def _fleet(self, snapshot: Snapshot) -> Iterator[Family]:
        yield GaugeMetricFamily(
            "pharos_fleet_revision", "The revision that every node shall have.", value=snapshot.fleet.revision
        )
        devices = GaugeMetricFamily("pharos_devices", "Devices in the record.", labels=["state"])
        states: dict[str, int] = {}
        for device in snapshot.devices:
            states[device.state.value] = states.get(device.state.value, 0) + 1
        for state, count in sorted(states.items()):
            devices.add_metric([state], count)
        yield devices
        up = GaugeMetricFamily("pharos_relay_up", "Whether helm's link to a relay is up.", labels=["relay", "relay_id"])
        for relay in snapshot.relays:
            up.add_metric([relay.name, relay.id], self._is_up(relay.id))
        yield up

    def _nodes(self, snapshot: Snapshot) -> Iterator[Family]:
        labels = ["node", "node_id"]
        up = GaugeMetricFamily("pharos_node_up", "Whether helm's link to a node is up.", labels=labels)
        applied = GaugeMetricFamily("pharos_node_applied_revision", "What a node acknowledged last.", labels=labels)
        peers = GaugeMetricFamily("pharos_node_peers", "Devices that a node lets in.", labels=labels)
        sessions = GaugeMetricFamily("pharos_sessions", "VPN sessions that are live.", labels=labels)
        handshakes = CounterMetricFamily("pharos_node_handshakes", "Handshakes of devices.", labels=labels)
        for node in snapshot.nodes:
            where, sighting = [node.name, node.id], self._context.board.of(node.id)
            up.add_metric(where, sighting.state is LinkState.UP)
            applied.add_metric(where, sighting.applied.revision)
            peers.add_metric(where, sighting.peers)
            sessions.add_metric(where, snapshot.live.get(node.id, 0))
            handshakes.add_metric(where, snapshot.totals.get((node.id, None, Metric.HANDSHAKES), 0))
        yield from (up, applied, peers, sessions, handshakes)
        for metric, verb, says in _BYTES:
            family = CounterMetricFamily(f"pharos_node_{verb}_bytes", f"Bytes {says} devices.", labels=labels)
            for node in snapshot.nodes:
                family.add_metric([node.name, node.id], _total(snapshot, node.id, None, metric))
            yield family

    def _devices(self, snapshot: Snapshot) -> Iterator[Family]:
        if not snapshot.each_device:
            return
        sums: dict[tuple[DeviceId | None, Metric], int] = {}
        for (_, device_id, metric), total in snapshot.totals.items():
            sums[device_id, metric] = sums.get((device_id, metric), 0) + total
        for metric, verb, says in _BYTES:
            family = CounterMetricFamily(
                f"pharos_device_{verb}_bytes", f"Bytes {says} a device.", labels=["device", "device_id"]
            )
            for device in snapshot.devices:
                count = sums.get((device.id, metric), 0) + sums.get((device.id, UNSEEN[metric]), 0)
                family.add_metric([device.name, device.id], count)
            yield family

    def _is_up(self, member_id: str) -> bool:
        return self._context.board.of(member_id).state is LinkState.UP


def _total(snapshot: Snapshot, node_id: NodeId, device_id: DeviceId | None, metric: Metric) -> int:
    return snapshot.totals.get((node_id, device_id, metric), 0) + snapshot.totals.get(
        (node_id, device_id, UNSEEN[metric]), 0
    )
