"""The life of a helm's record: every change that its operator can ask for, and those that it makes by itself.

Each is asked for as the operator's commands do, and is one transaction: after a crash it is there, or it is not.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import trio

from pharos.helm.accounts.claim import DeviceClaim, claim_ticket
from pharos.helm.audit.chain import Link, verify_rows
from pharos.helm.audit.checkpoints import sign_next
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import RecoveryKit, open_vault
from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError, ReadOnlyError
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.checks import CORE
from pharos.helm.store.database import Database, open_store
from pharos.helm.trust.rotation import advance
from pharos.helm.web.app import make_operator_app
from pharos.wire.files import write_atomic
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.seal.ticket import TicketLink
from tests.support.faultstories import Acknowledge, Story, View
from tests.support.helm import STARTED_AT, make_fleet_files, now, sample_act, sample_keys
from tests.support.http import asking
from tests.support.nouns import API, match, node_body, relay_body

PAGES: Final = 48
"""Of the log, after which SQLite copies it into the database: so small that it does so within the story."""
KIT: Final = "kit.txt"


@attrs.frozen
class Ask:
    """One request of the operator's."""

    method: str
    path: str
    """Below the API; ``{user}`` stands for the id of what was kept by that name."""
    body: Any = None
    keep: str = ""
    """By which name the answer is kept."""
    versioned: bool = False
    """Whether the version that is there has to be said."""
    version: int | None = None
    """Which one is said, where nobody can be asked for it."""


@attrs.frozen
class Act:
    """One change that helm makes by itself; ``do(store's database, told)``."""

    do: Callable[[Database, Told], object]


@attrs.define
class Told:
    """What was kept of answers, and what a running helm has."""

    context: HelmContext
    kit: RecoveryKit
    answers: dict[str, Any] = attrs.field(factory=dict)


def look_at_helm(state: Path) -> View:
    """Return what is in the record, whole: one digest of all its rows."""
    return {"record": digest_of(state / CORE)}


def digest_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return digest(db)


def digest(db: sqlite3.Connection) -> str:
    """Return a digest of all that a database says."""
    found = hashlib.sha256()
    tables = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    for (table,) in tables.fetchall():
        found.update(f"\n{table}\n".encode())
        rows = sorted(repr(tuple(row)) for row in db.execute(f'SELECT * FROM "{table}"'))
        found.update("\n".join(rows).encode())
    return found.hexdigest()[:16]


def prepare(state: Path) -> None:
    """Lay down a fleet as `helm init` makes it; its recovery kit lies in it, which no helm would do."""
    files, kit = _fleet()
    for name, content in files.items():
        write_atomic(state / name, content)
    write_atomic(state.parent / KIT, kit.printed().encode())


_fleet = functools.cache(make_fleet_files)


def check_record(state: Path) -> None:
    """See that a record is whole, and that its audit tells of it. Raises: AssertionError, AuditError."""
    with closing(sqlite3.connect(state / CORE)) as db:
        db.row_factory = sqlite3.Row
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        verify_rows(audit_rows(db, 0), Link())


def claim(db: Database, told: Told) -> None:
    link = TicketLink.parse(told.answers["ticket"]["link"])
    device, _ = claim_ticket(
        db,
        sample_act(),
        told.context.authority,
        DeviceClaim(
            ticket_id=link.ticket_id,
            proof=link.keys().proof,
            csr=make_csr(generate_key()),
            keys=sample_keys(77),
            device_name="",
        ),
    )
    told.answers["laptop"] = {"id": device.id}


def checkpoint(db: Database, told: Told) -> None:
    sign_next(db, told.context.authority, at=sample_act().at, everything=True)


def step_rotation(db: Database, told: Told) -> None:
    advance(db, told.context.vault, at=sample_act().at)


def steps() -> Iterator[Ask | Act]:
    """Give the changes, in an order in which each can be made."""
    tomorrow = now() + datetime.timedelta(days=1)
    yield Ask("POST", "/users", {"name": "grace"}, "user")
    yield Ask("PATCH", "/users/{user}", {"note": "compilers"}, versioned=True)
    yield Ask("POST", "/users/{user}/passphrase", {"passphrase": "four words in a row"})
    yield Ask("DELETE", "/users/{user}/passphrase")
    yield Ask("POST", "/groups", {"name": "engineers"}, "group")
    yield Ask("PATCH", "/groups/{group}", {"note": "all of them"}, versioned=True)
    yield Ask("POST", "/groups/{group}/join", {"user": "{user}"})
    yield Ask("POST", "/groups/{group}/leave", {"user": "{user}"})
    yield Ask("DELETE", "/groups/{group}", versioned=True)
    yield Ask("POST", "/import/users", {"csv": "name\nada\nalan\n", "dry_run": False})
    yield Ask("POST", "/nodes", node_body(), "node")
    yield Ask("PATCH", "/nodes/{node}", {"note": "first"}, versioned=True)
    yield Ask("POST", "/nodes/{node}/reissue", versioned=True)
    yield Ask(
        "POST", "/nodes/{node}/target", {"target": "192.0.2.9:443", "server_names": ["a.example"]}, versioned=True
    )
    for verb in ("drain", "resume", "disable", "enable"):
        yield Ask("POST", f"/nodes/{{node}}/{verb}", versioned=True)
    yield Ask("POST", "/relays", relay_body(), "relay")
    yield Ask("PATCH", "/relays/{relay}", {"note": "first"}, versioned=True)
    for verb in ("drain", "resume", "disable", "enable"):
        yield Ask("POST", f"/relays/{{relay}}/{verb}", versioned=True)
    yield Ask("POST", "/pools", {"name": "second", "network4": "10.90.0.0/16"}, "pool")
    yield Ask("PATCH", "/pools/{pool}", {"name": "other"}, versioned=True)
    yield Ask("POST", "/pools/{pool}/prefer", versioned=True)
    yield Ask("POST", "/pools", {"name": "third", "network4": "10.91.0.0/16"}, "spare")
    yield Ask("DELETE", "/pools/{spare}", versioned=True)
    yield Ask("POST", "/tickets", {"device_name": "laptop", "user": "{user}"}, "ticket")
    yield Act(claim)
    yield Ask("POST", "/tickets", {"device_name": "phone"}, "unused")
    yield Ask("POST", "/tickets/{unused}/withdraw", versioned=True)
    keys = {name: KeyPair.generate().public.hex() for name in ("sealing", "derive", "noise", "awg")}
    yield Ask("POST", "/devices", {"name": "tablet", "keys": keys}, "device")
    yield Ask("PATCH", "/devices/{device}", {"note": "small"}, versioned=True)
    for verb in ("disable", "enable"):
        yield Ask("POST", f"/devices/{{device}}/{verb}", versioned=True)
    yield Ask("POST", "/admins", {"name": "ada", "role": "owner"}, "admin")
    yield Ask("PATCH", "/admins/{admin}", {"name": "ada l"}, versioned=True)
    yield Ask("POST", "/admins/{admin}/link")
    yield Ask("POST", "/admins/{admin}/give-device", {"device": "{laptop}"}, versioned=True)
    yield Ask("POST", "/admins/{admin}/take-device", {"device": "{laptop}"}, versioned=True)
    yield Ask("POST", "/admins/{admin}/sign-out")
    yield Ask("POST", "/tokens", {"name": "script", "role": "viewer", "admin": "{admin}"}, "token")
    yield Ask("POST", "/tokens/{token}/revoke", versioned=True)
    yield Ask("POST", "/devices/{device}/revoke", versioned=True)
    yield Ask("PUT", "/settings/reality.targets", {"value": ["192.0.2.1:443 site.example"]}, version=0)
    yield Ask("DELETE", "/settings/reality.targets", version=1)
    yield Ask("POST", "/alert-targets", {"name": "pager", "url": "json://192.0.2.7/x"}, "target")
    yield Ask("PATCH", "/alert-targets/{target}", {"name": "bell"}, versioned=True)
    yield Ask("POST", "/alert-targets/{target}/move", {"url": "json://192.0.2.8/x"}, versioned=True)
    yield Ask("DELETE", "/alert-targets/{target}", versioned=True)
    yield Ask("POST", "/alert-mutes", {"kind": "node_down", "until": tomorrow.isoformat()}, "mute")
    yield Ask("DELETE", "/alert-mutes/{mute}", versioned=True)
    yield Ask("POST", "/sinks", {"name": "siem", "kind": "webhook", "url": "https://127.0.0.1:9/"}, "sink")
    yield Ask("POST", "/sinks/{sink}/set", {"name": "logs"}, versioned=True)
    for verb in ("disable", "enable"):
        yield Ask("POST", f"/sinks/{{sink}}/{verb}", versioned=True)
    yield Ask("DELETE", "/sinks/{sink}", versioned=True)
    yield Ask("PUT", "/oidc/secret", {"secret": "s" * 40})
    yield Ask("DELETE", "/oidc/secret")
    yield Ask("PUT", "/lock", {"key": "11" * 32})
    yield Ask("POST", "/profiles/reseal", {})
    yield Act(checkpoint)
    yield Ask("POST", "/ca/rotate", {"kit": "{kit}", "subjects": ["fleet_ca", "device_ca", "signing_key", "noise_key"]})
    yield Act(step_rotation)
    yield Ask("POST", "/relays/{relay}/revoke", versioned=True)
    yield Ask("DELETE", "/relays/{relay}", versioned=True)
    yield Ask("POST", "/nodes/{node}/revoke", versioned=True)
    yield Ask("DELETE", "/nodes/{node}", versioned=True)
    yield Ask("POST", "/devices/{laptop}/revoke", versioned=True)
    yield Ask("DELETE", "/users/{user}", versioned=True)
    yield Ask("POST", "/admins", {"name": "grace", "role": "owner"})
    yield Ask("DELETE", "/admins/{admin}", versioned=True)
    yield Act(checkpoint)


def tell_helm(state: Path, acknowledge: Acknowledge) -> None:
    """Do them all, in one helm."""
    trio.run(_tell, state, acknowledge)


async def _tell(state: Path, acknowledge: Acknowledge) -> None:
    look = functools.partial(look_at_helm, state)
    acknowledge(look)
    with open_store(state, retry_after=0) as store:
        await store.run(lambda db: db.execute(f"PRAGMA wal_autocheckpoint = {PAGES}").fetchall())
        vault, hub = open_vault(state), Hub()
        context = HelmContext(
            store=store,
            authorities=LiveAuthority(await store.run(load_authority, vault, now=now())),
            vault=vault,
            board=Board(hub),
            hub=hub,
            started_at=STARTED_AT,
        )
        told = Told(context, RecoveryKit.parse((state.parent / KIT).read_text()))
        async with asking(make_operator_app(context)) as client:
            for step in steps():
                await _do(step, told, client)
                acknowledge(look)


async def _do(step: Ask | Act, told: Told, client: httpx.AsyncClient) -> None:
    while isinstance(step, Act):
        # Who is told that it cannot be written tries again, as helm's own tasks do.
        with contextlib.suppress(BusyError, ReadOnlyError):
            await told.context.store.run(step.do, told)
            return
    assert isinstance(step, Ask)
    path = API + _filled(step.path, told)
    while True:
        headers = {}
        if step.versioned:
            record = path if step.method in ("PATCH", "DELETE") else path.rpartition("/")[0]
            headers = match((await client.get(record)).json()["version"])
        elif step.version is not None:
            headers = match(step.version)
        answer = await client.request(step.method, path, json=_filled(step.body, told), headers=headers)
        if answer.status_code == 503:
            continue
        if not answer.is_success:
            raise AssertionError(f"{step.method} {path}: {answer.status_code} {answer.text}")
        if step.keep:
            told.answers[step.keep] = answer.json()
        return


def _filled(value: Any, told: Told) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, told) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    ids = {"kit": told.kit.printed()} | {name: answer.get("id", "") for name, answer in told.answers.items()}
    return re.sub(r"\{([a-z]+)\}", lambda found: str(ids[found[1]]), value)


def helm_story() -> Story:
    """helm's, as it is judged; `tell_helm` does it."""
    return Story(look=look_at_helm, steps=[_told for _ in steps()])


def _told(_state: Path) -> None:
    raise AssertionError("a helm is told as a whole")
