"""The driver round a double of Xray: what it writes, says, and does in which order."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.dataplane.realityplan import Place
from pharos.buoy.roothelper.acts import SocketAddress, SocketPair
from pharos.buoy.xray.driver import XrayDriver
from pharos.wire.convert import EventKind
from pharos.wire.desired import Policy
from tests.buoy.xray.double import FakeXray, make_program
from tests.buoy.xray.rig import ALICE, BOB, OLD_KEY, Told, endpoint, plan, user
from tests.wire.reality.fronts import HOST

SECOND = 1_000_000_000
CAROL = user("carol", 3)


def pair(remote: str, port: int) -> SocketPair:
    return SocketPair(SocketAddress(ip_address("192.0.2.1"), 443), SocketAddress(ip_address(remote), port))


@attrs.define
class Rig:
    driver: XrayDriver
    xray: FakeXray
    told: Told
    sockets: list[SocketPair]
    killed: list[SocketPair]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.xray.runtime / "config.json").read_text())
        return found

    def clients(self, inbound: int = 1) -> list[str]:
        return [client["email"] for client in self.document["inbounds"][inbound]["settings"]["clients"]]

    def served(self) -> list[list[str]]:
        return [sorted(users) for users in self.xray.users.values()]

    async def lets_in(self, name: str, source: str, port: int) -> None:
        """Have Xray write a line, and wait until it was read."""
        line = f"2026/11/26 05:00:00.000000 from {source}:{port} accepted tcp:example.org:443 [a >> b] email: {name}\n"
        descriptor = os.open(self.xray.runtime / "access.fifo", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


@contextlib.asynccontextmanager
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Rig]:
    runtime = tmp_path / "run"
    runtime.mkdir(exist_ok=True)
    xray, told = FakeXray(runtime), Told()
    sockets: list[SocketPair] = []
    killed: list[SocketPair] = []

    async def list_them(ports: object) -> list[SocketPair]:
        await trio.lowlevel.checkpoint()
        return list(sockets)

    async def kill(pairs: tuple[SocketPair, ...]) -> None:
        await trio.lowlevel.checkpoint()
        killed.extend(pairs)

    monkeypatch.setattr("pharos.buoy.xray.witness.list_sockets", list_them)
    monkeypatch.setattr("pharos.buoy.xray.witness.LOOK_EVERY", 0.02)
    monkeypatch.setattr("pharos.buoy.dataplane.presence.LINGER", 0.05)
    usual: dict[str, Any] = {
        "program": make_program(tmp_path),
        "place": Place(hosts=(HOST,)),
        "kill": kill,
        "own": tuple,
    }
    driver = XrayDriver(runtime=runtime, on_event=told, **(usual | {"runner": xray} | options))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(driver.run)
            yield Rig(driver, xray, told, sockets, killed)
            nursery.cancel_scope.cancel()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    return lambda **options: running(tmp_path, monkeypatch, **options)


async def test_a_plan_is_written_and_xray_begins(rig) -> None:
    async with rig() as here:
        assert here.driver.port == 0
        await here.driver.apply(plan(endpoint()))
        assert (here.driver.port, here.driver.version, here.xray.starts) == (443, "26.3.27", 1)
        assert here.clients() == ["alice", "bob"]
        assert here.served() == [["alice", "bob"]]
        reality = here.document["inbounds"][1]["streamSettings"]["realitySettings"]
        assert (reality["maxTimeDiff"], reality["minClientVer"]) == (120_000, "1.8.0")


async def test_the_file_is_for_xray_and_nobody_else(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        mode = (here.xray.runtime / "config.json").stat().st_mode
        assert stat.S_IMODE(mode) == 0o640
        assert sorted(path.name for path in here.xray.runtime.iterdir()) == ["access.fifo", "api.sock", "config.json"]


async def test_users_change_in_the_file_first_and_then_live(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        in_file: list[list[str]] = []

        class Asked(list[tuple[str, str]]):
            def append(self, one: tuple[str, str]) -> None:
                in_file.append(here.clients())
                super().append(one)

        here.xray.asked = Asked()
        await here.driver.apply(plan(endpoint(), who=(BOB, CAROL)))
        assert here.xray.asked == [("remove", "alice"), ("add", "carol")]
        assert in_file == [["bob", "carol"]] * 2
        assert here.served() == [["bob", "carol"]]
        assert here.xray.starts == 1


async def test_a_plan_that_changes_nothing_says_nothing(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        await here.driver.apply(plan(endpoint()))
        assert (here.xray.asked, here.xray.starts) == ([], 1)


@pytest.mark.parametrize(
    "changed",
    [
        plan(endpoint(444)),
        plan(endpoint(key=OLD_KEY)),
        plan(endpoint(), endpoint(8443, key=OLD_KEY)),
        plan(endpoint(), policy=Policy(internet=False)),
        plan(endpoint(), policy=Policy(closed=("198.51.100.0/24",))),
    ],
    ids=["port", "key", "previous endpoint", "no internet", "closed network"],
)
async def test_what_is_no_user_makes_it_begin_anew(rig, changed) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        await here.driver.apply(changed)
        assert here.xray.starts == 2
        assert here.served() == [["alice", "bob"]] * len(changed.endpoints)


async def test_users_are_those_of_every_endpoint(rig) -> None:
    async with rig() as here:
        doors = endpoint(), endpoint(8443, key=OLD_KEY)
        await here.driver.apply(plan(*doors))
        await here.driver.apply(plan(*doors, who=(ALICE, CAROL)))
        assert here.served() == [["alice", "carol"]] * 2
        assert here.clients(1) == here.clients(2) == ["alice", "carol"]
        assert here.xray.starts == 1


async def test_no_endpoint_ends_it_and_leaves_no_file(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        await here.driver.apply(plan())
        assert here.driver.port == 0
        assert [path.name for path in here.xray.runtime.iterdir()] == ["access.fifo"]
        await here.driver.apply(plan(endpoint()))
        assert (here.driver.port, here.xray.starts) == (443, 2)


async def test_an_xray_that_runs_the_same_is_left_running(rig, tmp_path: Path) -> None:
    async with rig() as first:
        await first.driver.apply(plan(endpoint()))

        class Elsewhere:
            """The runner of an agent that comes later."""

            async def restart(self) -> None:
                raise AssertionError("its users would be cut off")

            async def run(self) -> None:
                await trio.sleep_forever()

        async with rig(runner=Elsewhere()) as second:
            await second.driver.apply(plan(endpoint(), who=(BOB,)))
            assert first.xray.starts == 1
            assert first.served() == [["bob"]]


async def test_an_xray_that_comes_back_with_other_users_is_told_again(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        path = here.xray.runtime / "config.json"
        path.write_text(path.read_text().replace('"bob"', '"mallory"'))
        told_again, reconcile = trio.Event(), here.driver._reconcile

        async def watched(*arguments) -> None:
            await reconcile(*arguments)
            told_again.set()

        here.driver._reconcile = watched
        await here.xray.fall()
        await told_again.wait()
        assert here.xray.starts == 2
        assert here.served() == [["alice", "bob"]]


async def test_a_change_that_failed_is_made_up_for(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        here.xray.fails = "out of memory"
        told_again, reconcile = trio.Event(), here.driver._reconcile

        async def watched(*arguments) -> None:
            late = CAROL.device_id in here.driver._plan.users
            if late:
                here.xray.fails = ""
            await reconcile(*arguments)
            if late:
                told_again.set()

        here.driver._reconcile = watched
        with pytest.raises(EngineError, match="out of memory"):
            await here.driver.apply(plan(endpoint(), who=(CAROL,)))
        await told_again.wait()
        assert here.served() == [["carol"]]
        assert here.xray.starts == 1


async def test_what_xray_would_not_start_with_is_not_kept(rig, tmp_path: Path) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        kept = here.document
        make_program(tmp_path, refuses=True)
        with pytest.raises(EngineError, match="exit 23"):
            await here.driver.apply(plan(endpoint(444)))
        assert here.document == kept
        assert (here.xray.starts, here.driver.port) == (1, 443)


async def test_a_full_disk_changes_nothing_that_is_served(rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        kept = here.document

        def full(path: Path, data: bytes, *, mode: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr("pharos.buoy.xray.files.write_atomic", full)
            with pytest.raises(EngineError, match="No space left"):
                await here.driver.apply(plan(endpoint(444)))
        assert here.document == kept
        assert (here.xray.starts, here.driver.port) == (1, 443)


async def test_a_device_comes_stays_and_goes(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        here.sockets.append(pair("203.0.113.7", 40_000))
        await here.lets_in("alice", "203.0.113.7", 40_000)
        assert await here.told.wait_for(EventKind.CONNECTED, "alice") == "203.0.113.7"
        here.sockets.clear()
        assert await here.told.wait_for(EventKind.DISCONNECTED, "alice") == "silent"
        kinds = [kind for kind, _, _ in here.told.events]
        assert kinds == [EventKind.HANDSHAKE, EventKind.CONNECTED, EventKind.DISCONNECTED]
        [alice, _] = await here.driver.read_counters()
        assert alice.last_handshake > 0


async def test_who_is_removed_is_cut_and_nobody_else(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        hers, his, strangers = pair("203.0.113.7", 1), pair("203.0.113.8", 2), pair("203.0.113.9", 3)
        here.sockets += [hers, his, strangers]
        await here.lets_in("alice", "203.0.113.7", 1)
        await here.lets_in("bob", "203.0.113.8", 2)
        await here.told.wait_for(EventKind.CONNECTED, "bob")
        await here.driver.apply(plan(endpoint(), who=(BOB,)), reasons={ALICE.device_id: "expired"})
        assert here.killed == [hers]
        assert here.told.events[-1] == (EventKind.DISCONNECTED, "alice", "expired")


async def test_a_connection_that_could_not_be_cut_is_cut_later(rig, caplog: pytest.LogCaptureFixture) -> None:
    away, cut, tried = True, trio.Event(), 0

    async def kill(pairs: tuple[SocketPair, ...]) -> None:
        nonlocal tried
        await trio.lowlevel.checkpoint()
        tried += 1
        if away:
            raise EngineError("the root helper is not there")
        assert pairs == (pair("203.0.113.7", 1),)
        cut.set()

    async with rig(kill=kill) as here:
        await here.driver.apply(plan(endpoint()))
        here.sockets.append(pair("203.0.113.7", 1))
        await here.lets_in("alice", "203.0.113.7", 1)
        await here.told.wait_for(EventKind.CONNECTED, "alice")
        with pytest.raises(EngineError, match="root helper"):
            await here.driver.apply(plan(endpoint(), who=(BOB,)))
        # He is no user any more, all the same.
        assert here.served() == [["bob"]]
        away = False
        await cut.wait()
        assert tried >= 2
        here.sockets.clear()


async def test_connections_that_nobody_told_of_are_cut_by_where_xray_says_a_device_is(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        old, his = pair("203.0.113.7", 1), pair("203.0.113.8", 2)
        here.sockets += [old, his]
        here.xray.addresses = {"alice": ["203.0.113.7"], "bob": ["203.0.113.8"]}
        await here.driver.apply(plan(endpoint(), who=(BOB,)))
        assert here.killed == [old]


async def test_who_is_let_in_at_the_moment_of_his_removal_is_cut(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint(), who=(BOB,)))
        late = pair("203.0.113.7", 1)
        here.sockets += [late, pair("203.0.113.7", 2)]
        await here.lets_in("alice", "203.0.113.7", 1)
        await here.lets_in("bob", "203.0.113.8", 3)
        await here.told.wait_for(EventKind.CONNECTED, "bob")
        assert here.killed == [late]
        assert {device_id for _, device_id, _ in here.told.events} == {"bob"}


async def test_before_there_is_a_plan_nobody_is_cut_or_told_of(rig) -> None:
    async with rig() as here:
        here.sockets.append(pair("203.0.113.7", 1))
        await here.lets_in("alice", "203.0.113.7", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert (here.killed, here.told.events) == ([], [])


async def test_counters_go_on_over_falls_and_new_beginnings(rig) -> None:
    now = [1_800_000_000 * SECOND]

    def octets(received: int, sent: int) -> dict[str, int]:
        name = "user>>>alice>>>traffic>>>"
        return {f"{name}uplink": received, f"{name}downlink": sent}

    async with rig(baseline={ALICE.device_id: (100, 200)}, clock=lambda: now[0]) as here:

        async def read() -> tuple[int, int]:
            [alice] = await here.driver.read_counters()
            return alice.received, alice.sent

        await here.driver.apply(plan(endpoint(), who=(ALICE,)))
        assert await read() == (100, 200)
        here.xray.traffic = octets(5, 7)
        assert await read() == (105, 207)
        # What was carried since the last reading counts too, if it is we who end it.
        here.xray.traffic = octets(6, 8)
        await here.driver.restart()
        assert await read() == (106, 208)
        here.xray.traffic = octets(10, 10)
        assert await read() == (116, 218)
        # A fall that nobody told of, after which it has counted to more than before.
        now[0] += 60 * SECOND
        here.xray.uptime = 1
        here.xray.traffic = octets(11, 12)
        assert await read() == (127, 230)
        await here.xray.stop()
        assert await read() == (127, 230)


async def test_rate_limits_are_said_to_be_missing(rig, caplog: pytest.LogCaptureFixture) -> None:
    async with rig() as here:
        assert here.driver.lacks == ("rate limits",)
        slow = plan(endpoint(), who=(user("alice", rate_limit=1_000_000),))
        await here.driver.apply(slow)
        await here.driver.apply(slow)
        said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert len(said) == 1
        assert "no rate limits" in said[0]


async def test_a_port_of_its_own_choice_stays(rig) -> None:
    async with rig() as here:
        await here.driver.apply(plan(endpoint(0)))
        chosen = here.driver.port
        assert chosen > 0
        await here.driver.apply(plan(endpoint(0), who=(BOB,)))
        assert (here.driver.port, here.xray.starts) == (chosen, 1)


async def test_no_secret_is_logged_or_shown(rig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with rig() as here:
        await here.driver.apply(plan(endpoint()))
        await here.driver.apply(plan(endpoint(), who=(CAROL,)))
        make_program(tmp_path, refuses=True)
        with pytest.raises(EngineError) as refused:
            await here.driver.apply(plan(endpoint(444)))
        document = here.document
        shown = caplog.text + repr(refused.value) + repr(here.driver) + repr(here.driver._config)
        key = document["inbounds"][1]["streamSettings"]["realitySettings"]["privateKey"]
        for secret in (key, document["inbounds"][1]["settings"]["clients"][0]["id"], repr(ALICE.user_id)):
            assert secret not in shown


async def test_a_program_that_is_no_xray_ends_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for program in (make_program(old, version="1.8.24"), Path("/bin/true"), tmp_path / "none"):
        with pytest.raises(ExceptionGroup) as failed:
            async with running(tmp_path, monkeypatch, program=program):
                pass
        assert failed.group_contains(EngineError)
