"""An engine in trouble is one alert, from when it is said until it is not."""

from __future__ import annotations

import attrs

from pharos.helm.fleet.engines import KIND, note_troubles, troubles_are_news
from pharos.helm.model.alerts import Alert, AlertState
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.database import Database
from pharos.wire.convert import NodeReport
from pharos.wire.desired import Fence
from pharos.wire.reports import EngineReport
from tests.support.helm import adopt_sample_node, fleet_in_memory, sample_act


def report_of(**troubles: str) -> NodeReport:
    return NodeReport(
        node_id="node",
        version="1",
        applied=Fence(),
        started_at=0,
        awg_key=bytes(32),
        derive_key=bytes(32),
        awg_port=443,
        awg=None,
        addresses=(),
        peers=(),
        engines=tuple(
            EngineReport(protocol=protocol, driver="embedded", trouble=trouble)
            for protocol, trouble in troubles.items()
        ),
    )


def alerts(db: Database) -> list[Alert]:
    rows = db.execute(f"SELECT {ALERTS.all_columns} FROM alerts WHERE kind = ? ORDER BY created_at, id", (KIND,))
    return [ALERTS.load(row) for row in rows]


def test_trouble_is_one_alert_that_ends_by_itself() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        well, ill = report_of(awg=""), report_of(awg="no interface")
        assert not troubles_are_news(db, node, well)
        for at in (1, 2):
            note_troubles(db, sample_act(at=at), node, ill)
        (alert,) = alerts(db)
        assert (alert.state, alert.noun, alert.subject) == (AlertState.OPEN, "node", node.id)
        assert alert.text == "amsterdam does not serve all that it was told to: awg: no interface"
        assert not troubles_are_news(db, node, report_of(awg="still none")), "it is the same trouble"
        note_troubles(db, sample_act(at=3), node, well)
        assert [one.state for one in alerts(db)] == [AlertState.RESOLVED]


def test_another_engine_in_trouble_is_another_alert() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        note_troubles(db, sample_act(at=1), node, report_of(awg="no interface", reality=""))
        note_troubles(db, sample_act(at=2), node, report_of(awg="no interface", reality="no port"))
        first, second = alerts(db)
        assert (first.state, second.state) == (AlertState.RESOLVED, AlertState.OPEN)
        assert second.text.endswith("awg: no interface; reality: no port")


def test_node_of_an_earlier_version_is_in_no_trouble() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        note_troubles(db, sample_act(at=1), node, report_of(awg="no interface"))
        note_troubles(db, sample_act(at=2), node, attrs.evolve(report_of(), engines=()))
        assert [one.state for one in alerts(db)] == [AlertState.RESOLVED]
