"""A list comes into the record whole or not at all, and a rehearsal leaves nothing behind."""

from __future__ import annotations

import csv
import io
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from pharos.helm.accounts.users import add_group
from pharos.helm.cli import main
from pharos.helm.model.admins import Role
from pharos.helm.store.database import Database
from pharos.helm.web.app import make_loopback_app
from pharos.wire.console import Exit
from pharos.wire.seal.ticket import TicketLink
from tests.support.commands import invoke, invoke_json
from tests.support.helm import adopt_sample_relay, open_helm, sample_act
from tests.support.http import asking
from tests.support.nouns import API, names, operator
from tests.support.signin import sign_in

IMPORT = f"{API}/import/users"
LIST = "name,email,groups,quota\nAda,ada@example.org,office,50GB\nBob,,,\n"


def count_rows(db: Database) -> dict[str, int]:
    tables = ("users", "groups", "group_members", "tickets", "audit", "outbox")
    return {table: db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables}


async def post(client: httpx.AsyncClient, text: str = LIST, **more: Any) -> httpx.Response:
    return await client.post(IMPORT, json={"csv": text, **more})


async def test_rehearsal_says_what_would_be_and_writes_nothing(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await client.post(f"{API}/groups", json={"name": "office"})
        await helm.store.run(adopt_sample_relay, helm.authority)
        before = await helm.store.read(count_rows)
        answer = (await post(client, invite=True)).json()
        assert (answer["ok"], answer["dry_run"], answer["problems"]) == (True, True, [])
        assert [(user["line"], user["name"], user["groups"], user["link"]) for user in answer["users"]] == [
            (2, "Ada", ["office"], None),
            (3, "Bob", [], None),
        ]
        assert await helm.store.read(count_rows) == before


async def test_everybody_comes_in_with_groups_and_tickets(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await client.post(f"{API}/groups", json={"name": "office"})
        await helm.store.run(adopt_sample_relay, helm.authority)
        made = await post(client, dry_run=False, invite=True, seconds=7200)
        assert made.status_code == 201, made.text
        ada, bob = made.json()["users"]
        assert TicketLink.parse(ada["link"]).secret != TicketLink.parse(bob["link"]).secret
        assert await names(client, "users") == ["Ada", "Bob"]
        user = (await client.get(f"{API}/users/{ada['id']}")).json()
        assert (user["email"], user["quota_bytes"], user["groups"][0]["name"]) == (
            *("ada@example.org", 50 * 10**9, "office"),
        )
        tickets = (await client.get(f"{API}/tickets")).json()["items"]
        assert sorted((t["device_name"], t["user_id"]) for t in tickets) == [
            ("Ada's device", ada["id"]),
            ("Bob's device", bob["id"]),
        ]
        secret = ada["link"].rpartition("s=")[2]
        for path in ("tickets", "users", "audit"):
            assert secret not in (await client.get(f"{API}/{path}")).text


async def test_one_line_that_is_wrong_keeps_everybody_out(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await client.post(f"{API}/users", json={"name": "BOB", "email": "Ada@example.org"})
        before = await helm.store.read(count_rows)
        answer = await post(client)
        assert (answer.status_code, answer.json()["ok"], answer.json()["users"]) == (200, False, [])
        assert [(p["line"], p["column"]) for p in answer.json()["problems"]] == [
            (2, "email"),
            (2, "groups"),
            (3, "name"),
        ]
        refused = await post(client, dry_run=False)
        assert refused.status_code == 400
        assert "line 3, name: 'BOB' is in the record already" in refused.json()["detail"]
        assert await helm.store.read(count_rows) == before


async def test_failure_half_way_takes_all_of_it_back(tmp_path: Path) -> None:
    """Without a relay the first ticket fails, when its user is written already."""
    async with operator(tmp_path) as (helm, client):
        before = await helm.store.read(count_rows)
        for dry_run in (True, False):
            answer = await post(client, "name\nAda\nBob\n", dry_run=dry_run, invite=True)
            assert (answer.status_code, "helm relays add" in answer.json()["detail"]) == (400, True)
        await helm.store.run(adopt_sample_relay, helm.authority)
        with_relay = await helm.store.read(count_rows)
        for seconds in (60, 8 * 86400, 10**18):
            assert (await post(client, "name\nAda\n", dry_run=False, invite=True, seconds=seconds)).status_code == 400
        assert await helm.store.read(count_rows) == with_relay
        assert with_relay["users"] == before["users"] == 0


async def test_repeated_request_imports_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        body = {"csv": "name\nAda\n", "dry_run": False}
        first, again = [await client.post(IMPORT, json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)]
        assert (first.status_code, again.json()) == (201, first.json())
        assert await names(client, "users") == ["Ada"]


async def test_thousand_people_are_one_transaction(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        commits = helm.store.commits
        made = await post(client, "name\n" + "".join(f"user {n}\n" for n in range(1000)), dry_run=False)
        assert (made.status_code, len(made.json()["users"]), helm.store.commits) == (201, 1000, commits + 1)


async def test_viewer_imports_nobody(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        headers = await sign_in(helm.context, role=Role.VIEWER)
        async with asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
            assert (await client.post(IMPORT, json={"csv": LIST}, headers=headers)).status_code == 403


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A fleet with a relay and a group, and helm asleep."""
    state = tmp_path / "helm"
    state.mkdir(mode=0o700)

    async def prepare() -> None:
        async with open_helm(state) as helm:
            await helm.store.run(adopt_sample_relay, helm.authority)
            await helm.store.run(add_group, sample_act(), {"name": "office"})

    trio.run(prepare)
    return state


def png_size(path: Path) -> tuple[int, int]:
    octets = path.read_bytes()
    assert octets.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", octets[16:24])
    return width, height


def test_command_rehearses_unless_told_otherwise(state: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_bytes(b"\xef\xbb\xbf" + LIST.replace(",", ";").encode())
    rehearsed = invoke(main, "import", "users", people, "--state", state)
    assert (rehearsed.exit_code, "say --apply" in rehearsed.output) == (0, True)
    assert "Ada" in rehearsed.output
    assert invoke_json(main, "users", "list", "--state", state) == []
    folder = tmp_path / "codes"
    words = ("import", "users", people, "--apply", "--invite", "--ttl", "7d", "--qr-dir", folder, "--state", state)
    done = invoke(main, *words)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["name"], TicketLink.parse(row["link"]).beacons[0].host) for row in rows] == [
        ("Ada", "127.0.0.1"),
        ("Bob", "127.0.0.1"),
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["line-0002.png", "line-0003.png"]
    assert min(png_size(folder / "line-0002.png")) > 300
    assert (folder / "line-0002.png").stat().st_mode & 0o077 == 0
    again = invoke(main, "import", "users", people, "--apply", "--state", state)
    assert again.exit_code == Exit.FAILED
    assert "line 2, name: 'Ada' is in the record already" in again.output


def test_command_says_what_is_wrong_by_line(state: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("name,groups\n=Ada,office\nBob,nowhere\n")
    result = invoke(main, "import", "users", people, "--state", state)
    assert result.exit_code == Exit.FAILED
    assert "formula" in result.output
    assert "nowhere" in result.output
    for octets, why in (
        ("name\nAda\n".encode("utf-16"), "UTF-16"),
        ("name\nAda\nZoë\n".encode("latin-1"), "line 3 of the file is not UTF-8"),
        (b"name\n" + b"x" * 200_000, "larger than 128 KiB"),
    ):
        people.write_bytes(octets)
        refused = invoke(main, "import", "users", people, "--apply", "--state", state)
        assert refused.exit_code != 0
        assert why in refused.output
    assert invoke(main, "import", "users", people, "--qr", "--state", state).exit_code == Exit.USAGE
    assert invoke_json(main, "users", "list", "--state", state) == []


def test_links_may_be_codes_on_the_terminal(state: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("name\nAda\n")
    result = invoke(main, "import", "users", people, "--apply", "--invite", "--qr", "--state", state)
    assert result.exit_code == 0, result.output
    assert "Ada, until " in result.stdout
    assert "▀" in result.stdout or "█" in result.stdout
    assert "pharosvpn://" not in result.stdout


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_invitation_may_be_a_file(state: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"phone.{kind}"
    words = ("devices", "invite", "phone", "--qr", "--qr-file", file, "--state", state)
    result = invoke(main, *words)
    assert result.exit_code == 0, result.output
    assert "█" in result.stdout or "▀" in result.stdout
    assert file.read_bytes()[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml"}[kind]
    assert file.stat().st_mode & 0o077 == 0


def test_code_that_could_go_nowhere_costs_no_ticket(state: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "phone.gif", tmp_path / "nowhere" / "phone.png"):
        assert invoke(main, "devices", "invite", "phone", "--qr-file", file, "--state", state).exit_code == Exit.USAGE
    assert invoke_json(main, "devices", "tickets", "--state", state) == []
