"""Charts of one protocol: as far as nodes tell them apart, and nothing is guessed of those that do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from pharos.helm.model.telemetry import PeerReading
from pharos.helm.store.database import Database
from pharos.helm.store.samples import HELM, note_look
from pharos.helm.telemetry.backlog import Batch
from pharos.helm.telemetry.ingest import write_batch
from pharos.helm.telemetry.readings import READ_EVERY
from pharos.helm.web import charts
from pharos.helm.web.nouns import sessions
from pharos.wire.ids import DeviceId, NodeId
from tests.support.helm import SampleHelm
from tests.support.nouns import API, operator
from tests.support.telemetry import BORN, ONE, PHONE, SECOND, TWO, event, reading

NOW = BORN + 3_600 * SECOND
STEP = round(READ_EVERY)
HALF = 1_800
"""Seconds after which a node that is upgraded tells."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (charts, sessions):
        monkeypatch.setattr(module, "now_us", lambda: NOW)


def tell(db: Database, node: NodeId, *, since: int = 0) -> None:
    """Read a node for an hour: of 30 bytes a second, 10 came through REALITY; it says so from a second on."""
    for seconds in range(0, 3_601, STEP):
        note_look(db, HELM, BORN + seconds * SECOND)
        tells = seconds >= since
        peer = PeerReading(
            received=seconds * 30,
            sent=0,
            last_handshake=0,
            reality_received=seconds * 10 if tells else 0,
        )
        one = attrs.evolve(reading(seconds, node=node), peers={PHONE: peer}, count=1, tells_protocols=tells)
        write_batch(db, Batch(events=[], readings=[one], dropped={}), at=BORN + seconds * SECOND)


@attrs.frozen
class Scene:
    helm: SampleHelm
    client: httpx.AsyncClient

    async def chart(self, **query: str) -> Any:
        answer = await self.client.get(f"{API}/charts/received", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with operator(tmp_path) as (helm, client):
        yield Scene(helm, client)


@pytest.mark.parametrize("of", [{}, {"node": ONE}, {"device": PHONE}, {"node": ONE, "device": PHONE}])
async def test_both_parts_are_the_whole(tmp_path: Path, of: dict[str, str]) -> None:
    async with scene(tmp_path) as at:
        await at.helm.store.record(tell, ONE)
        whole = await at.chart(**of)
        reality = await at.chart(**of, protocol="reality")
        awg = await at.chart(**of, protocol="amneziawg")
    assert (whole["values"][5], reality["values"][5], awg["values"][5]) == (30.0, 10.0, 20.0)
    assert whole["total"] == reality["total"] + awg["total"] > 0
    assert awg["gaps"] == reality["gaps"] == whole["gaps"]


async def test_of_the_time_before_a_node_told_nothing_is_known(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.helm.store.record(tell, ONE, since=HALF)
        for protocol, rate in (("reality", 10.0), ("amneziawg", 20.0)):
            chart = await at.chart(node=ONE, protocol=protocol)
            before, after = chart["values"][: HALF // STEP], chart["values"][HALF // STEP + 1 :]
            assert set(before) == {None}
            assert set(after) == {rate}
            assert chart["gaps"], "the page says why there is no line"
        assert set((await at.chart(node=ONE))["values"][1:]) == {30.0}, "the whole is known all the time"


async def test_node_that_does_not_tell_is_in_neither_part(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.helm.store.record(tell, ONE)
        await at.helm.store.record(tell, TWO, since=9_999)
        assert (await at.chart())["values"][5] == 60.0
        assert (await at.chart(protocol="reality"))["values"][5] == 10.0
        assert (await at.chart(protocol="amneziawg"))["values"][5] == 20.0
        alone = await at.chart(node=TWO, protocol="amneziawg")
        assert set(alone["values"]) == {None}
        assert alone["total"] == 0


async def test_node_of_before_that_comes_back_is_unknown_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.helm.store.record(tell, ONE)
        older = attrs.evolve(reading(3_610, node=ONE, phone=200_000), tells_protocols=False)
        await at.helm.store.record(write_batch, Batch(events=[], readings=[older], dropped={}), at=NOW)
        assert set((await at.chart(node=ONE, protocol="reality"))["values"]) == {None}


@pytest.mark.parametrize(
    ("metric", "protocol"), [("received", "openvpn"), ("latency", "reality"), ("sessions", "amneziawg")]
)
async def test_what_is_not_told_apart_is_refused(tmp_path: Path, metric: str, protocol: str) -> None:
    async with scene(tmp_path) as at:
        answer = await at.client.get(f"{API}/charts/{metric}", params={"protocol": protocol})
        assert answer.status_code == 400
        for name in ("received_reality", "sent_reality_unseen"):
            assert (await at.client.get(f"{API}/charts/{name}")).status_code == 404


@pytest.mark.parametrize(("told", "shown"), [("reality", "reality"), ("amneziawg", "amneziawg"), ("", None)])
async def test_session_shows_by_what_its_device_came(tmp_path: Path, told: str, shown: str | None) -> None:
    async with scene(tmp_path) as at:
        one = event(3_500, device=DeviceId("phone"), protocol=told)
        await at.helm.store.record(write_batch, Batch(events=[one], readings=[], dropped={}), at=NOW)
        (session,) = (await at.client.get(f"{API}/sessions")).json()["items"]
        assert (session["protocol"], session["live"]) == (shown, True)
