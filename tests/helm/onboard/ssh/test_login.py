"""Who gets in, with which key, and what a person sees of it: against a real OpenSSH server."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pharos.helm.onboard.errors import (
    ConnectionLostError,
    HostKeyError,
    LoginRefusedError,
    OnboardError,
    SshMissingError,
)
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh import NobodyToAsk, SshKeys, open_remote
from tests.support.prompts import Person
from tests.support.sshd import Server, needs_sshd, running_sshd

pytestmark = needs_sshd

OTHER = "SHA256:" + "A" * 43


async def greet(
    server: Server, state: SshKeys, person: Person | NobodyToAsk, *, given: str | None = None
) -> tuple[bytes, str]:
    with trio.fail_after(60):
        async with open_remote(
            server.destination, keys=state, prompts=person, host_key=given, program=server.program
        ) as remote:
            return await remote.run("echo", "ahoy"), remote.host_key


async def test_first_key_is_shown_and_pinned_and_nobody_is_asked_again(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        person = Person()
        assert await greet(server, state, person) == (b"ahoy\n", server.fingerprint)
        assert person.shown == [server.fingerprint]
        assert [key.fingerprint for key in state.pins.of(f"[127.0.0.1]:{server.port}")] == [server.fingerprint]
        assert await greet(server, state, NobodyToAsk()) == (b"ahoy\n", server.fingerprint)
    assert person.asked == []


@pytest.mark.parametrize("person", [Person(confirms=False), NobodyToAsk()])
async def test_machine_whose_key_nobody_confirms_learns_nothing(
    tmp_path: Path, state: SshKeys, person: Person | NobodyToAsk
) -> None:
    with running_sshd(tmp_path / "sshd", "LogLevel DEBUG1") as server:
        with pytest.raises(HostKeyError, match="nobody confirmed") as caught:
            await greet(server, state, person)
        assert server.fingerprint in str(caught.value)
    assert not state.pins.path.exists()
    # The server would tell of a user who asks, whatever comes of it (debug1: userauth-request for user …).
    assert "kex" in server.log
    assert "userauth" not in server.log


async def test_key_that_was_given_beforehand_is_taken_if_it_is_the_same(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        person = Person()
        with pytest.raises(HostKeyError, match="another machine"):
            await greet(server, state, person, given=OTHER)
        assert not state.pins.path.exists()
        await greet(server, state, person, given=server.fingerprint)
        with pytest.raises(HostKeyError, match="was pinned with"):
            await greet(server, state, person, given=OTHER)
    assert (person.shown, person.asked) == ([], [])


@pytest.mark.system
async def test_helms_own_key_opens_beside_those_of_the_operator(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        (server.folder / "authorized").write_text(state.make())
        server.client(f"IdentityFile {server.key}")
        assert (await greet(server, state, Person()))[0] == b"ahoy\n"
        (server.folder / "authorized").write_text(server.key.with_suffix(".pub").read_text())
        assert (await greet(server, state, Person()))[0] == b"ahoy\n"


async def test_passphrase_of_a_key_is_asked_for_and_not_shown(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        # One round of the hash that makes guessing slow: nobody guesses here.
        await trio.run_process(["ssh-keygen", "-q", "-p", "-a", "1", "-N", "open sesame", "-f", str(server.key)])
        person = Person(knows=["wrong", "open sesame"])
        assert (await greet(server, state, person))[0] == b"ahoy\n"
        assert [(str(server.key) in question, hidden) for question, hidden in person.asked] == [(True, True)] * 2
        with pytest.raises(LoginRefusedError, match=r"nobody answered what ssh asked .*passphrase"):
            await greet(server, state, Person())
        with pytest.raises(LoginRefusedError, match="lets nobody in"):
            await greet(server, state, NobodyToAsk())


async def test_user_without_a_key_is_told_how_to_see_for_himself(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        (server.folder / "authorized").write_text("")
        with pytest.raises(LoginRefusedError, match=rf"it takes: publickey.*: ssh -p {server.port} "):
            await greet(server, state, Person())


@pytest.mark.system
async def test_way_through_a_jump_host_is_that_of_the_operators_configuration(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "jump") as jump, running_sshd(tmp_path / "sshd") as server:
        server.client(
            "Host behind",
            f"  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump outpost\n  IdentityFile {server.key}",
            "Host outpost",
            f"  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {jump.key}",
            f"  UserKnownHostsFile {tmp_path}/mine\n  GlobalKnownHostsFile none",
            "Host *",
        )
        person = Person(knows=["yes"])
        async with open_remote(
            Destination(host="behind"), keys=state, prompts=person, program=server.program
        ) as remote:
            assert await remote.run("echo", "ahoy") == b"ahoy\n"
        (asked,) = person.asked
        assert jump.fingerprint in asked[0]
        assert asked[1] is False
        assert person.shown == [server.fingerprint]
        # The jump host is the operator's business, in his own file; helm pins the machine.
        assert f"127.0.0.1]:{jump.port}" in (tmp_path / "mine").read_text()
        assert [line.split()[0] for line in state.pins.path.read_text().splitlines()] == [f"[127.0.0.1]:{server.port}"]


@pytest.mark.system
async def test_jump_host_that_is_not_confirmed_is_named_as_such(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        server.client(
            f"Host behind\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump outpost\nHost outpost",
            f"  HostName 127.0.0.1\n  Port {server.port}\n  UserKnownHostsFile none",
            "  GlobalKnownHostsFile none\nHost *",
        )
        with pytest.raises(HostKeyError, match="a host on the way to behind"):
            async with open_remote(
                Destination(host="behind"), keys=state, prompts=NobodyToAsk(), program=server.program
            ):
                raise AssertionError("it got in")


@pytest.mark.system
async def test_settings_of_the_operator_that_would_lead_elsewhere_are_set_aside(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        server.client(
            f"IdentityFile {server.key}\nRequestTTY force\nRemoteCommand touch {tmp_path}/mine\nControlMaster auto",
            f"ControlPath {tmp_path}/ctl\nControlPersist 1h\nLocalForward {tmp_path}/fwd 127.0.0.1:1\nLogLevel QUIET",
            f"PermitLocalCommand yes\nLocalCommand touch {tmp_path}/local\nSessionType subsystem\nStdinNull yes",
        )
        assert (await greet(server, state, Person()))[0] == b"ahoy\n"
    assert not [each for each in ("mine", "ctl", "fwd", "local") if (tmp_path / each).exists()]


async def test_machine_that_does_not_answer_is_away(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        pass
    with pytest.raises(ConnectionLostError, match=r"cannot be reached by ssh.*Connection refused"):
        await greet(server, state, Person())


async def test_missing_ssh_is_one_clear_line(state: SshKeys) -> None:
    with pytest.raises(SshMissingError, match="apt install openssh-client"):
        async with open_remote(Destination(host="127.0.0.1"), keys=state, prompts=Person(), program=("no-such-ssh",)):
            raise AssertionError("it got in")


async def test_configuration_that_ssh_does_not_take_is_quoted(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        server.client("Nonsense yes")
        with pytest.raises(OnboardError, match="Bad configuration option: nonsense"):
            await greet(server, state, Person())
