"""Sinks by REST: what is secret goes in and never comes out, what does not fit is refused, and how each fares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pharos.helm.model.admins import Role
from pharos.helm.store.sinks import note_failure
from pharos.helm.web.app import make_loopback_app
from tests.support.audit import append_acts
from tests.support.helm import open_helm
from tests.support.http import asking
from tests.support.nouns import API, match, operator
from tests.support.signin import sign_in
from tests.support.sinks import LOOPBACK, http_receiver, own_ca

SINKS = f"{API}/sinks"
SECRET = "s3cret-token"


def body(**changes: Any) -> dict[str, Any]:
    return {
        "name": "soc",
        "kind": "webhook",
        "url": f"https://siem.example.org/hook/{SECRET}",
        "headers": {"Authorization": f"Bearer {SECRET}-too"},
    } | changes


async def test_sink_is_added_and_its_secrets_come_out_nowhere(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        made = await client.post(SINKS, json=body(ca=own_ca().pem))
        assert made.status_code == 201, made.text
        sink = made.json()
        assert (sink["host"], sink["sources"], sink["state"]) == (
            "siem.example.org:443",
            ["audit", "events"],
            "enabled",
        )
        assert (sink["header_names"], sink["own_ca"]) == (["Authorization"], True)
        assert made.headers["location"] == f"{SINKS}/{sink['id']}"
        path = f"{SINKS}/{sink['id']}"
        texts = [(await client.get(at)).text for at in (SINKS, path, f"{SINKS}/health", f"{API}/audit")]
        for text in (made.text, *texts):
            assert f"{SECRET}-too" not in text
        # Whoever may change it sees where it goes; the list, which the live feed shows too, names the host alone.
        assert SECRET in texts[1]
        assert all(SECRET not in text for text in (texts[0], *texts[2:]))


async def test_viewer_sees_no_sinks(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        headers = await sign_in(helm.context, role=Role.OPERATOR)
        async with asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
            for path in (SINKS, f"{SINKS}/health"):
                assert (await client.get(path, headers=headers)).status_code == 403
            assert (await client.post(SINKS, json=body(), headers=headers)).status_code == 403


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"url": "http://siem.example.org/"}, "only to this machine itself"),
    ({"url": "https://user:pass@siem.example.org/"}, "headers"),
    ({"url": "https://siem.example.org/#x"}, "not what was given"),
    ({"url": "https://siem.example.org:99999/"}, "not what was given"),
    ({"url": "ftp://siem.example.org/"}, "not what was given"),
    ({"url": "https:///"}, "not what was given"),
    ({"url": "https://siem.example.org/a b"}, "no blanks"),
    ({"url": "https://siem.example.org/" + "x" * 1000}, "at most"),
    ({"kind": "syslog", "headers": {}, "url": "https://siem.example.org"}, "tls://"),
    ({"kind": "syslog", "headers": {}, "url": "tls://siem.example.org/path"}, "tls://"),
    ({"kind": "syslog", "url": "tls://siem.example.org"}, "syslog has no headers"),
    ({"sources": []}, "of the audit, of events"),
    ({"headers": {"Host": "x"}}, "no header"),
    ({"headers": {"content-length": "1"}}, "no header"),
    ({"headers": {"X": "a\r\nY: b"}}, "printable ASCII"),
    ({"headers": {"X": ""}}, "printable ASCII"),
    ({"headers": {"X": "é"}}, "printable ASCII"),
    ({"headers": {"a b": "x"}}, "no header"),
    ({"headers": {"X": "1", "x": "2"}}, "each once"),
    ({"headers": {f"X-{n}": "1" for n in range(17)}}, "each once"),
    ({"ca": "nonsense"}, "PEM"),
    ({"name": "a\nb"}, "printable"),
    ({"kind": "carrier pigeon"}, "does not fit"),
    ({"state": "enabled"}, "does not fit"),
]


async def test_sink_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        for changes, why in MISFITS:
            refused = await client.post(SINKS, json=body(**changes))
            assert refused.status_code == 400, changes
            assert why in refused.json()["detail"], changes
            # What is wrong with a header's value is said without the value.
            assert "a\\r" not in refused.text
        assert (await client.get(SINKS)).json()["items"] == []


async def test_there_are_not_too_many_and_each_name_is_one(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        for number in range(16):
            assert (await client.post(SINKS, json=body(name=f"soc {number}"))).status_code == 201
        assert "16 sinks" in (await client.post(SINKS, json=body(name="one more"))).json()["detail"]


async def test_headers_do_not_go_to_another_host(tmp_path: Path) -> None:
    """Whoever may change a sink is not given its token by changing where it is sent."""
    async with operator(tmp_path) as (_helm, client):
        sink = (await client.post(SINKS, json=body())).json()
        path = f"{SINKS}/{sink['id']}/set"
        there = {"url": "https://elsewhere.example/hook"}
        assert (await client.post(path, json=there, headers=match(1))).status_code == 400
        same = await client.post(path, json={"url": "https://siem.example.org/other"}, headers=match(1))
        assert same.status_code == 200
        moved = await client.post(path, json=there | {"headers": {"X-Key": "new"}}, headers=match(2))
        assert (moved.json()["host"], moved.json()["header_names"]) == ("elsewhere.example:443", ["X-Key"])
        bare = await client.post(path, json={"headers": {}, "sources": ["audit"]}, headers=match(3))
        assert (bare.json()["header_names"], bare.json()["sources"]) == ([], ["audit"])


async def test_otlp_has_its_own_path_where_none_is_given(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        made = await client.post(SINKS, json=body(kind="otlp", url="https://otel.example.org:4318"))
        assert made.json()["url"] == "https://otel.example.org:4318/v1/logs"
        lines = await client.post(SINKS, json=body(name="s", kind="syslog", url="tls://[2001:db8::1]", headers={}))
        assert lines.json()["host"] == "[2001:db8::1]:6514"


async def test_health_says_how_far_behind_and_since_when(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        sink = (await client.post(SINKS, json=body())).json()
        await helm.store.run(append_acts, 4)
        await helm.store.run(note_failure, sink["id"], "it answered 500", at=1_800_000_000_000_000)
        await helm.store.run(note_failure, sink["id"], "no acknowledgement", at=1_800_000_060_000_000)
        (health,) = (await client.get(f"{SINKS}/health")).json()["items"]
        assert health["behind"] == {"audit": 4, "events": 0}
        assert (health["failing_since_at"], health["error"]) == ("2027-01-15T08:00:00Z", "no acknowledgement")
        # Switched off, it is judged anew.
        off = await client.post(f"{SINKS}/{sink['id']}/disable", headers=match(1))
        assert off.json()["state"] == "disabled"
        (health,) = (await client.get(f"{SINKS}/health")).json()["items"]
        assert health["failing_since_at"] is None


async def test_try_says_what_became_of_one_record(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client), http_receiver() as inbox:
        url = f"http://{LOOPBACK}:{inbox.port}/hook"
        sink = (await client.post(SINKS, json=body(url=url))).json()
        found = (await client.post(f"{SINKS}/{sink['id']}/test")).json()
        assert (found["ok"], found["detail"]) == (True, "it was acknowledged")
        assert b"siem_test" in inbox.items[0].body
        assert inbox.items[0].headers["authorization"] == f"Bearer {SECRET}-too"
        lost = (await client.post(SINKS, json=body(name="lost", url=f"http://{LOOPBACK}:1/"))).json()
        found = (await client.post(f"{SINKS}/{lost['id']}/test")).json()
        assert not found["ok"]
        assert (await client.post(f"{SINKS}/nobody/test")).status_code == 404
        rows = (await client.get(f"{API}/audit", params={"verb": "sink_tested"})).json()["items"]
        assert [row["detail"] for row in rows][-1] == f"soc: webhook to {LOOPBACK}:{inbox.port}"
