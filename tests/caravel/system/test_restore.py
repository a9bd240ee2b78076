"""The journal: what is noted before it is done, and undone by whoever comes after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pharos.caravel.errors import AlreadyRunningError, SystemModeError
from pharos.caravel.system.restore import JOURNAL, Json, Places, open_journal


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(running=tmp_path / "run", lasting=tmp_path / "lib")


class Undone:
    """Who puts back, and can be made to fail."""

    def __init__(self) -> None:
        self.bodies: list[object] = []
        self.failing = False

    async def __call__(self, body: Json) -> None:
        if self.failing:
            raise OSError("no")
        self.bodies.append(body["n"])


async def test_what_was_noted_is_undone_the_newest_first_by_another_process(places: Places) -> None:
    with open_journal(places) as journal:
        for n in range(3):
            journal.note("thing", {"n": n}, lasting=n == 1)
    undone = Undone()
    with open_journal(places) as journal:
        await journal.undo({"thing": undone})
        assert journal.entries == ()
    # What outlived a reboot is the oldest, wherever it was noted.
    assert undone.bodies == [2, 0, 1]
    assert not (places.running / JOURNAL).exists()
    assert not (places.lasting / JOURNAL).exists()


def test_a_note_is_on_disk_before_the_change_is_made_even_if_the_process_is_killed(places: Places) -> None:
    script = (
        "import os,sys; from pathlib import Path\n"
        "from pharos.caravel.system.restore import Places, open_journal\n"
        "with open_journal(Places(running=Path(sys.argv[1]), lasting=Path(sys.argv[2]))) as journal:\n"
        "    journal.note('thing', {'n': 1}); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(places.running), str(places.lasting)], check=False)
    assert done.returncode == -9
    with open_journal(places) as journal:
        assert [(entry.kind, entry.body) for entry in journal.entries] == [("thing", {"n": 1})]


async def test_what_cannot_be_undone_stays_noted_and_does_not_stop_the_rest(places: Places) -> None:
    good, bad = Undone(), Undone()
    bad.failing = True
    with open_journal(places) as journal:
        journal.note("good", {"n": 1})
        journal.note("bad", {"n": 2})
        journal.note("unknown", {"n": 3})
        with pytest.raises(SystemModeError, match=r"unknown: .*no such change.*bad: no"):
            await journal.undo({"good": good, "bad": bad})
        assert good.bodies == [1]
        assert [entry.kind for entry in journal.entries] == ["bad", "unknown"]
    bad.failing = False
    with open_journal(places) as journal:
        await journal.undo({"bad": bad, "unknown": good})
    assert (bad.bodies, good.bodies) == ([2], [1, 3])


async def test_kinds_that_shall_stay_are_kept(places: Places) -> None:
    undone = Undone()
    with open_journal(places) as journal:
        journal.note("stays", {"n": 1})
        journal.note("goes", {"n": 2})
        await journal.undo({"stays": undone, "goes": undone}, keep={"stays"})
        assert [entry.kind for entry in journal.entries] == ["stays"]
    assert undone.bodies == [2]


def test_what_was_put_back_is_forgotten(places: Places) -> None:
    with open_journal(places) as journal:
        first, second = journal.note("a", {}), journal.note("b", {}, lasting=True)
        journal.forget(first)
        journal.forget(first)
        journal.forget(second)
    with open_journal(places) as journal:
        assert journal.entries == ()


def test_two_processes_do_not_share_a_journal(places: Places) -> None:
    with open_journal(places), pytest.raises(AlreadyRunningError, match="in charge of this machine's network"):
        with open_journal(places):
            pass
    with open_journal(places):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]\n",
        '{"kind": 1, "body": {}}\n',
        '{"kind": "a"}\n',
        '{"kind": "a", "body": []}\n',
        "\udcff",
        "[" * 99_999,
    ],
)
def test_a_damaged_journal_is_left_as_it_is(places: Places, text: str) -> None:
    with open_journal(places):
        pass
    path = places.running / JOURNAL
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(SystemModeError, match=f"{path} is damaged"):
        with open_journal(places):
            pass
    assert path.read_text(errors="surrogateescape") == text


def test_a_journal_that_is_too_large_is_not_read(places: Places) -> None:
    with open_journal(places):
        pass
    line = json.dumps({"kind": "a", "body": {"n": "x" * 1000}}) + "\n"
    (places.running / JOURNAL).write_text(line * 1100)
    with pytest.raises(SystemModeError, match="is damaged"):
        with open_journal(places):
            pass


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(SystemModeError, match="is not a directory"):
        with open_journal(Places(running=tmp_path / "run", lasting=tmp_path / "lib")):
            pass
