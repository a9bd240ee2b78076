"""The guide's "add ten people" does what it says when it is followed to the letter, and so do its other claims."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pharos.helm.cli import main
from pharos.helm.imports.csvfile import COLUMNS, MAX_OCTETS, MAX_ROWS
from pharos.wire.seal.ticket import TicketLink
from tests.support.commands import invoke, invoke_json
from tests.support.helm import adopt_sample_relay, open_helm

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "people.md"


def blocks() -> list[str]:
    """Every fenced block that is to be typed, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def steps(block: str) -> Iterator[tuple[list[str], str, str]]:
    """Give each command of a block: its words, where its output goes, and the lines that it reads."""
    lines = iter(block.splitlines())
    for line in lines:
        if not line.strip():
            continue
        command, _, end = line.partition(" <<")
        words = shlex.split(command)
        target = ""
        if ">" in words:
            at = words.index(">")
            target = words[at + 1]
            words = words[:at] + words[at + 2 :]
        text = ""
        if end:
            while (body := next(lines)) != end.strip("'"):
                text += body + "\n"
        yield words, target, text


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh fleet with a relay, and a folder to type in."""
    state = tmp_path / "helm"
    state.mkdir(mode=0o700)

    async def prepare() -> None:
        async with open_helm(state) as helm:
            await helm.store.run(adopt_sample_relay, helm.authority)

    trio.run(prepare)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return state


def test_ten_people_are_added_as_the_guide_says(state: Path) -> None:
    first, second = blocks()
    outputs: dict[str, str] = {}
    for words, target, text in steps(first):
        if words[0] == "cat":
            Path(target).write_text(text, encoding="utf-8")
            continue
        assert words[0] == "helm", words
        result = invoke(main, *words[1:], "--state", state)
        assert result.exit_code == 0, (words, result.output)
        outputs[" ".join(words)] = result.output
        if words[1:3] == ["import", "users"] and "--apply" not in words:
            assert invoke_json(main, "users", "list", "--state", state) == [], "the first one writes nothing"
        if target:
            Path(target).write_text(result.stdout, encoding="utf-8")
    users = {user["name"]: user for user in invoke_json(main, "users", "list", "--state", state)}
    assert len(users) == 10
    assert all(name in outputs["helm users list"] for name in users)
    bob = users["Bob Martin"]
    assert (bob["email"], bob["device_limit"], bob["quota_bytes"]) == ("bob@example.org", 2, 50 * 10**9)
    assert users["Dóra Nagy"]["expires_at"] == "2099-12-31T23:59:59Z"
    groups = {
        group["name"]: invoke_json(main, "groups", "show", group["id"], "--state", state)
        for group in invoke_json(main, "groups", "list", "--state", state)
    }
    assert {name: len(group["members"]) for name, group in groups.items()} == {"office": 7, "sales": 5}
    links = list(csv.DictReader(io.StringIO(Path("links.csv").read_text(encoding="utf-8"))))
    assert {row["name"] for row in links} == users.keys()
    assert len({TicketLink.parse(row["link"]).secret for row in links}) == 10
    assert len(invoke_json(main, "devices", "tickets", "--state-is", "open", "--state", state)) == 10
    assert [words for words, _, _ in steps(second)] == [["rm", "links.csv"]]


def test_guide_tells_columns_and_bounds_as_they_are() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert all(f"| `{column}` |" in text for column in COLUMNS)
    assert f"{MAX_ROWS:,} people" in text
    assert f"{MAX_OCTETS // 1024} KiB" in text
