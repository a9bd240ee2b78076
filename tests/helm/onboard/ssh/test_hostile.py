"""Attacks. Position: somebody on the path, or the machine itself. Wants: our commands, the operator's terminal, memory.

Each succeeds first against a build without its countermeasure.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import trio

from pharos.helm.onboard.errors import HostKeyChangedError, HostKeyError, RemoteAnswerError
from pharos.helm.onboard.ssh import HostKey, NobodyToAsk, SshKeys, open_remote, words
from pharos.wire.units import KIB, MIB
from tests.support.prompts import Person
from tests.support.sshd import Server, make_key, needs_sshd, running_sshd

pytestmark = needs_sshd

CLEAR = "\N{ESCAPE}]0;owned\a\N{ESCAPE}[2J"
LIES = f"""
== os-release
ID="debian{CLEAR}"
VERSION_ID=12
== arch
amd64{CLEAR}
== packages
pharos-buoy 1{CLEAR} installed{CLEAR}
== root
root
== listeners
tcp 01BB socket:[1]
== holders
socket:[1] nginx{CLEAR}
== locks
1 apt{CLEAR}
"""
# 20 lines of 16 KiB in a second: enough to see that there is no end, and no more.
ENDLESS = "while printf %016384d 0; do sleep 0.05; done"


async def facts_of(server: Server, state: SshKeys) -> str:
    with trio.fail_after(60):
        async with open_remote(server.destination, keys=state, prompts=Person(), program=server.program) as remote:
            return "".join(str(value) for value in words_of(remote.facts))


def words_of(facts: object) -> list[object]:
    values = [getattr(facts, name) for name in ("distribution", "release", "arch", "apt_lock")]
    for each in ("taken", "packages"):
        mapping = getattr(facts, each)
        values += [
            *mapping,
            *(word for value in mapping.values() for word in ([value] if type(value) is str else value)),
        ]
    return values


def keep_any_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: ssh goes on whatever key it meets, as many scripts tell it to."""
    common = words._common
    monkeypatch.setattr(words, "_common", lambda algorithms: {**common(algorithms), "StrictHostKeyChecking": "no"})


async def command_reaches(server: Server, state: SshKeys) -> None:
    async with open_remote(server.destination, keys=state, prompts=NobodyToAsk(), program=server.program) as remote:
        await remote.run("echo", "the operator's secret")


async def test_machine_with_another_key_gets_no_command_and_both_keys_are_named(
    tmp_path: Path, state: SshKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sshd"
    with running_sshd(folder) as server, trio.fail_after(60):
        port, before = server.port, server.fingerprint
        async with open_remote(server.destination, keys=state, prompts=Person(), program=server.program):
            pass
    make_key(folder / "host")
    # Whoever stands there takes every key, and every command.
    with running_sshd(folder, "LogLevel DEBUG1", port=port) as enemy, trio.fail_after(60):
        with monkeypatch.context() as weakened:
            keep_any_key(weakened)
            await command_reaches(enemy, state)
    assert "userauth-request" in enemy.log

    with running_sshd(folder, "LogLevel DEBUG1", port=port) as enemy, trio.fail_after(60):
        with pytest.raises(HostKeyChangedError) as caught:
            await command_reaches(enemy, state)
        # Not even somebody who says yes to everything gets there.
        with pytest.raises(HostKeyChangedError):
            async with open_remote(enemy.destination, keys=state, prompts=Person(), program=enemy.program):
                raise AssertionError("it got in")
        error = caught.value
        assert (error.pinned, error.found) == (before, enemy.fingerprint)
        assert before in str(error)
        assert enemy.fingerprint in str(error)
    assert "kex" in enemy.log
    assert "userauth" not in enemy.log

    # What the sentence says to do is what helps.
    remedy = re.search(r"run: (ssh-keygen .*)$", str(error))
    assert remedy is not None
    await trio.run_process(shlex.split(remedy[1]), capture_stdout=True, capture_stderr=True)
    with running_sshd(folder, port=port) as server:
        person = Person()
        async with open_remote(server.destination, keys=state, prompts=person, program=server.program):
            assert person.shown == [server.fingerprint]


@pytest.mark.system
async def test_key_of_another_kind_is_another_key(tmp_path: Path, state: SshKeys) -> None:
    folder = tmp_path / "sshd"
    with running_sshd(folder) as server, trio.fail_after(60):
        port, before = server.port, server.fingerprint
        async with open_remote(server.destination, keys=state, prompts=Person(), program=server.program):
            pass
    make_key(folder / "host", "ecdsa")
    with running_sshd(folder, port=port) as enemy, trio.fail_after(60):
        with pytest.raises(HostKeyChangedError) as caught:
            await command_reaches(enemy, state)
        assert (caught.value.pinned, caught.value.found) == (before, enemy.fingerprint)


async def test_two_who_meet_different_keys_at_once_do_not_both_get_in(tmp_path: Path, state: SshKeys) -> None:
    class Slow(Person):
        async def confirm_host_key(self, *_: object) -> bool:
            # Meanwhile somebody else has confirmed another.
            kind, encoded = make_key(tmp_path / "other").split()[:2]
            other = HostKey.parse(kind, encoded)
            state.pins.add(f"[127.0.0.1]:{server.port}", other)
            return True

    with running_sshd(tmp_path / "sshd") as server, trio.fail_after(60):
        with pytest.raises(HostKeyError, match=r"another host key .* was pinned just now"):
            async with open_remote(server.destination, keys=state, prompts=Slow(), program=server.program):
                raise AssertionError("it got in")


async def test_what_a_machine_says_of_itself_moves_no_cursor(
    tmp_path: Path, state: SshKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies = tmp_path / "lies"
    lies.write_text(LIES)
    with running_sshd(tmp_path / "sshd", f"ForceCommand cat {lies}") as server:
        with monkeypatch.context() as weakened:
            weakened.setattr("pharos.helm.onboard.ssh.facts.plain", lambda text, _limit: text)
            assert (await facts_of(server, state)).count(CLEAR) == 6
        said = await facts_of(server, state)
    assert said.isprintable()
    assert "debian�]0;owned" in said


async def test_machine_that_answers_for_ever_is_not_listened_to_for_ever(
    tmp_path: Path, state: SshKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_sshd(tmp_path / "sshd", f"ForceCommand {ENDLESS}") as server:
        with monkeypatch.context() as weakened:
            weakened.setattr("pharos.helm.onboard.ssh.process.MAX_OUTPUT", 1024 * MIB)
            with trio.move_on_after(2) as patience:
                await facts_of(server, state)
            assert patience.cancelled_caught, "it is listened to for as long as it speaks"
        monkeypatch.setattr("pharos.helm.onboard.ssh.process.MAX_OUTPUT", 64 * KIB)
        with pytest.raises(RemoteAnswerError, match="answers without end"):
            await facts_of(server, state)


@pytest.mark.system
async def test_login_banner_and_endless_complaints_reach_nobody(tmp_path: Path, state: SshKeys) -> None:
    banner = tmp_path / "banner"
    banner.write_text(CLEAR * 1000)
    with running_sshd(tmp_path / "sshd", f"Banner {banner}") as server:
        (server.folder / "authorized").write_text("")
        with pytest.raises(Exception, match="lets nobody in") as caught:
            await facts_of(server, state)
    assert str(caught.value).isprintable()
    assert "owned" not in str(caught.value)
