"""A helm to test with: a fleet in real files, machines that ask to join it, and devices in its record."""

from __future__ import annotations

import datetime
import functools
import hashlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import sqlite_utils

from pharos.helm.accounts.devices import move_device
from pharos.helm.ca.authority import Authority, create_fleet, load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import RecoveryKit, Vault, create_vault, open_vault
from pharos.helm.context import HelmContext
from pharos.helm.live.board import Board, now_us
from pharos.helm.live.hub import Hub
from pharos.helm.model.devices import Device, DeviceAct, DeviceKeys
from pharos.helm.model.fleet import Posture
from pharos.helm.model.nodes import Node
from pharos.helm.model.relays import Relay
from pharos.helm.onboard.agents import NewNode, NewRelay, adopt_node, adopt_relay
from pharos.helm.store.changes import Act
from pharos.helm.store.database import CORE, Database, Store, open_store, transact
from pharos.helm.store.devices import add_device, get_device
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.helm.store.pools import take_addresses
from pharos.wire.agent import AgentGrant, AgentRequest
from pharos.wire.files import write_atomic
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import Role

STARTED_AT = 1_800_000_000_000_000


@attrs.frozen(kw_only=True)
class SampleHelm:
    """What a running helm has open, and the recovery kit, which no running helm has."""

    state: Path
    store: Store
    vault: Vault
    authority: Authority
    kit: RecoveryKit
    context: HelmContext


@asynccontextmanager
async def open_helm(state: Path, *, fresh: bool = False) -> AsyncIterator[SampleHelm]:
    """Lay a fleet down below ``state`` and open it: a copy of one that is made once per run, or a ``fresh`` one."""
    files, kit = make_fleet_files() if fresh else _fleet_files()
    for name, content in files.items():
        # What a helm that was here before knew of its databases is not true of these.
        (state / f"{name}.sum").unlink(missing_ok=True)
        write_atomic(state / name, content)
    with open_store(state) as store:
        vault = open_vault(state)
        authority = await store.run(load_authority, vault, now=now())
        hub = Hub()
        context = HelmContext(
            store=store,
            authorities=LiveAuthority(authority),
            vault=vault,
            board=Board(hub),
            hub=hub,
            started_at=STARTED_AT,
        )
        yield SampleHelm(state=state, store=store, vault=vault, authority=authority, kit=kit, context=context)


def make_fleet_files() -> tuple[dict[str, bytes], RecoveryKit]:
    """Make a fleet as `helm init` does; return what is then in its state directory, and the kit."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        vault, data_key = create_vault(state)
        core = sqlite3.connect(state / CORE, isolation_level=None)
        core.row_factory = sqlite3.Row
        core_migrations.apply(sqlite_utils.Database(core))
        kit = transact(core, create_fleet, vault, data_key, Posture.PERSONAL, now=now())
        core.close()
        return {path.name: path.read_bytes() for path in state.iterdir()}, kit


_fleet_files = functools.cache(make_fleet_files)


@contextmanager
def core_in_memory() -> Iterator[Database]:
    """An empty ``core.db``, migrated, in autocommit mode as the store's own."""
    with _in_memory() as db:
        core_migrations.apply(sqlite_utils.Database(db))
        yield db


@contextmanager
def telemetry_in_memory() -> Iterator[Database]:
    """An empty ``telemetry.db``."""
    with _in_memory() as db:
        telemetry_migrations.apply(sqlite_utils.Database(db))
        yield db


@contextmanager
def fleet_in_memory(number: int = 0) -> Iterator[tuple[Database, Authority]]:
    """A fleet that no file knows, for acts that are plain functions of the record; each number is another fleet."""
    content, authority = _fleet_as_bytes(number)
    with _in_memory() as db:
        db.deserialize(content)
        db.execute("PRAGMA foreign_keys = ON")
        yield db, authority


@functools.cache
def _fleet_as_bytes(_number: int) -> tuple[bytes, Authority]:
    with core_in_memory() as db:
        vault = Vault(bytes(32))
        create_fleet(db, vault, bytes(32), Posture.PERSONAL, now=now())
        return db.serialize(), load_authority(db, vault, now=now())


@contextmanager
def _in_memory() -> Iterator[Database]:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA foreign_keys = ON")
        db.row_factory = sqlite3.Row
        yield db
    finally:
        db.close()


def now() -> datetime.datetime:
    """The wall clock, for certificates are judged by it."""
    return datetime.datetime.now(datetime.UTC)


def sample_act(*, actor: str = "operator", at: int | None = None) -> Act:
    """Somebody's act, now unless said otherwise."""
    return Act(actor=actor, at=now_us() if at is None else at)


def node_request() -> AgentRequest:
    """A machine's request to become a node."""
    return AgentRequest(
        role=Role.NODE,
        csr=make_csr(generate_key()),
        awg_key=KeyPair.generate().public,
        derive_key=KeyPair.generate().public,
    )


def relay_request() -> AgentRequest:
    """A machine's request to become a relay."""
    return AgentRequest(role=Role.RELAY, csr=make_csr(generate_key()))


def new_node(name: str = "amsterdam", **changes: object) -> NewNode:
    """What an operator says of a node."""
    return attrs.evolve(NewNode(name=name, address="127.0.0.1", control_port=7443, awg_port=443), **changes)


def new_relay(name: str = "gate", **changes: object) -> NewRelay:
    """What an operator says of a relay."""
    return attrs.evolve(NewRelay(name=name, address="127.0.0.1", ingress_port=443, tunnel_port=7444), **changes)


def adopt_sample_node(
    db: Database,
    authority: Authority,
    name: str = "amsterdam",
    *,
    request: AgentRequest | None = None,
    **said: object,
) -> tuple[Node, AgentGrant]:
    """Bring a node into the fleet."""
    return adopt_node(db, sample_act(), authority, request or node_request(), new_node(name, **said))


def adopt_sample_relay(db: Database, authority: Authority, name: str = "gate") -> tuple[Relay, AgentGrant]:
    """Bring a relay into the fleet."""
    return adopt_relay(db, sample_act(), authority, relay_request(), new_relay(name))


def sample_keys(number: int) -> DeviceKeys:
    """Public keys of device ``number``: any 32 bytes will do for the record."""
    return DeviceKeys(
        **{name: hashlib.sha256(f"{name} {number}".encode()).digest() for name in ("sealing", "derive", "noise", "awg")}
    )


def enrol_sample_device(db: Database, number: int, name: str = "laptop", *, user_id: str | None = None) -> Device:
    """Put a device into the record as an enrolment does, certificate apart."""
    address4, address6 = take_addresses(db)
    keys = sample_keys(number)
    device = Device(
        id=DeviceId(f"00000000-0000-7000-8000-{number:012d}"),
        name=name,
        user_id=user_id,
        sealing_key=keys.sealing,
        derive_key=keys.derive,
        noise_key=keys.noise,
        awg_key=keys.awg,
        address4=address4,
        address6=address6,
    )
    added = add_device(db, device, Act(actor="device", at=STARTED_AT + number, via="passage"))
    next_revision(db, profiles=False)
    return added


def revoke_sample_device(db: Database, device_id: str) -> Device:
    """Revoke a device as it is now."""
    version = get_device(db, DeviceId(device_id)).version
    return move_device(db, sample_act(), device_id, version, DeviceAct.REVOKE)
