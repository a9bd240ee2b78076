"""Row 66, for the fleet as a whole. Position: whoever reads what its programs say. Wants: any key, ticket or password.

The demo's story is told by real processes, all of which log everything they can, each library's DEBUG included. Then
each secret of helm, the nodes, the beacon and the devices is looked for in every log, in what commands print, in the
words and the environment that processes were started with, and in all that helm's API shows. One node of the two is a
weakened build, which logs what it derives: it is found out, and nobody else is.

Takes 25 s.
"""

from __future__ import annotations

import datetime
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import pytest
import trio

from pharos.caravel.profiles.store import ProfileStore
from pharos.demo import processes, story
from pharos.demo.processes import Crew, Daemon
from pharos.demo.site import open_site
from pharos.demo.steps import Steps
from pharos.demo.story import Story
from pharos.helm.ca.vault import RecoveryKit, Vault, open_vault
from pharos.helm.config import SOCKET_NAME
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.fleet import get_secret
from pharos.wire.agent import AgentKeys
from pharos.wire.ids import NodeId
from pharos.wire.pki.keys import key_from_der
from pharos.wire.pki.roles import Role
from pharos.wire.seal.realitykey import derive_reality_key
from pharos.wire.seal.ticket import TicketLink
from tests.attacks.test_a59_blind_helm import secrets_of as derived_secrets_of
from tests.attacks.test_a59_stolen_database import HELMS_OWN, scalar
from tests.attacks.test_a66_client_secrets import PAIRS, told

WEAK: Final = "buoy-b"
# What every daemon is started by here: whatever a library can log is logged as well.
EVERYTHING: Final = """
import logging, sys
from pharos.wire import daemon
plain = daemon.set_up_logging
def loud(*, verbose=False):
    plain(verbose=True)
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger().debug("everything is logged")
daemon.set_up_logging = loud
"""
# Weakened: a node that logs the preshared keys it derives.
CHATTY: Final = """
from pharos.wire.seal import blind
silent = blind.derive_both
def chatty(pairing, derive_key):
    both = silent(pairing, derive_key)
    logging.getLogger("pharos.buoy").debug("derived %s", both)
    return both
blind.derive_both = chatty
"""
MAIN: Final = "\nfrom pharos.cli import main\nmain(prog_name='pharos')\n"
SAYS_SECRETS: Final = (("helm", "init"), ("helm", "devices", "invite"))
"""Commands whose whole purpose is to print one."""


@attrs.define
class Heard:
    """All that was said, by who said it."""

    said: dict[str, bytes] = attrs.field(factory=dict)
    given: list[dict[str, Any]] = attrs.field(factory=list)
    """What the commands printed that are to print a secret."""

    def add(self, who: str, what: bytes) -> None:
        self.said[who] = self.said.get(who, b"") + b"\n" + what

    def leaks(self, secrets: Mapping[str, bytes]) -> set[tuple[str, str]]:
        """Return who said which secret, in whatever spelling."""
        wanted = {spelling: name for name, secret in secrets.items() for spelling in told(secret)}
        return {(who, name) for who, what in self.said.items() for text, name in wanted.items() if text in what}


class LoudDaemon(Daemon):
    """A daemon that logs all it can."""

    heard: Heard

    async def start(self) -> None:
        code = EVERYTHING + (CHATTY if self.name == WEAK else "") + MAIN
        with self._log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-c", code, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=processes._environment(),
            )
        place = Path("/proc") / str(self._process.pid)
        for name in ("cmdline", "environ"):
            self.heard.add(f"{name} of {self.name}", (place / name).read_bytes())


class LoudCrew(Crew):
    """Every daemon of the story, loud."""

    def __init__(self, folder: Path, heard: Heard) -> None:
        super().__init__(folder)
        self.logs = folder / "logs"
        self._heard = heard

    async def start(self, name: str, *arguments: str) -> Daemon:
        daemon = LoudDaemon(name, list(arguments), self.logs / f"{name}.log")
        daemon.heard = self._heard
        self._daemons.append(daemon)
        await daemon.start()
        return daemon


def overhear_commands(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the words and the output of each command of the story."""
    run, run_json = processes.run_command, processes.run_json

    def note(arguments: tuple[str, ...], output: bytes) -> None:
        heard.add("arguments", " ".join(arguments).encode())
        if not any(arguments[: len(words)] == words for words in SAYS_SECRETS):
            heard.add(f"output of {' '.join(arguments[:3])}", output)

    async def command(*arguments: str, stdin: str = "") -> str:
        output = await run(*arguments, stdin=stdin)
        note(arguments, output.encode())
        return output

    async def command_json(*arguments: str, stdin: str = "") -> Any:
        answer = await run_json(*arguments, stdin=stdin)
        note(arguments, repr(answer).encode())
        if any(arguments[: len(words)] == words for words in SAYS_SECRETS):
            heard.given.append(answer)
        return answer

    monkeypatch.setattr(story, "run_command", command)
    monkeypatch.setattr(story, "run_json", command_json)


async def helms_own(state: Path, kit: RecoveryKit) -> dict[str, bytes]:
    """What lies in helm's record, wrapped, and what unwraps it."""

    def read(db: Database, vault: Vault) -> dict[str, bytes]:
        found = {}
        for name in HELMS_OWN:
            version, wrapped = get_secret(db, name)
            secret = vault.unwrap(name, version, wrapped)
            found[name] = secret if len(secret) == 32 else scalar(key_from_der(secret))
        version, wrapped = get_secret(db, "root")
        root = key_from_der(kit.vault().unwrap("root", version, wrapped))
        return found | {"root": root.private_numbers().private_value.to_bytes(48, "big")}

    with open_store(state) as store:
        return await store.run(read, open_vault(state))


def members_own(folder: Path) -> dict[str, bytes]:
    """What nodes, beacon and devices made for themselves, and what they derive of it."""
    now, found = datetime.datetime.now(datetime.UTC), {}
    for name, role in (("buoy-a", Role.NODE), ("buoy-b", Role.NODE), ("beacon", Role.RELAY)):
        keys = AgentKeys(folder / name, role)
        member = keys.membership(now=now)
        found[f"TLS of {name}"] = scalar(member.credentials.key)
        if role is Role.NODE:
            found[f"tunnel key of {name}"] = keys.awg_key
            found[f"derive key of {name}"] = keys.derive_key.private_bytes()
            reality = derive_reality_key(
                keys.derive_key, fleet=member.identity.fleet, node=NodeId(member.identity.id), generation=1
            )
            found[f"REALITY of {name}"] = reality.private_bytes()
    for name in ("laptop", "phone"):
        store = ProfileStore(folder / name)
        own = store.enrolled().secrets
        found |= {f"{pair} key of {name}": getattr(own, pair).private_bytes() for pair in PAIRS}
        found |= {f"{what} of {name}": secret for what, secret in derived_secrets_of(store).items()}
        found[f"TLS of {name}"] = own.tls
    return found


async def overhear_helm(state: Path, heard: Heard) -> int:
    """Read everything that helm's API has to show to its operator; return how many answers were no error."""
    fine = 0
    transport = httpx.AsyncHTTPTransport(uds=str(state / SOCKET_NAME))
    async with httpx.AsyncClient(transport=transport, base_url="http://helm", timeout=30) as client:
        paths = (await client.get("/api/v1/openapi.json")).json()["paths"]
        for path, verbs in paths.items():
            if "get" not in verbs or "{" in path or path.endswith("/live"):
                continue
            answer = await client.get(path)
            fine += answer.is_success
            heard.add(f"API {path}", answer.content)
    return fine


@pytest.mark.journey
@pytest.mark.red_inside
async def test_a66_nothing_that_a_whole_fleet_says_has_a_secret_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    heard = Heard()
    overhear_commands(heard, monkeypatch)
    folder = tmp_path / "d"
    folder.mkdir(mode=0o700)
    steps = Steps(quiet=True)
    with trio.fail_after(240):
        async with open_site() as site:
            crew = LoudCrew(folder, heard)
            try:
                fleet = Story(folder, crew, steps, site)
                await fleet.tell()
                await fleet.restart_helm()
                assert await overhear_helm(folder / "helm", heard) > 30
            finally:
                with trio.CancelScope(shield=True):
                    await crew.stop()
    assert steps.ok
    made, *invitations = heard.given
    kit = RecoveryKit.parse(made["recovery_kit"])
    secrets = await helms_own(folder / "helm", kit) | members_own(folder)
    secrets |= {
        "data key": open_vault(folder / "helm")._key,
        "kit": kit._secret,
        "kit as printed": kit.printed().encode(),
    }
    tickets = [TicketLink.parse(answer["link"]) for answer in invitations]
    secrets |= {f"ticket {number}": ticket.secret for number, ticket in enumerate(tickets)}
    assert len(secrets) > 35
    for log in crew.logs.iterdir():
        heard.add(log.name, log.read_bytes())
    heard.add("the client", "\n".join([caplog.text, *(r.getMessage() for r in caplog.records)]).encode())
    loud = {who for who, what in heard.said.items() if b"everything is logged" in what}
    assert {f"{name}.log" for name in ("helm", "beacon", "buoy-a", "buoy-b")} <= loud
    leaks = heard.leaks(secrets)
    assert {who for who, _ in leaks} == {f"{WEAK}.log"}, leaks
    assert {name.rpartition(" of ")[0] for _, name in leaks} == {"PSK with b", "VLESS id with b"}
