"""When the record was backed up, and whether it can be written, by REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pharos.helm.ca.authority import Authority
from pharos.helm.live.board import now_us
from pharos.helm.model.adoptions import Adoption
from pharos.helm.model.nodes import Node
from pharos.helm.store.adoptions import ADOPTIONS, note_read
from pharos.helm.store.database import Database
from pharos.helm.store.records import add_record
from pharos.wire.desired import Peer
from pharos.wire.ids import DeviceId
from tests.support.helm import adopt_sample_node, sample_act
from tests.support.nouns import API, operator

BODY: dict[str, Any] = {"at": 1_700_000_000_000_000, "sha256": "0" * 64, "with_root": False, "to": "/media/stick"}


async def test_backup_is_noted_with_its_audit_row(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        nothing = {"backed_up_at": None, "restored_at": None, "unread": []}
        nobody = {"waiting": 0, "adopted": 0, "refused": 0}
        assert (await client.get(f"{API}/backups")).json() == nothing | {"adoptions": nobody}
        made = await client.post(f"{API}/backups", json=BODY)
        assert (made.status_code, made.json()["backed_up_at"]) == (201, "2023-11-14T22:13:20Z")
        (row,) = (await client.get(f"{API}/audit", params={"verb": "fleet_backed_up"})).json()["items"]
        assert row["detail"] == f"to /media/stick, without the root's key, SHA-256 {'0' * 64}"


async def test_restored_helm_says_whom_it_has_not_asked_and_how_many_peers_wait(tmp_path: Path) -> None:
    def restore(db: Database, authority: Authority) -> tuple[Node, Node]:
        (read, _), (unread, _) = (adopt_sample_node(db, authority, name) for name in ("paris", "oslo"))
        db.execute("UPDATE fleet SET restored_at = 1, epoch = epoch + 1")
        note_read(db, read.id)
        peer = Peer(
            device_id=DeviceId("d1"), awg_key=b"a" * 32, derive_key=b"d" * 32, generation=1, addresses=("10.86.0.9/32",)
        )
        found = Adoption(id="a1", node_id=read.id, device_id=peer.device_id, peer=peer.as_json())
        add_record(db, ADOPTIONS, found, sample_act())
        return read, unread

    async with operator(tmp_path) as (helm, client):
        _, unread = await helm.store.run(restore, helm.authority)
        told = (await client.get(f"{API}/backups")).json()
        assert told["unread"] == [{"id": unread.id, "name": "oslo"}]
        assert told["adoptions"] == {"waiting": 1, "adopted": 0, "refused": 0}
        assert told["restored_at"] is not None


async def test_backup_of_the_future_is_one_of_now(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        answer = (await client.post(f"{API}/backups", json=BODY | {"at": now_us() + 10**12})).json()
        assert answer["backed_up_at"] < "2100"


@pytest.mark.parametrize("change", [{"sha256": "x"}, {"to": "a\nb"}, {"to": "x" * 301}, {"at": "now"}, {"more": 1}])
async def test_backup_that_does_not_fit_is_not_noted(tmp_path: Path, change: dict[str, Any]) -> None:
    async with operator(tmp_path) as (_, client):
        assert (await client.post(f"{API}/backups", json=BODY | change)).status_code == 400
        assert (await client.get(f"{API}/backups")).json()["backed_up_at"] is None


async def test_health_tells_of_both_databases(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with operator(tmp_path) as (helm, client):
        helm.store.core.condition.found_corrupt("a page is gone")
        health = (await client.get(f"{API}/health")).json()
        assert (health["core"]["health"], health["core"]["reason"]) == ("corrupt", "a page is gone")
        assert (health["telemetry"]["health"], health["telemetry"]["reason"]) == ("writable", None)
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["a page is gone"]
        caplog.clear()
