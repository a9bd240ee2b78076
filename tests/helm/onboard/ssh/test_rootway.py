"""Root's password goes to sudo alone: on standard input, after it was tried, and never twice without a person."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from pharos.helm.onboard.errors import RemoteAnswerError, RootRefusedError
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh import NobodyToAsk
from pharos.helm.onboard.ssh.process import Ended
from pharos.helm.onboard.ssh.rootway import NONE, PASSWORD, ROOT, SUDO, RootWay, find_root_way
from tests.support.prompts import Person

WEB1 = Destination.parse("ada@web1")
WRONG = Ended(1, b"", b"Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt\n")


@attrs.define
class Sudo:
    """Answers as sudo does, to what would be run there."""

    answers: list[Ended]
    calls: list[tuple[tuple[str, ...], bytes]] = attrs.field(factory=list)

    async def call(self, words: Sequence[str], stdin: bytes) -> Ended:
        self.calls.append((tuple(words), stdin))
        return self.answers.pop(0)


async def test_who_is_root_runs_a_command_as_it_is() -> None:
    way = await find_root_way(ROOT, Sudo([]).call, WEB1, NobodyToAsk())
    assert (way.words(("id", "-u")), way.stdin(b"in")) == (["id", "-u"], b"in")


async def test_sudo_without_a_password_never_waits_for_one() -> None:
    way = await find_root_way(SUDO, Sudo([]).call, WEB1, NobodyToAsk())
    assert way.words(("id",))[:3] == ["sudo", "-n", "--"]
    assert way.stdin(b"in") == b"in"


async def test_password_is_tried_by_itself_and_is_in_no_argument() -> None:
    sudo, person = Sudo([WRONG, Ended(0, b"", b"")]), Person(knows=["a slip", "open sesame"])
    way = await find_root_way(PASSWORD, sudo.call, WEB1, person)
    assert [stdin for _, stdin in sudo.calls] == [b"a slip\n", b"open sesame\n"]
    # With nothing after it, a second try of sudo's own finds the end, and no byte of a file.
    assert way.stdin(b"file") == b"open sesame\nfile"
    assert "-k" in way.words(("id",)), "a password that sudo did not read would be the command's input"
    assert not any("sesame" in word for words, _ in sudo.calls for word in [*words, *way.words(("id",))])
    assert "sesame" not in repr(way)
    assert [hidden for _, hidden in person.asked] == [True, True]


async def test_wrong_password_is_asked_for_once_more_and_then_given_up() -> None:
    sudo, person = Sudo([WRONG, WRONG]), Person(knows=["one", "two", "three"])
    with pytest.raises(RootRefusedError, match=r"did not take the password on ada@web1; nothing was changed") as caught:
        await find_root_way(PASSWORD, sudo.call, WEB1, person)
    assert len(person.asked) == 2
    assert "two" not in str(caught.value)


async def test_user_whom_sudo_does_not_know_is_not_asked_again() -> None:
    said = b"ada is not in the sudoers file.\x1b[2J  This incident will be reported.\n"
    person = Person(knows=["one", "two"])
    with pytest.raises(
        RootRefusedError, match="does not take this user on ada@web1: ada is not in the sudoers"
    ) as caught:
        await find_root_way(PASSWORD, Sudo([Ended(1, b"", said)]).call, WEB1, person)
    assert len(person.asked) == 1
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("given", ["one\ntwo", None])
async def test_no_password_is_no_try(given: str | None) -> None:
    sudo = Sudo([])
    with pytest.raises(RootRefusedError, match="nobody gave the password"):
        await find_root_way(PASSWORD, sudo.call, WEB1, Person(knows=[given] if given else []))
    assert sudo.calls == []


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        (NONE, RootRefusedError, "neither root nor has sudo"),
        (PASSWORD, RootRefusedError, "nobody here to ask"),
        ("", RemoteAnswerError, "no Debian or Ubuntu"),
        ("\N{ESCAPE}[2J", RemoteAnswerError, "no Debian or Ubuntu"),
    ],
)
async def test_machine_without_a_way_to_root_is_refused(kind: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        await find_root_way(kind, Sudo([]).call, WEB1, NobodyToAsk())


def test_every_command_has_one_shape_for_sudoers() -> None:
    shapes = [RootWay(kind).words(("id",))[-5:] for kind in (SUDO, PASSWORD)]
    assert shapes[0] == shapes[1]
