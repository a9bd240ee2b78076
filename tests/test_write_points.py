"""Every write point is visited: what changes files is cut short by some rehearsal, or is named here with the reason.

Whoever writes a new writer lets a story of ``tests/support`` do it (docs/guide/faults.md). It costs 15 s.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pharos.helm.web.app import make_operator_app
from tests.support import devices, devicestory, helmfiles, helmstory
from tests.support.crashing import in_memory
from tests.support.faultfs import Rehearsal, rehearsing
from tests.support.helm import fleet_in_memory, open_helm
from tests.support.nouns import API
from tests.support.writers import writers, writers_in

NO_FILE = "it replaces or saves something in memory, or writes to a socket, a pipe or a switch of the kernel"
ANEW = "it is made anew at each start out of what is kept, in a directory that no reboot outlives"
FOR_A_PERSON = "it writes what a person has asked for and is told of; they ask again"
ELSEWHERE = {
    **dict.fromkeys(
        [
            "buoy/netkernel.py write_switch",
            "buoy/node.py Node._drop_denied",
            "buoy/node.py Node._save_usage",
            "buoy/node.py Node.push",
            "buoy/xray/runner.py ChildRunner.run",
            "caravel/cli/login.py rename.act",
            "caravel/system/kernel.py write_switch",
            "caravel/tunnel/userns_child.py _enter_namespaces",
            "caravel/tunnel/userns_child.py _make_tun",
            "helm/relay/identity.py _Fresh.save",
            "helm/trust/renewals.py run_own_renewal",
            "helm/trust/rotation.py run_rotation",
            "helm/web/app.py serve_operator",
            "wire/awg/netstack/stack.py Netstack.path_changed",
            "wire/awg/netstack/tcpstream.py NetstackStream._flush",
            "wire/awg/process.py _leave_terminal",
            "wire/localsocket.py listen_local",
            "wire/pki/secretfd.py pipe_path",
        ],
        NO_FILE,
    ),
    **dict.fromkeys(
        [
            "buoy/render.py write_awg",
            "buoy/render.py write_xray",
            "buoy/xray/files.py discard_config",
            "buoy/xray/files.py keep_config",
            "buoy/xray/files.py write_candidate",
            "buoy/xray/observe.py make_pipe",
            "helm/onboard/ssh/asking.py write_askpass",
            "helm/onboard/ssh/runtime.py open_runtime",
        ],
        ANEW,
    ),
    **dict.fromkeys(
        [
            "caravel/cli/exports.py _write",
            "caravel/cli/open.py _register",
            "caravel/cli/up.py _spawn",
            "helm/cli/browsers.py certificate",
            "helm/cli/export.py export",
            "helm/cli/imports.py users",
            "helm/cli/qrcodes.py save_qr",
            "helm/cli/ticketfiles.py save_ticket",
        ],
        FOR_A_PERSON,
    ),
    **dict.fromkeys(
        ["demo/processes.py Crew.__init__", "demo/processes.py Daemon.start", "demo/story.py Story._enrol_node"],
        "a demonstration begins anew",
    ),
    "buoy/netpolicy.py NetworkKeeper._save": "it needs a kernel's tables: tests/system/test_netpolicy.py",
    "buoy/netpolicy.py NetworkKeeper.remove": "it needs a kernel's tables: tests/system/test_netpolicy.py",
    "caravel/cli/admin.py login.keep": "it hands over to KeptSignIn.save, which is visited",
    "caravel/sources/enrolment.py _remove": "of keys that nobody was shown; tests/caravel/test_sources.py",
    "caravel/system/unit.py install": "it needs systemd: tests/system/test_caravel_unit.py",
    "caravel/system/unit.py _forget": "it needs systemd: tests/system/test_caravel_unit.py",
    "wire/world.py World.truncate": "it takes back a write that failed: tests/buoy/test_state.py",
    "helm/ca/providers.py wrap_systemd": "it needs systemd-creds; the file is written as for a passphrase",
}
"""What no rehearsal visits, and why that is no loss."""


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """In which functions the rehearsals write."""
    found: set[str] = set()
    with rehearsing() as rehearsal, in_memory(tmp_path_factory.mktemp("works")) as folder:
        for number, (work, prepare) in enumerate(_works(folder)):
            state = folder / str(number) / "state"
            state.mkdir(mode=0o700, parents=True)
            prepare(state)
            found |= _visited(rehearsal, work, state)
    return frozenset(found)


def _visited(rehearsal: Rehearsal, work: str, state: Path) -> set[str]:
    attempt = rehearsal.attempt(work, state)
    assert attempt.finished, work
    return set(attempt.visited)


def _works(folder: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    with fleet_in_memory() as (_, authority):
        devices.lay_down(folder / "original", authority)
    lay_device = devicestory.prepare(folder / "original")

    def in_the_clear(state: Path) -> None:
        lay_device(state)
        devices.unseal(state)

    yield "node", _nothing
    yield "relay", _nothing
    yield "device", lay_device
    yield "seal", in_the_clear
    yield "helm", helmstory.prepare
    yield "helm files", helmstory.prepare
    yield "revert", helmfiles.prepare_newer


def _nothing(_state: Path) -> None:
    """Begin with an empty directory."""


def test_every_write_point_is_visited(visited: frozenset[str]) -> None:
    forgotten = writers() - visited - ELSEWHERE.keys()
    assert sorted(forgotten) == [], "let a story do it (docs/guide/faults.md), or say here why not"


def test_what_is_named_here_is_there_and_not_visited(visited: frozenset[str]) -> None:
    assert sorted(ELSEWHERE.keys() - writers()) == []
    assert sorted(ELSEWHERE.keys() & visited) == []


def test_tests_that_are_named_here_are_there() -> None:
    reasons = " ".join({**ELSEWHERE, **NO_CHANGE, **NOT_TOLD}.values())
    named = set(re.findall(r"tests/[a-z_/]+\.py", reasons))
    assert named
    assert sorted(name for name in named if not (Path(__file__).parents[1] / name).exists()) == []


NEW_WRITER = """
class Notes:
    def keep(self):
        this_world().replace(a, b)
    def read(self):
        return text.replace("a", "b") or self.path.read_bytes()
async def log(path):
    with path.open("ab") as file:
        file.write(b"")
"""


def test_new_writer_is_found_turns_red() -> None:
    """The proof that the test above can fail."""
    assert set(writers_in(ast.parse(NEW_WRITER))) == {"Notes.keep", "log"}


NO_CHANGE = {
    "/alert-targets/<target_id>/test": "it sends a message",
    "/nodes/<record_id>/log-level": "it is the node that changes",
    "/nodes/<record_id>/policy/preview": "it shows what would be",
    "/nodes/<record_id>/push": "it wakes a link",
    "/nodes/<record_id>/restart": "it is the node that changes",
    "/nodes/<record_id>/see": "it asks the node",
    "/nodes/check-target": "it asks a site",
    "/oidc/test": "it asks a provider",
    "/relays/<record_id>/see": "it asks the relay",
    "/sessions/<session_id>/end": "it is the node that changes",
    "/sinks/<sink_id>/test": "it sends a record",
    "/logins/<code>/confirm": "logins wait in memory: tests/helm/web/test_logins.py",
    "/upgrades": "each step is of the machine: tests/system/test_upgrading.py",
    "/upgrades/<run_id>/stop": "each step is of the machine: tests/system/test_upgrading.py",
    "/onboardings": "each step is of the machine: tests/helm/web/test_onboard.py",
    "/onboardings/<record_id>/answer": "each step is of the machine: tests/helm/web/test_onboard.py",
    "/onboardings/<record_id>/confirm": "each step is of the machine: tests/helm/web/test_onboard.py",
    "/onboardings/<record_id>/stop": "each step is of the machine: tests/helm/web/test_onboard.py",
    "/onboardings/<record_id>/undo": "each step is of the machine: tests/helm/web/test_onboard.py",
    "/backups": "the record does not change; tests/helm/backup/test_crashes.py",
}
"""Routes after which the record is what it was, or that need a machine."""
NOT_TOLD = {
    "/adoptions/<record_id>/adopt": "one transaction of a restored helm: tests/helm/backup/test_adoption.py",
    "/adoptions/<record_id>/refuse": "one transaction of a restored helm: tests/helm/backup/test_adoption.py",
    "/admins/<admin_id>/certificates": "one transaction: tests/helm/web/test_browsers.py",
    "/admins/<admin_id>/certificates/<fingerprint>": "one transaction: tests/helm/web/test_browsers.py",
    "/admins/<admin_id>/passkeys/<passkey_id>": "one transaction: tests/helm/web/test_passkeys.py",
    "/admins/<admin_id>/sessions/<session_id>": "one transaction: tests/helm/web/test_session.py",
    "/alerts/<record_id>/acknowledge": "one transaction: tests/helm/alerts/test_watch.py",
    "/alerts/<record_id>/reopen": "one transaction: tests/helm/alerts/test_watch.py",
    "/alerts/<record_id>/resolve": "one transaction: tests/helm/alerts/test_watch.py",
    "/lock/signatures": "one transaction: tests/helm/web/test_lock.py",
    "/nodes/<record_id>/readopt": "one transaction: tests/helm/onboard/test_readopt.py",
    "/relays/<record_id>/readopt": "one transaction: tests/helm/onboard/test_readopt.py",
}
"""Changes that take more than an operator and a record; each is one call of `acting`."""


async def test_helm_is_told_every_change_that_there_is(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        app = make_operator_app(helm.context)
        there = {
            (method, rule.rule.removeprefix(API))
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
        }
        told = set()
        adapter = app.url_map.bind("helm")
        for step in helmstory.steps():
            if isinstance(step, helmstory.Ask):
                endpoint, _ = adapter.match(API + step.path, method=step.method)
                told |= {(step.method, rule.rule.removeprefix(API)) for rule in app.url_map.iter_rules(endpoint)}
    left = {(method, path) for method, path in there - told if path not in NO_CHANGE | NOT_TOLD}
    assert sorted(left) == [], "let tests/support/helmstory.py ask for it"
    assert sorted((NO_CHANGE | NOT_TOLD).keys() - {path for _, path in there}) == []
