"""`helm nodes add user@host` and its like as commands: what they print, where they stop, and how they end."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pharos.helm.cli import joining, main
from pharos.helm.onboard.errors import HostKeyChangedError
from pharos.helm.onboard.join import parts
from pharos.helm.onboard.join.desk import RestDesk, Seen
from pharos.helm.onboard.join.parts import Part
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.helm import relay_request
from tests.support.sandbox import Sandbox, make_deb

MACHINE = "root@127.0.0.1"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A machine that every command reaches."""
    (tmp_path / "debs").mkdir()
    monkeypatch.setattr("pharos.helm.onboard.debs.CARRIED", tmp_path / "debs")
    for part in Part:
        make_deb(tmp_path / "debs", part.agent.package)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    monkeypatch.setitem(parts.DEFAULT_PORTS, "tunnel_port", ports[0])
    monkeypatch.setitem(parts.DEFAULT_PORTS, "ingress_port", ports[1])
    made = Sandbox(tmp_path / "machine", ports={"pharos-beacon": tuple(ports)})

    async def see(_desk: RestDesk, _part: Part, _member_id: str) -> Seen:
        return Seen(version="0.1.0", ordered=True)

    monkeypatch.setattr(RestDesk, "see", see)
    monkeypatch.setattr(joining, "opener", lambda *_arguments, **_options: made.open)
    yield made
    made.close()


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def test_relay_is_rehearsed_added_and_readopted_by_the_way_it_joined(state: Path, box: Sandbox) -> None:
    add = ("relays", "add", MACHINE, "--name", "gate", "--state", state)
    result = invoke(main, *add, "--dry-run")
    assert (result.exit_code, "install pharos-beacon 0.1.0" in result.output) == (0, True)
    assert box.left == []
    # Each step is a line.
    result = invoke(main, *add)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["connect", "look", "upload"]
    assert lines[-1].strip().startswith("it belongs to the fleet: relay ")
    (relay,) = invoke_json(main, "relays", "list", "--state", state)
    assert (relay["name"], relay["ssh_destination"]) == ("gate", MACHINE)
    # With --json each event is one.
    told = events(invoke(main, "relays", "readopt", "gate", "--state", state, "--json").stdout)
    assert told[-1] == {"event": "joined", "members": {"relays": relay["id"]}, "seconds": told[-1]["seconds"]}
    assert "gate is certified anew" in [event.get("says") for event in told]


def test_failure_says_what_to_do_and_undo_takes_it_back(state: Path, box: Sandbox) -> None:
    box.fails = lambda argv: "nobody starts this" if "restart" in argv else None
    result = invoke(main, "relays", "add", MACHINE, "--name", "gate", "--state", state)
    assert result.exit_code == Exit.FAILED
    assert "journalctl -u pharos-beacon" in result.output
    result = invoke(main, "relays", "undo", MACHINE, "--state", state)
    assert (result.exit_code, "all of it is undone" in result.output) == (0, True)
    assert (box.left, invoke_json(main, "relays", "list", "--state", state)) == ([], [])
    result = invoke(main, "relays", "undo", MACHINE, "--state", state)
    assert (result.exit_code, "helm relays revoke NAME" in result.output) == (Exit.CONFLICT, True)


@pytest.mark.parametrize(("answer", "members"), [("n\n", ["gate"]), ("y\n", [])])
def test_ctrl_c_at_a_terminal_asks_whether_to_undo(
    state: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: str, members: list[str]
) -> None:
    monkeypatch.setattr(joining, "at_terminal", lambda: True)

    def interrupt(argv: tuple[str, ...]) -> str | None:
        if "restart" in argv:
            raise KeyboardInterrupt
        return None

    box.fails = interrupt
    result = invoke(main, "relays", "add", MACHINE, "--name", "gate", "--state", state, stdin=answer)
    assert (result.exit_code, "all of it is undone" in result.output) == ((0, True) if not members else (1, False))
    assert ("To take it back: helm relays undo root@127.0.0.1" in result.output) is bool(members)
    assert [relay["name"] for relay in invoke_json(main, "relays", "list", "--state", state)] == members
    assert (box.left == []) is not bool(members)


def test_connection_that_breaks_and_a_wrong_host_key_have_exit_codes_of_their_own(
    state: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.cut_after = 3
    assert invoke(main, "relays", "add", MACHINE, "--state", state).exit_code == Exit.UNREACHABLE

    def changed() -> None:
        raise HostKeyChangedError(MACHINE, pinned="SHA256:a", found="SHA256:b", remedy="ssh-keygen -R")

    monkeypatch.setattr(joining, "opener", lambda *_arguments, **_options: changed)
    result = invoke(main, "relays", "add", MACHINE, "--state", state)
    assert (result.exit_code, "SHA256:a was pinned" in result.output) == (Exit.REFUSED, True)


def test_member_of_which_nobody_knows_the_way_is_readopted_by_file_or_by_name(state: Path) -> None:
    where = ("--address", "gate.example", "--name", "gate")
    invoke(main, "relays", "admit", "--state", state, "--request", "-", *where, stdin=relay_request().render())
    result = invoke(main, "relays", "readopt", "gate", "--state", state)
    assert (result.exit_code, "readopt gate root@HOST" in result.output) == (Exit.USAGE, True)
    result = invoke(main, "relays", "readopt", "gate", "root@h", "--request", "-", "--state", state, stdin="{}")
    assert result.exit_code == Exit.USAGE


@pytest.mark.parametrize("destination", ["-oProxyCommand=sh", "a b", "root@", "host:0", "root@host:99999", "a\nb"])
def test_destination_that_is_none_is_refused(tmp_path: Path, destination: str) -> None:
    result = invoke(main, "nodes", "add", "--state", tmp_path, "--", destination)
    assert (result.exit_code, "is not [user@]host[:port]" in result.output) == (Exit.FAILED, True)


def test_ssh_key_is_made_once_and_shown(state: Path) -> None:
    first = invoke(main, "ssh-key", "--state", state).output
    assert first.startswith("ssh-ed25519 ")
    assert invoke_json(main, "ssh-key", "--state", state)["public_key"] == first.strip()
