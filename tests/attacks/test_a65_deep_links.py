"""Row 65. Position: a web page, a code on a wall. Wants: this device in a fleet of their own, in the place of its own.

A link that acted when it is opened would join, connect, or replace. Countermeasure: it shows the fleet's id and words
first and does nothing without a person; without a terminal the words have to be repeated; it never connects; a fleet
that this device is in stays, and stays the default; a ticket is good once. No link reads a file or is an option.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.cli import main
from pharos.caravel.errors import SourceError, UnconfirmedError
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.sources.base import Choices, Preview, Source, Taken
from pharos.caravel.sources.deeplink import check_words, desktop_entry, open_deep_link, parse_deep_link
from pharos.wire.console import Exit
from pharos.wire.errors import LinkFormatError
from pharos.wire.seal.words import fleet_words
from tests.support.fleet import running_fleet
from tests.support.sources import CONF
from tests.support.strategies import quick
from tests.wire.reality.test_sharelink import LINK, UUID
from tests.wire.seal.test_ticket import FLEET_TEXT, TEXT, TICKET


async def caravel(state: Path, *arguments: str, stdin: str = "") -> Result:
    runner = CliRunner()
    return await trio.to_thread.run_sync(lambda: runner.invoke(main, [*arguments, "--state", str(state)], input=stdin))


def fleets_in(state: Path) -> dict[str, bool]:
    return {fleet.id: fleet.default for fleet in Fleets(state).list() if fleet.joined}


@pytest.mark.red_inside
async def test_a65_a_link_that_acts_when_it_is_opened_would_join_any_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_fleet(tmp_path) as enemy:
        link, state = (await enemy.invite()).render(), tmp_path / "victim"
        assert (await caravel(state, "open", link)).exit_code == Exit.USAGE
        assert fleets_in(state) == {}
        # Weakened: nobody is asked.
        monkeypatch.setattr("pharos.caravel.cli.open.confirm", lambda preview, words: True)
        assert (await caravel(state, "open", link)).exit_code == Exit.DONE
        assert len(fleets_in(state)) == 1


async def test_a65_a_second_fleet_never_replaces_the_first_and_a_link_is_good_once(tmp_path: Path) -> None:
    own_folder, other_folder, state = tmp_path / "own", tmp_path / "other", tmp_path / "device"
    async with running_fleet(own_folder) as own, running_fleet(other_folder) as other:
        first, second = await own.invite(), await other.invite()
        joined = await caravel(state, "open", first.render(), "--words", fleet_words(first.root_hash))
        assert joined.exit_code == Exit.DONE, joined.output
        assert fleets_in(state) == {first.fleet: True}
        link = second.render()
        for words in (fleet_words(first.root_hash), "", "yes"):
            refused = await caravel(state, "open", link, "--words", words)
            assert refused.exit_code == Exit.FAILED
            assert "not the words" in refused.stderr
        # What nobody confirmed has not burnt the ticket either.
        taken = await caravel(state, "open", link, "--json", "--words", fleet_words(second.root_hash))
        assert taken.exit_code == Exit.DONE, taken.output
        assert json.loads(taken.stdout)["fleet"] == second.fleet
        assert fleets_in(state) == {first.fleet: True, second.fleet: False}
        again = await caravel(state, "open", link, "--words", fleet_words(second.root_hash))
        assert again.exit_code == Exit.FAILED
        assert "already" in again.stderr
        elsewhere = await caravel(tmp_path / "thief", "open", link, "--words", fleet_words(second.root_hash))
        assert elsewhere.exit_code == Exit.REFUSED


@pytest.mark.parametrize("link", [TEXT, FLEET_TEXT, LINK])
def test_a65_without_a_terminal_nothing_is_done_and_the_words_are_shown(link: str, tmp_path: Path) -> None:
    state = tmp_path / "s"
    done = CliRunner().invoke(main, ["open", link, "--state", str(state)], input="y\ny\nyes\n")
    assert done.exit_code == Exit.USAGE
    assert "--words" in done.stderr
    assert done.stdout == ""
    if link is not LINK:
        assert fleet_words(TICKET.root_hash) in done.stderr
        assert TICKET.fleet in done.stderr
    assert UUID not in done.output
    assert TEXT[-22:] not in done.output
    assert not state.exists()


def test_a65_a_link_into_a_node_is_kept_and_nothing_is_connected(tmp_path: Path) -> None:
    state = tmp_path / "s"
    place = "Amsterdam 🚢 203.0.113.7:443 as www.site.test"
    done = CliRunner().invoke(main, ["open", LINK, "--words", place, "--state", str(state)])
    assert done.exit_code == Exit.DONE, done.output
    assert "Amsterdam" in done.stdout


@pytest.mark.parametrize(
    "link",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "https://evil.example/x.pharos",
        "--state=/tmp/x",
        "pharosvpn:enroll",
        "pharosvpn://open?file=/etc/passwd",
        "pharosvpn://connect?node=evil",
        "PHAROSVPN://enroll?v=1",
        f"{TEXT}\n{TEXT}",
        f"{LINK}\n{LINK}",
        f" {TEXT}",
        f"{TEXT}&auto=1",
        f"{TEXT}#x",
        CONF,
        "",
        "pharosvpn://enroll?" + "x" * 5000,
    ],
)
def test_a65_nothing_else_is_a_link_from_outside(link: str, tmp_path: Path) -> None:
    with pytest.raises((SourceError, LinkFormatError)) as caught:
        parse_deep_link(link)
    assert TEXT[-22:] not in str(caught.value)
    done = CliRunner().invoke(main, ["open", "--state", str(tmp_path / "s"), "--", link])
    assert done.exit_code == Exit.FAILED
    assert not (tmp_path / "s").exists()


@quick
@given(st.text(max_size=60).map(TEXT.__add__) | st.text(max_size=60).map("pharosvpn://fleet?".__add__) | st.text())
def test_a65_a_text_is_a_link_in_its_one_spelling_or_refused(text: str) -> None:
    try:
        found = parse_deep_link(text)
    except (SourceError, LinkFormatError):
        return
    assert text == TEXT
    assert found.preview().fleet == TICKET.fleet


async def test_a65_a_program_that_embeds_caravel_is_held_to_it_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Preview] = []
    taken: list[Source] = []

    async def take(source: Source, path: Path, choices: Choices) -> Taken:
        taken.append(source)
        return Taken(kind=source.kind)

    monkeypatch.setattr("pharos.caravel.sources.ticket.TicketSource.take", take)

    async def answer(preview: Preview) -> bool:
        shown.append(preview)
        return len(shown) > 1

    with pytest.raises(UnconfirmedError):
        await open_deep_link(TEXT, tmp_path, Choices(), confirm=answer)
    assert taken == []
    await open_deep_link(TEXT, tmp_path, Choices(), confirm=answer)
    assert [source.preview() for source in taken] == [shown[1]]


def test_a65_words_are_compared_whole() -> None:
    preview = parse_deep_link(TEXT).preview()
    check_words(preview, f"  {preview.words.replace(' ', '   ')} ")
    for words in ("", preview.words[:-1], preview.words.upper(), preview.words + " x", preview.fleet):
        with pytest.raises(UnconfirmedError):
            check_words(preview, words)


def test_a65_a_desktop_hands_the_link_over_as_one_word_that_is_no_option() -> None:
    entry = desktop_entry("/usr/bin/caravel")
    line = next(line for line in entry.splitlines() if line.startswith("Exec="))
    assert shlex.split(line.removeprefix("Exec=")) == ["/usr/bin/caravel", "open", "--hold", "--", "%u"]
    assert "Terminal=true" in entry
    for bad in ("caravel", "/opt/a b/caravel", "/opt/$(x)/caravel", "/a\nExec=/evil", "/a%u", "/a;b"):
        with pytest.raises(SourceError):
            desktop_entry(bad)
