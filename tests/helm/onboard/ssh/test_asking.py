"""A person may take his time; a server may not."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from trio.testing import MockClock

from pharos.helm.onboard.ssh.asking import MAX_ASKED, MAX_QUESTION, serve_questions, without_hurry, write_askpass
from pharos.helm.onboard.ssh.words import Runtime
from pharos.wire.tasks import open_background
from tests.support.prompts import Person


async def test_time_that_a_person_takes_is_not_counted(autojump_clock: MockClock) -> None:
    async def ask() -> str:
        await trio.sleep(3600)
        return "open sesame"

    with trio.move_on_after(45) as hurry:
        await trio.sleep(40)
        assert await without_hurry(hurry, trio.Lock(), ask) == "open sesame"
        assert hurry.deadline == trio.current_time() + 5
        await trio.sleep(6)
    assert hurry.cancelled_caught


async def test_two_questions_come_one_after_the_other(autojump_clock: MockClock) -> None:
    turn, asked = trio.Lock(), list[float]()

    async def ask() -> None:
        asked.append(trio.current_time())
        await trio.sleep(10)

    begun = trio.current_time()
    with trio.move_on_after(5) as hurry:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(without_hurry, hurry, turn, ask)
            nursery.start_soon(without_hurry, hurry, turn, ask)
    assert [each - begun for each in asked] == [0, 10]
    assert not hurry.cancelled_caught


@asynccontextmanager
async def asking(person: Person, unanswered: list[str]) -> AsyncIterator[dict[str, str]]:
    """Serve questions as for one connection, and yield the environment of its ssh."""
    with tempfile.TemporaryDirectory(prefix="asking-") as folder, trio.CancelScope() as hurry:
        runtime = Runtime(folder=Path(folder))
        serve = functools.partial(serve_questions, runtime, person, hurry, unanswered.append)
        async with open_background(serve):
            yield write_askpass(runtime)


async def ask(environment: dict[str, str], question: str, kind: str = "") -> subprocess.CompletedProcess[bytes]:
    """Do as ssh does."""
    return await trio.run_process(
        [environment["SSH_ASKPASS"], question],
        env={**environment, "SSH_ASKPASS_PROMPT": kind},
        capture_stdout=True,
        check=False,
    )


async def test_answer_reaches_ssh_and_a_question_without_one_fails() -> None:
    person, unanswered = Person(knows=["it's a \" $(secret)", "yes"]), list[str]()
    async with asking(person, unanswered) as environment:
        assert (await ask(environment, "ada@web1's password: ")).stdout == b"it's a \" $(secret)\n"
        assert (await ask(environment, "Are you sure (yes/no/[fingerprint])? ")).stdout == b"yes\n"
        none = await ask(environment, "Enter PIN for ED25519-SK key:")
        assert (none.returncode, none.stdout) == (1, b"")
    assert [hidden for _, hidden in person.asked] == [True, False, True]
    assert unanswered == ["Enter PIN for ED25519-SK key:"]


async def test_question_that_a_server_words_moves_no_cursor() -> None:
    person = Person(knows=["one", "two"])
    async with asking(person, []) as environment:
        await ask(environment, "(ada@web1) \x1b[2J\x1b]0;owned\aPassword:\r\nAgain:")
        await ask(environment, "?" * (MAX_QUESTION + 1))
    assert person.asked[0][0] == "(ada@web1) �[2J�]0;owned�Password:; Again:"
    assert person.asked[1][0] == ""


async def test_what_a_security_key_waits_for_is_told_until_it_has_happened() -> None:
    person = Person()
    async with asking(person, []) as environment:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, environment, "Confirm user presence for key ED25519-SK", "none")
            while not person.told:  # noqa: ASYNC110 -- another program asks
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert person.told == ["Confirm user presence for key ED25519-SK"]


async def test_server_that_asks_without_end_is_given_up() -> None:
    unanswered = list[str]()
    async with asking(Person(knows=["no"] * 2 * MAX_ASKED), unanswered) as environment:
        stream = Path(environment["SSH_ASKPASS"]).with_name("questions")
        for _ in range(MAX_ASKED + 1):
            async with await trio.open_unix_socket(str(stream)) as client:
                await client.send_all(b'{"question": "again?", "kind": ""}\n')
                assert await client.receive_some()
    assert unanswered == ["it asks without end"]
