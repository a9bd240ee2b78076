"""The feed over WebSocket: where things stand, what happens then, and how to go on after an absence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from wsproto.events import BytesMessage, TextMessage

from pharos.helm.live import pulse, replay, subscriber
from pharos.helm.live.board import now_us
from pharos.helm.live.follow import run_feed
from pharos.helm.model.admins import Role
from pharos.helm.model.alerts import Alert, AlertState, Severity
from pharos.helm.model.users import User
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.nodes import NODES
from pharos.helm.store.outbox import last_sequence
from pharos.helm.store.pages import Query, list_page
from pharos.helm.store.records import add_record, change_record
from pharos.helm.store.signins import end_sessions
from pharos.helm.store.users import USERS
from pharos.helm.web import live
from pharos.helm.web.app import make_loopback_app
from pharos.helm.web.status import take_picture
from pharos.wire.link import LinkState
from tests.support.helm import SampleHelm, open_helm, sample_act
from tests.support.http import WebSocket, open_websocket, serving
from tests.support.signin import Headers, sign_in
from tests.support.views import handshake, settle, tell

HOST = "localhost:8440"
LIVE = "/api/v1/live"
ACT = Act(actor="ada", at=1_800_000_000_000_000)


@attrs.frozen
class Feeding:
    """A helm whose loopback edge serves the feed, and who is signed in there."""

    helm: SampleHelm
    port: int
    me: Headers

    @asynccontextmanager
    async def open(self, query: str = "", *, me: Headers | None = None) -> AsyncIterator[Page]:
        async with open_websocket(self.port, LIVE + query, *(me or self.me), host=HOST) as feed:
            assert isinstance(feed, WebSocket), feed
            yield Page(feed)

    async def refused(self, query: str = "") -> int:
        async with open_websocket(self.port, LIVE + query, *self.me, host=HOST) as refused:
            assert isinstance(refused, int)
            return refused

    async def add(self, name: str) -> User:
        return await self.helm.store.run(add_user, name)


@attrs.frozen
class Page:
    """An open page."""

    feed: WebSocket

    async def receive(self) -> dict[str, Any]:
        with trio.fail_after(10):
            text = await self.feed.receive()
        assert isinstance(text, str), f"closed with {text}"
        message: dict[str, Any] = json.loads(text)
        return message

    async def deltas(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += (await self.receive()).get("deltas", [])
        return found

    async def closed(self) -> int:
        with trio.fail_after(10):
            while isinstance(code := await self.feed.receive(), str):
                pass
        return code


def add_user(db: Database, name: str) -> User:
    return add_record(db, USERS, User(id=fresh_id(), name=name), ACT)


def add_secret(db: Database) -> None:
    """Something happens to a noun that only owners read."""
    record_change(db, ACT, "vault", "opened", subject="v", version=1, body={"id": "v"})


@asynccontextmanager
async def feeding(folder: Path, *, role: Role = Role.OWNER) -> AsyncIterator[Feeding]:
    async with open_helm(folder) as helm, trio.open_nursery() as nursery:
        await nursery.start(run_feed, helm.store, helm.context.hub)
        me = await sign_in(helm.context, role=role)
        async with serving(make_loopback_app(helm.context, {HOST})) as port:
            yield Feeding(helm, port, me)
        nursery.cancel_scope.cancel()


async def test_feed_begins_with_the_picture_and_goes_on_with_what_happens(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one:
        before = await one.helm.store.run(last_sequence)
        epoch = (await one.helm.store.run(get_fleet)).epoch
        async with one.open() as page:
            first = await page.receive()
            assert (first["sequence"], first["epoch"]) == (before, epoch)
            assert first["snapshot"]["fleet"]["posture"] == "personal"
            user = await one.add("eve")
            (delta,) = await page.deltas(1)
    assert delta["record"] == USERS.view(user)
    assert (delta["seq"], delta["kind"], delta["id"]) == (before + 1, "user_added", user.id)
    assert (delta["actor"], delta["version"]) == ("ada", 1)


async def test_every_page_sees_the_same_changes_in_the_same_order(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one, one.open() as left, one.open() as right:
        for page in (left, right):
            await page.receive()
        for number in range(50):
            await one.add(f"user {number}")
        seen = [[delta["record"]["name"] for delta in await page.deltas(50)] for page in (left, right)]
    assert seen[0] == seen[1] == [f"user {number}" for number in range(50)]


async def test_nothing_falls_between_picture_and_deltas(tmp_path: Path) -> None:
    """Pages open while somebody works: what each has in the end is what there is."""
    async with feeding(tmp_path) as one:
        done = trio.Event()

        async def work() -> None:
            for number in range(100):
                await one.add(f"user {number}")
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            while not done.is_set():
                async with one.open() as page:
                    begun = (await page.receive())["sequence"]
                    if begun < await one.helm.store.run(last_sequence):
                        assert (await page.deltas(1))[0]["seq"] == begun + 1


async def test_links_and_tunnels_are_events(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one, one.open() as page:
        await page.receive()
        one.helm.context.board.report("n", "amsterdam", LinkState.UP, "")
        one.helm.context.hub.publish("handshake", at=now_us(), node="n", device="d")
        events: list[dict[str, Any]] = []
        while len(events) < 2:
            events += (await page.receive())["events"]
    assert [(event["kind"], event["node"], event["device"]) for event in events] == [
        ("link_up", "n", None),
        ("handshake", "n", "d"),
    ]


async def test_page_that_comes_back_gets_what_it_missed_and_how_links_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE", 7)
    async with feeding(tmp_path) as one:
        async with one.open() as page:
            first = await page.receive()
        for number in range(20):
            await one.add(f"user {number}")
        one.helm.context.board.report("n", "amsterdam", LinkState.LOST, "no route")
        async with one.open(f"?since={first['sequence']}&epoch={first['epoch']}") as page:
            again = await page.receive()
            assert (again["sequence"], again["epoch"]) == (first["sequence"], first["epoch"])
            assert again["links"]["n"]["link"] == "lost"
            missed = await page.deltas(20)
            await one.add("last")
            (new,) = await page.deltas(1)
    assert [delta["seq"] for delta in (*missed, new)] == list(range(first["sequence"] + 1, first["sequence"] + 22))


async def test_page_that_missed_too_much_is_told_and_gets_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_REPLAY", 3)
    async with feeding(tmp_path) as one:
        last = await one.helm.store.run(last_sequence)
        for number in range(5):
            await one.add(f"user {number}")
        async with one.open(f"?since={last}") as page:
            assert await page.receive() == {"gap": {"from": last + 1, "to": last + 5}}
            assert (await page.receive())["sequence"] == last + 5
        async with one.open(f"?since={last + 5}&epoch=1") as page:
            assert await page.receive() == {"gap": {"from": 1, "to": last + 5}}
            assert "snapshot" in await page.receive()


async def test_who_wants_no_picture_gets_none_not_even_after_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_REPLAY", 0)
    async with feeding(tmp_path) as one:
        await one.add("eve")
        last = await one.helm.store.run(last_sequence)
        async with one.open("?snapshot=no") as page:
            assert set(await page.receive()) == {"links", "sequence", "epoch"}
            await one.add("mallory")
            assert (await page.deltas(1))[0]["seq"] == last + 1
        async with one.open("?snapshot=no&since=0") as page:
            assert set(await page.receive()) == {"gap"}
            assert (await page.receive())["sequence"] == last + 1


async def test_slow_page_gets_a_gap_and_a_new_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "QUEUE_SIZE", 10)
    monkeypatch.setattr(live, "SNAPSHOT_INTERVAL", 0)

    def add_many(db: Database) -> None:
        for number in range(30):
            add_user(db, f"user {number}")

    async with feeding(tmp_path) as one, one.open() as page:
        first = (await page.receive())["sequence"]
        # In one transaction, so that they are more than the queue holds however quick the page is.
        await one.helm.store.run(add_many)
        assert await page.receive() == {"gap": {"from": first + 1, "to": first + 30}}
        assert (await page.receive())["sequence"] == first + 30
        await one.add("after")
        assert [delta["seq"] for delta in await page.deltas(1)] == [first + 31]


async def test_resync_gets_a_new_picture_and_nothing_else_may_be_said(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one:
        async with one.open() as page:
            await page.receive()
            await page.feed.send(TextMessage("resync"))
            assert "snapshot" in await page.receive()
            await page.feed.send(TextMessage("resync please"))
            assert await page.closed() == 1008
        for octets in (b"resync", b""):
            async with one.open() as page:
                await page.feed.send(BytesMessage(octets))
                assert await page.closed() == 1003


async def test_pictures_come_no_faster_than_one_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    async def counted(context: Any) -> Any:
        nonlocal taken
        taken += 1
        return await take_picture(context)

    monkeypatch.setattr(live, "take_picture", counted)
    monkeypatch.setattr(live, "SNAPSHOT_INTERVAL", 3600)
    async with feeding(tmp_path) as one, one.open() as page:
        await page.receive()
        for _ in range(50):
            await page.feed.send(TextMessage("resync"))
        await page.feed.send(BytesMessage(b"end"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert taken == 1


async def all_handed_out(one: Feeding) -> None:
    """Wait for what making the fleet put into the outbox; it moves the position."""
    last = await one.helm.store.run(last_sequence)
    while True:
        if one.helm.context.hub.sequence >= last:
            return
        await trio.sleep(0.01)


async def test_pages_that_open_together_share_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken_at: list[int] = []

    async def noted(context: Any) -> Any:
        taken_at.append(context.hub.position)
        return await take_picture(context)

    monkeypatch.setattr(live, "take_picture", noted)
    monkeypatch.setattr(live, "SNAPSHOT_AGE", 3600)
    async with feeding(tmp_path) as one:
        await all_handed_out(one)
        for _ in range(5):
            async with one.open() as page:
                await page.receive()
        assert len(taken_at) == len(set(taken_at)) < 5
        await one.add("eve")
        await all_handed_out(one)
        async with one.open() as page:
            last = await one.helm.store.run(last_sequence)
            first = await page.receive()
            assert first["sequence"] == last
        assert len(taken_at) == len(set(taken_at))


async def test_role_sees_what_it_may_read_and_owners_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with feeding(tmp_path) as one:
        viewer = await sign_in(one.helm.context, name="vera", role=Role.VIEWER)
        async with one.open() as owners, one.open(me=viewer) as viewers:
            for page in (owners, viewers):
                await page.receive()
            await one.helm.store.run(add_secret)
            await one.add("eve")
            assert [delta["noun"] for delta in await owners.deltas(2)] == ["vault", "user"]
            assert [delta["noun"] for delta in await viewers.deltas(1)] == ["user"]
        since = await one.helm.store.run(last_sequence) - 2
        async with one.open(f"?since={since}", me=viewer) as page:
            await page.receive()
            assert [delta["noun"] for delta in await page.deltas(1)] == ["user"]
        # Red proof: it is the nouns of a role that keep the other back.
        monkeypatch.setattr(live, "_nouns_of", lambda _role, _resources: None)
        async with serving(make_loopback_app(one.helm.context, {HOST})) as port:
            weakened = Feeding(one.helm, port, viewer)
            async with weakened.open(f"?since={since}") as page:
                await page.receive()
                assert [delta["noun"] for delta in await page.deltas(2)] == ["vault", "user"]


@pytest.mark.parametrize(
    "query", ["?since=x", "?since=-1", "?since=", "?since=%C2%B2", "?epoch=y", "?since=" + "9" * 5000]
)
async def test_query_that_makes_no_sense_is_refused_before_the_upgrade(tmp_path: Path, query: str) -> None:
    async with feeding(tmp_path) as one:
        assert await one.refused(query) == 400
        assert await one.refused("?snapshot=maybe") == 400


async def test_session_that_ended_is_shown_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RECHECK", 0.01)
    async with feeding(tmp_path) as one, one.open() as page:
        await page.receive()
        admin = (await one.helm.store.run(list_page, ADMINS, Query())).items[0]
        await one.helm.store.run(end_sessions, admin.id)
        assert await page.closed() == live.SIGNED_OUT


async def test_change_of_role_ends_the_feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RECHECK", 0.01)
    async with feeding(tmp_path) as one:
        vera = await sign_in(one.helm.context, name="vera", role=Role.ADMIN)
        async with one.open(me=vera) as page:
            await page.receive()
            (admin,) = (await one.helm.store.run(list_page, ADMINS, Query(filters={"q": "vera"}))).items
            await one.helm.store.run(
                lambda db: change_record(db, ADMINS, admin.id, admin.version, {"role": Role.VIEWER}, ACT)
            )
            assert await page.closed() == live.ROLE_CHANGED


async def test_seats_are_bounded_in_all_and_for_each_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_PER_SESSION", 2)
    monkeypatch.setattr(live, "MAX_OPEN", 3)
    async with feeding(tmp_path) as one:
        bob = await sign_in(one.helm.context, name="bob")
        async with one.open() as first, one.open() as second:
            for page in (first, second):
                await page.receive()
            assert await one.refused() == 503
            async with one.open(me=bob) as third:
                await third.receive()
                assert await Feeding(one.helm, one.port, bob).refused() == 503
        # Those who left made room.
        with trio.fail_after(5):
            while one.helm.context.hub._subscribers:
                await trio.testing.wait_all_tasks_blocked(0.001)
        async with one.open() as page:
            await page.receive()


async def test_page_that_leaves_leaves_nothing_behind(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one:
        async with one.open() as page:
            await page.receive()
            assert len(one.helm.context.hub._subscribers) == 1
        with trio.fail_after(5):
            while one.helm.context.hub._subscribers:
                await trio.testing.wait_all_tasks_blocked(0.001)


async def test_brief_picture_has_no_devices_and_what_a_page_shows_beside_them(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one:
        people = await settle(one.helm)
        await one.helm.store.run(change_record, NODES, people.node, 1, {"place": "Amsterdam"}, sample_act())
        await one.helm.store.run(raise_alert, people.node)
        one.helm.context.board.report(people.node, "amsterdam", LinkState.UP, "")
        fleet = await one.helm.store.run(get_fleet)
        async with one.open("?snapshot=brief") as page:
            first = await page.receive()
    shown = first["snapshot"]
    assert "devices" not in shown
    assert shown["fleet"] == {
        "id": fleet.id,
        "posture": "personal",
        "name": "",
        "revision": fleet.revision,
        "epoch": fleet.epoch,
    }
    (node,) = shown["nodes"]
    assert (node["name"], node["place"], node["latitude"], node["version"]) == ("amsterdam", "Amsterdam", None, 2)
    assert node["certificate_ends_at"] > node["last_word_at"] > "2026"
    assert [alert["kind"] for alert in shown["alerts"]] == ["node_down"]
    assert (shown["counts"]["devices"]["online"], shown["counts"]["alerts"], shown["counts"]["admins"]) == (1, 1, 1)
    assert shown["figures"]["nodes"][people.node]["sessions"] == 1


async def test_last_word_of_a_node_is_when_its_link_was_up_last(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one:
        people = await settle(one.helm)
        board = one.helm.context.board
        async with one.open("?snapshot=brief") as page:
            assert (await page.receive())["snapshot"]["nodes"][0]["last_word_at"] is None
            board.report(people.node, "amsterdam", LinkState.UP, "")
            board.report(people.node, "amsterdam", LinkState.LOST, "no route")
            board.of(people.node).heard_at = 1_800_000_000_000_000
            await page.feed.send(TextMessage(data=live.RESYNC))
            while "snapshot" not in (message := await page.receive()):
                pass
    assert message["snapshot"]["nodes"][0]["last_word_at"] == "2027-01-15T08:00:00Z"


async def test_viewer_is_told_no_count_of_what_a_viewer_may_not_read(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one:
        await settle(one.helm)
        viewer = await sign_in(one.helm.context, name="vera", role=Role.VIEWER)
        async with one.open("?snapshot=brief", me=viewer) as theirs, one.open("?snapshot=brief") as mine:
            seen, whole = [(await page.receive())["snapshot"]["counts"] for page in (theirs, mine)]
    assert (whole.keys() - seen.keys(), whole["admins"]) == ({"admins"}, 2)
    assert {name: whole[name] for name in seen} == seen


async def test_page_that_comes_back_gets_figures_whole_behind_what_it_missed(tmp_path: Path) -> None:
    async with feeding(tmp_path) as one:
        people = await settle(one.helm)
        epoch, last = (await one.helm.store.run(get_fleet)).epoch, await one.helm.store.run(last_sequence)
        await one.add("eve")
        async with one.open(f"?snapshot=brief&since={last}&epoch={epoch}") as page:
            assert "links" in await page.receive()
            assert [delta["record"]["name"] for delta in await page.deltas(1)] == ["eve"]
            figures = await page.receive()
    assert (figures["sequence"], figures["counts"]["users"]) == (last + 1, 3)
    assert figures["figures"]["nodes"].keys() == {people.node}


async def test_brief_feed_is_told_what_changes_and_another_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.02)
    async with feeding(tmp_path) as one, trio.open_nursery() as nursery:
        people = await settle(one.helm)
        nursery.start_soon(one.helm.context.pulse.run)
        async with one.open("?snapshot=brief") as page, one.open() as whole:
            await page.receive()
            await whole.receive()
            await tell(one.helm, handshake(people.laptop, people.node, ago=1))
            online = 0
            while online < 2:
                online = (await page.receive()).get("counts", {"devices": {"online": 0}})["devices"]["online"]
            await one.add("eve")
            # The next thing that it hears of is the change of the record.
            assert (await whole.receive()).keys() == {"sequence", "deltas"}
        nursery.cancel_scope.cancel()


def raise_alert(db: Database, node_id: str) -> None:
    for state in (AlertState.OPEN, AlertState.RESOLVED):
        alert = Alert(
            id=fresh_id(), kind="node_down", severity=Severity.CRITICAL, state=state, noun="node", subject=node_id
        )
        add_record(db, ALERTS, alert, ACT)
