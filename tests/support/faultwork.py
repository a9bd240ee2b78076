"""What the children of a `Rehearsal` do: each change is acknowledged on a pipe, once it is done and not before."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import pickle
import signal
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import outcome
import trio

from pharos.buoy import state as buoy_state
from pharos.caravel.admin import kept
from pharos.caravel.profiles import fleets, layout
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.sealedfile import seal_all
from pharos.caravel.profiles.store import generate_secrets
from pharos.caravel.profiles.unlocking import Protection
from pharos.caravel.profiles.vault import Vault
from pharos.helm.ca.vault import Vault as HelmVault
from pharos.helm.cli import life
from pharos.helm.errors import BusyError
from pharos.helm.model.fleet import Posture
from pharos.helm.store import connections, database, writer
from pharos.helm.store.changes import Act
from pharos.helm.store.copies import make_copy
from pharos.helm.store.database import Database, Store, open_store
from pharos.helm.store.outbox import append_entry
from pharos.helm.store.records import change_record, get_record
from pharos.helm.store.users import USERS
from pharos.wire import files
from pharos.wire.files import write_atomic
from pharos.wire.ids import FleetId
from pharos.wire.seal.atrest import StoreKey
from pharos.wire.seal.passphrase import KeyCost
from pharos.wire.world import World
from tests.support import devices
from tests.support.devicestory import device_story
from tests.support.faultfs import Fate, FaultFS
from tests.support.faultstories import tell
from tests.support.helmfiles import files_story, revert_story
from tests.support.helmstory import tell_helm
from tests.support.nodestory import node_story, relay_story

Acknowledge = Callable[..., None]

CALLERS: Final = 3
CHANGES: Final = 4
COPIES: Final = 3
WRITES: Final = 4
ACT: Final = Act(actor="operator", at=1_800_000_000_000_000)


def user_id(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012d}"


def change_users(state: Path, acknowledge: Acknowledge, *, checkpoint: int = 1_000) -> None:
    """Several callers change a user each, again and again, through the store as the REST edge does.

    ``checkpoint`` is after how many pages SQLite copies the log into the database; 1,000 is its own choice.
    """
    while True:
        # A helm that cannot open its files is started again by systemd.
        with contextlib.suppress(BusyError), open_store(state, retry_after=0) as store:
            trio.run(_change_users, store, acknowledge, checkpoint)
            break


async def _change_users(store: Store, acknowledge: Acknowledge, checkpoint: int) -> None:
    await store.run(lambda db: db.execute(f"PRAGMA wal_autocheckpoint = {checkpoint}").fetchall())

    async def call(number: int) -> None:
        user = await store.read(get_record, USERS, user_id(number))
        for _ in range(CHANGES):
            while True:
                # Who is told 503 tries again, with what they saw.
                with contextlib.suppress(BusyError):
                    note = {"note": f"note {user.version + 1}"}
                    user = await store.run(change_record, USERS, user.id, user.version, note, ACT)
                    break
            acknowledge(number, user.version)

    async with trio.open_nursery() as nursery:
        for number in range(CALLERS):
            nursery.start_soon(call, number)


def commit_later(db: Database, works: Sequence[writer.Work]) -> list[outcome.Outcome[writer.Done]]:
    """Weakened: callers are told before COMMIT, which comes with the third transaction."""
    if not db.in_transaction:
        db.execute("BEGIN IMMEDIATE")
    outcomes = writer._in_savepoints(db, works)
    _LATER.append(db)
    if len(_LATER) % 3 == 0:
        db.execute("COMMIT")
    return outcomes


_LATER: list[Database] = []


def audit_later(db: Database, works: Sequence[writer.Work]) -> list[outcome.Outcome[writer.Done]]:
    """Weakened: each statement is a transaction of its own."""
    return [outcome.capture(writer._counted, db, work) for work in works]


def write_files(state: Path, acknowledge: Acknowledge) -> None:
    """Replace a state file again and again."""
    for number in range(1, WRITES + 1):
        while True:
            with contextlib.suppress(OSError):
                write_atomic(state / "file", str(number).encode() * 10_000)
                break
        acknowledge(number)


def make_copies(state: Path, acknowledge: Acknowledge) -> None:
    """Copy the record a few times and keep two."""
    for number in range(COPIES):
        while True:
            with contextlib.suppress(BusyError):
                copy = make_copy(state, ACT.at + number * 3_600_000_000, keep=2)
                break
        acknowledge(copy.name)


def migrate(state: Path, acknowledge: Acknowledge) -> None:
    """Bring an old database up."""
    while True:
        with contextlib.suppress(BusyError, sqlite3.OperationalError), open_store(state):
            acknowledge("open")
            break


def count_event(db: Database) -> int:
    """Write an event; return how many were."""
    return db.execute("INSERT INTO events (at, kind, detail) VALUES (1, 'k', 'd')").rowcount


def open_twice(state: Path, acknowledge: Acknowledge) -> None:
    """Change the record in two lives of a helm, each of which ends well."""
    for number in range(2):
        with open_store(state) as store:
            for _ in range(3):
                trio.run(functools.partial(store.run, append_entry, at=1, kind="k", subject="s", actor="a", detail="d"))
            trio.run(store.record, count_event)
        acknowledge(number)


def begin_fleet(state: Path, acknowledge: Acknowledge) -> None:
    """Make a fleet as `helm init` does, and acknowledge its kit."""
    while True:
        with contextlib.suppress(BusyError, sqlite3.OperationalError), open_store(state, create=True) as store:
            trio.run(life.begin_fleet, store, state, Posture.PERSONAL, lambda begun: acknowledge(begun.kit))
            break


def show_late(db: Database, vault: HelmVault, data_key: bytes, posture: Posture, show: Callable[..., object]) -> Any:
    """Weakened: the fleet is there before anybody saw its kit."""
    begun: list[Any] = []
    _BEGIN(db, vault, data_key, posture, begun.append)
    db.execute("COMMIT")
    show(*begun)
    db.execute("BEGIN")
    return begun[0]


_BEGIN: Final = life._begin


def keep_bundles(state: Path, acknowledge: Acknowledge, *, revisions: Iterable[int] = range(1, WRITES + 1)) -> None:
    """Keep one bundle after another, as a device does that syncs."""
    store = devices.open_store(state)
    for revision in revisions:
        store.save_bundle(devices.bundle(revision), devices.blob(revision))
        acknowledge(revision)


def seal_store(state: Path, acknowledge: Acknowledge) -> None:
    """Write to a store that an earlier version left in the clear."""
    devices.open_store(state).save_heard(devices.HEARD)
    acknowledge("sealed")


def change_protection(state: Path, acknowledge: Acknowledge) -> None:
    """Let one keeper after another have the store's key."""
    KeyCost.fresh = devices.cheap_cost  # type: ignore[method-assign,assignment]
    for to in devices.KEEPERS:
        store = devices.open_store(state)
        store.vault.change_protection(to, passphrase=devices.PASSPHRASE)
        acknowledge(to.value)


def join_second(state: Path, acknowledge: Acknowledge) -> None:
    """Begin to join a second fleet, and a third."""
    for fleet in devices.OTHERS:
        store = Fleets(state, devices.unlocking(state)).store_for(fleet)
        store.save_secrets(generate_secrets(), fleet)
        acknowledge(fleet)


def forget_fleets(state: Path, acknowledge: Acknowledge) -> None:
    """Forget the other fleets, one after another."""
    for fleet in devices.OTHERS:
        Fleets(state, devices.unlocking(state)).forget(fleet)
        acknowledge(fleet)


def write_in_place(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Weakened: a file is overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(descriptor, data)
    os.close(descriptor)


def leave_sum(_database: Path) -> None:
    """Weakened: the checksum of a database stays while it is changed."""


def sync_nothing(_world: World, _descriptor: int) -> None:
    """Weakened: what is written is not waited for."""


def sync_no_names(_path: Path) -> None:
    """Weakened: a file is durable, and its name is not."""


def move_aside(path: Path) -> None:
    """Weakened: a damaged file is moved away before there is another in its place."""
    path.replace(path.with_name(f"{path.name}.corrupt"))


def move_one_by_one(root: Path, fleet: FleetId) -> None:
    """Weakened: files are moved as they come, and what says so is written first."""
    made = layout.make_directory(root, fleet)
    layout.Chosen(default=fleet, moved=fleet).save(root)
    for name in layout.OF_A_FLEET:
        if (root / name).exists():
            (root / name).replace(made / name)


def change_at_once(vault: Vault, to: Protection, *, passphrase: str = "") -> None:
    """Weakened: the old key is given up before everything is sealed by the new one."""
    with vault.writing():
        old, store = vault.current()
        key = StoreKey.fresh()
        changed = vault._entrust(key, to, store=store, passphrase=passphrase)
        vault._file.save(changed.as_json())
        vault.unlocking.remember(key)
        real = Vault.key
        Vault.key = lambda self, check: (old, store) if check == old.check else real(self, check)  # type: ignore[method-assign]
        seal_all(vault)


def open_lazily(path: Path, migrations: Any, **options: Any) -> Any:
    """Weakened: SQLite does not sync each commit."""
    return connections.open_writing(path, migrations, **options | {"synchronous": "NORMAL"})


WORKS: Final[dict[str, Callable[[Path, Acknowledge], None]]] = {
    "users": change_users,
    "checkpoints": functools.partial(change_users, checkpoint=8),
    "files": write_files,
    "copies": make_copies,
    "migrate": migrate,
    "opened twice": open_twice,
    "init": begin_fleet,
    "bundles": keep_bundles,
    "bundles until killed": functools.partial(keep_bundles, revisions=itertools.count(1)),
    "seal": seal_store,
    "protect": change_protection,
    "second": join_second,
    "forget": forget_fleets,
    "node": functools.partial(tell, node_story),
    "relay": functools.partial(tell, relay_story),
    "device": functools.partial(tell, device_story),
    "helm": tell_helm,
    "helm files": functools.partial(tell, files_story),
    "revert": functools.partial(tell, revert_story),
}
WEAK: Final[dict[str, tuple[Any, str, Any]]] = {
    "later": (writer, "transact_together", commit_later),
    "apart": (writer, "transact_together", audit_later),
    "lazy": (database, "open_writing", open_lazily),
    "shown late": (life, "_begin", show_late),
    "stale sum": (database, "void", leave_sum),
    "no sync": (World, "fsync", sync_nothing),
    "no names": (files, "sync_directory", sync_no_names),
    "signed out": (kept, "sync_directory", sync_no_names),
    "aside": (buoy_state, "_set_aside", move_aside),
    "in place": (files, "write_atomic", write_in_place),
    "one by one": (fleets, "move_apart", move_one_by_one),
    "at once": (Vault, "change_protection", change_at_once),
}


def run_child(fault: FaultFS, order: dict[str, Any], pipe: int) -> None:
    """Do the work of one attempt."""
    write = functools.partial(_REAL_WRITE, pipe)

    def say(**line: Any) -> None:
        write(json.dumps(line).encode() + b"\n")

    # A child that never ends is a finding, too.
    signal.alarm(60)
    if order["weak"] in WEAK:
        setattr(*WEAK[order["weak"]])
    if order["after"]:
        threading.Timer(order["after"], os.kill, (os.getpid(), signal.SIGKILL)).start()
    log = fault.note(Path(order["note"])) if order["note"] else None
    fault.fail_at(order["n"], Fate(order["fate"]), seed=order["seed"])

    def acknowledge(*what: Any) -> None:
        with fault.paused():
            say(acknowledged=[one() if callable(one) else one for one in what])
        if log is not None:
            log.said()

    WORKS[order["work"]](Path(order["state"]), acknowledge)
    if log is not None:
        fault.log = None
        Path(order["log"]).write_bytes(pickle.dumps(log.steps))
    say(points=fault.points, visited=sorted(fault.visited))
    # Without Python's own goodbye, which would wait for the timer.
    os._exit(0)


def serve() -> None:
    """Fork a child for each order on standard input."""
    # What children log of their faults is no news.
    logging.disable()
    fault = FaultFS()
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                run_child(fault, order, writing)
            finally:
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            lines = [json.loads(said) for said in pipe]
        _, status = os.waitpid(child, 0)
        points = [said["points"] for said in lines if "points" in said]
        acknowledged = [said["acknowledged"] for said in lines if "acknowledged" in said]
        answer = {
            "acknowledged": acknowledged,
            "finished": bool(points),
            "points": sum(points),
            "code": os.waitstatus_to_exitcode(status),
            "visited": [name for said in lines for name in said.get("visited", ())],
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


_REAL_WRITE: Final = os.write

if __name__ == "__main__":
    serve()
