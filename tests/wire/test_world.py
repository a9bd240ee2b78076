"""A task lives on the machine that it was started on, and so does all that it starts; others do not notice."""

from __future__ import annotations

import datetime
import functools
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from pharos.helm.store.database import Database, open_store
from pharos.helm.store.ids import fresh_id
from pharos.wire import chance
from pharos.wire.awg.netstack.hostsockets import open_os_udp
from pharos.wire.awg.udp import bind_udp
from pharos.wire.files import StateFile, write_atomic
from pharos.wire.listen import accept_forever
from pharos.wire.tcpdial import open_tcp
from pharos.wire.world import (
    REAL,
    World,
    in_thread,
    inhabiting,
    random_bytes,
    slept,
    this_world,
    utc_now,
    wall_ns,
    wall_seconds,
)

T = TypeVar("T")
NOON = 1_800_000_000 * 10**9


class Other(World):
    """A machine with a clock that stands, chance that repeats itself, no threads, and a disk that says what it does."""

    def __init__(self, *, octet: int = 7) -> None:
        self.octet = octet
        self.acts: list[str] = []
        self.threads = 0

    def wall_ns(self) -> int:
        return NOON

    def slept(self) -> float:
        return 60.0

    def random_bytes(self, count: int) -> bytes:
        return bytes([self.octet]) * count

    async def in_thread(
        self,
        work: Callable[..., T],
        *arguments: object,
        limiter: trio.CapacityLimiter | None = None,
        abandon_on_cancel: bool = False,
    ) -> T:
        self.threads += 1
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        self.acts.append(f"open {path.name}")
        return super().open(path, flags, mode)

    def fsync(self, descriptor: int) -> None:
        self.acts.append("fsync")
        super().fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self.acts.append(f"replace {target.name}")
        super().replace(source, target)


async def test_world_is_the_machine_unless_another_is_inhabited() -> None:
    assert this_world() is REAL
    before = time.time_ns()
    assert before <= wall_ns() <= time.time_ns()
    assert abs(wall_seconds() - time.time()) < 60
    assert abs(utc_now() - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
    assert slept() >= 0.0
    assert len(random_bytes(32)) == 32
    assert random_bytes(32) != random_bytes(32)
    assert await in_thread(threading.get_ident) != threading.get_ident()
    done = await this_world().run_process(["echo", "here"], capture_stdout=True)
    assert done.stdout == b"here\n"


async def test_children_and_threads_live_where_they_were_started_and_siblings_do_not() -> None:
    other, seen = Other(), dict[str, World]()

    async def look(name: str) -> None:
        await trio.lowlevel.checkpoint()
        seen[name] = this_world()
        # A thread of the kernel's, which the other world itself would not start.
        seen[f"{name}'s thread"] = await trio.to_thread.run_sync(this_world)

    async def live_there(nursery: trio.Nursery) -> None:
        with inhabiting(other):
            async with trio.open_nursery() as inner:
                inner.start_soon(look, "child")
                await nursery.start(start_late)
            assert wall_ns() == NOON
            assert utc_now() == datetime.datetime.fromtimestamp(1_800_000_000, datetime.UTC)
            assert slept() == 60.0
        seen["afterwards"] = this_world()

    async def start_late(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await look("child of another's nursery")
        task_status.started()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live_there, nursery)
        nursery.start_soon(look, "sibling")
    here = {name for name, world in seen.items() if world is other}
    assert here == {"child", "child's thread", "child of another's nursery", "child of another's nursery's thread"}
    assert seen.keys() - here == {"sibling", "sibling's thread", "afterwards"}
    assert {seen[name] for name in seen.keys() - here} == {REAL}


async def test_two_worlds_at_once_keep_to_themselves(tmp_path: Path) -> None:
    worlds = [Other(octet=1), Other(octet=2)]

    async def live(world: Other) -> None:
        with inhabiting(world):
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                assert set(random_bytes(8)) == {world.octet}
                path = tmp_path / f"{world.octet}.json"
                await in_thread(StateFile(path, "test/v1", "remove it").save, {"octet": world.octet})

    async with trio.open_nursery() as nursery:
        for world in worlds:
            nursery.start_soon(live, world)
    for world in worlds:
        name = f"{world.octet}.json"
        # The file, then the directory that has its name.
        once = [f"open .{name}.new", "fsync", f"replace {name}", f"open {tmp_path.name}", "fsync"]
        assert world.acts == 3 * once
        assert world.threads == 3


def test_disk_of_the_machine_is_the_machines(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"whole")
    descriptor = REAL.open(path, os.O_WRONLY)
    try:
        assert REAL.write(descriptor, b"WH") == 2
        REAL.truncate(descriptor, 3)
        REAL.fdatasync(descriptor)
    finally:
        REAL.close(descriptor)
    assert path.read_bytes() == b"WHo"
    REAL.unlink(path)
    REAL.unlink(path, missing_ok=True)
    with pytest.raises(FileNotFoundError):
        REAL.unlink(path)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    REAL.remove_tree(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_simulated_disk_that_knows_one_way_to_sync_is_asked_by_it(tmp_path: Path) -> None:
    other = Other()
    descriptor = other.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        other.fdatasync(descriptor)
    finally:
        other.close(descriptor)
    assert other.acts == ["open file", "fsync"]


def test_only_the_machine_itself_hears_of_its_network() -> None:
    with pytest.raises(OSError, match="nobody tells"):
        World().network_news(0)
    with REAL.network_news(1) as news:
        assert news.family == socket.AF_NETLINK


class Wired(Other):
    """Says which sockets it was asked for."""

    def tcp_socket(self, family: socket.AddressFamily) -> socket.socket:
        self.acts.append("tcp")
        return super().tcp_socket(family)

    def udp_socket(self, family: socket.AddressFamily) -> socket.socket:
        self.acts.append("udp")
        return super().udp_socket(family)

    def socket_of(self, descriptor: int) -> socket.socket:
        self.acts.append("of a descriptor")
        return super().socket_of(descriptor)

    def trio_socket(self, sock: socket.socket) -> trio.socket.SocketType:
        self.acts.append("for Trio")
        return super().trio_socket(sock)


async def test_bare_sockets_come_from_the_world() -> None:
    here, there = Wired(), Wired()
    accepted, came = list[socket.socket](), trio.Event()

    def take(sock: socket.socket, _address: str) -> None:
        accepted.append(sock)
        came.set()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        with inhabiting(there):
            nursery.start_soon(functools.partial(accept_forever, [listener], take, exhausted=came.set))
        with inhabiting(here):
            async with await open_tcp("127.0.0.1", port, protect=lambda _sock: None):
                await came.wait()
            with bind_udp("127.0.0.1", 0):
                pass
            await (await open_os_udp()).aclose()
        nursery.cancel_scope.cancel()
    for sock in accepted:
        sock.close()
    assert there.acts == ["of a descriptor"]
    assert here.acts == ["tcp", "for Trio", "udp", "udp", "for Trio"]


async def test_store_works_where_there_are_no_threads(tmp_path: Path) -> None:
    """Its writer, its reader and their connections take turns in the one thread that there is, and wait for nobody."""
    other = Other()

    def note(db: Database, name: str) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS notes (name TEXT, at INTEGER)")
        db.execute("INSERT INTO notes VALUES (?, ?)", (name, wall_ns()))

    def count(db: Database) -> int:
        return int(db.execute("SELECT count(*) FROM notes").fetchone()[0])

    with inhabiting(other), open_store(tmp_path, create=True) as store:
        await store.run(note, "first")
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(store.run, note, str(number))
                nursery.start_soon(store.read, count)
        assert await store.read(count) == 101
        times = await store.read(lambda db: {row[0] for row in db.execute("SELECT at FROM notes")})
        assert times == {NOON}, "what runs in the store lives where its caller does"
        assert fresh_id() == fresh_id()
    assert other.threads > 2


def test_fractions_are_even_and_below_one() -> None:
    drawn = [chance.fraction() for _ in range(4000)]
    assert 0.0 <= min(drawn) <= max(drawn) < 1.0
    # Each tenth has 400 of them, give or take six deviations.
    tenths = [sum(low <= 10 * one < low + 1 for one in drawn) for low in range(10)]
    assert all(290 < count < 510 for count in tenths)
    with inhabiting(Other(octet=255)):
        assert chance.fraction() == 1.0 - 2**-53
        assert chance.between(5.0, 7.0) <= 7.0
    with inhabiting(Other(octet=0)):
        assert chance.fraction() == 0.0


@pytest.mark.parametrize("bound", [1, 2, 3, 31, 255, 256, 257, 65_537])
def test_whole_numbers_stay_below_their_bound(bound: int) -> None:
    drawn = {chance.below(bound) for _ in range(600)}
    assert drawn <= set(range(bound))
    assert bound > 31 or len(drawn) == bound


def test_choices_reach_all_there_is() -> None:
    assert {chance.choose("abc") for _ in range(200)} == set("abc")
    assert all(chance.draw_bits(12) < 4096 for _ in range(200))
    assert len(chance.token_hex(8)) == 16
    assert len(chance.token_urlsafe(32)) == 43
    assert not set(chance.token_urlsafe(300)) & set("+/=")
