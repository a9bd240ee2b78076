"""Row 63. Position: whoever names a link, a configuration or a file. Wants: a path of their own, or the terminal.

A name with ``../`` in it could become a file elsewhere, one with an escape sequence could rewrite what a person reads,
and a link in a shared directory could lead a reader or a writer to another file. Countermeasure: names are never part
of a path; what cannot be printed is no name; files are opened without following links, and only regular ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.cli import exports as commands
from pharos.caravel.cli import main
from pharos.caravel.errors import SourceError
from pharos.caravel.profiles import links as module
from pharos.caravel.profiles.confs import ConfStore, KeptConf
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.caravel.sources import read
from pharos.caravel.sources.read import read_source
from pharos.wire.awg.confread import parse
from pharos.wire.console import Exit
from pharos.wire.errors import LinkFormatError
from pharos.wire.seal.filecontent import Collection, FileConf, encode_content
from pharos.wire.seal.pharosfile import seal_file
from tests.support.sources import CONF
from tests.support.strategies import quick
from tests.wire.reality.test_sharelink import FOUND, LINK, UUID

ESCAPES = ["\x1b[2J", "\x9b31m", "a\rb", "a\nb", "\x07", "a\u202eb", "\u2066a", "a\u200bb", "\u061ca", "a\u2028b", "\0"]
PATHS = ["../../canary", "/etc/cron.d/x", "..\\..\\x", "C:\\x", "a/b", ".", "..", "~/x", "con"]
CANARY = b"canary"


def caravel(state: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [*arguments, "--state", str(state)], input=stdin, color=True)


def files_below(folder: Path) -> set[str]:
    # The key's own file has a name that is drawn.
    return {str(path.relative_to(folder)).partition("key-")[0] for path in folder.rglob("*") if path.is_file()}


def test_a63_turns_red_where_a_name_becomes_a_path(tmp_path: Path) -> None:
    # Weakened: a store that keeps a file for each name.
    state = tmp_path / "a" / "b"
    state.mkdir(parents=True)
    (state / "../../canary").write_bytes(CANARY)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", PATHS)
def test_a63_whatever_a_link_or_configuration_is_called_the_same_files_are_written(name: str, tmp_path: Path) -> None:
    state, plain = tmp_path / "a" / "b" / "state", tmp_path / "plain"
    for folder, called in ((plain, "cafe"), (state, name)):
        ConfStore(folder).add(KeptConf(name=f"{called}-1", conf=parse(CONF)))
        LinkStore(folder).add(KeptLink(name=f"{called}-2", link=FOUND))
    assert files_below(tmp_path / "a") == {f"b/state/{file}" for file in files_below(plain)}


def test_a63_turns_red_where_a_name_is_printed_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = LINK.partition("#")[0] + "#a"
    monkeypatch.setattr(module, "check_name", lambda name: name)
    done = caravel(tmp_path / "s", "import", hostile, "--name", "\x1b[2J")
    assert "\x1b[2J" in done.stdout


@pytest.mark.parametrize("escape", ESCAPES)
def test_a63_what_cannot_be_printed_is_no_name_by_whatever_way_it_comes(escape: str, tmp_path: Path) -> None:
    state = tmp_path / "s"
    with pytest.raises(LinkFormatError):
        KeptLink(name=f"x{escape}x", link=FOUND)
    for arguments, stdin in (
        (("import", LINK, "--name", f"x{escape}x"), None),
        (("import", "-"), LINK.partition("#")[0] + "#x" + "".join(f"%{octet:02X}" for octet in escape.encode()) + "x"),
        (("import", "-"), CONF.replace("node.example", f"no{escape}de.example")),
    ):
        done = caravel(state, *arguments, stdin=stdin)
        assert done.exit_code != Exit.DONE
        assert escape not in done.output.replace("\n", "")
    content = Collection(confs=(FileConf(name="x", conf=CONF),))
    good = encode_content(content)
    (tmp_path / "x.pharos").write_bytes(seal_file(good.replace(b'"x"', b'"' + _escaped(escape) + b'"'), made=1))
    assert caravel(state, "import", str(tmp_path / "x.pharos")).exit_code == Exit.FAILED
    assert LinkStore(state).all() == ()
    assert ConfStore(state).all() == ()


def _escaped(text: str) -> bytes:
    return "".join(f"\\u{ord(sign):04x}" for sign in text).encode()


def test_a63_a_name_of_a_file_becomes_a_name_only_if_it_could_be_printed(tmp_path: Path) -> None:
    for escape in ("\x1b[2J", "\u202ea", "-x"):
        file = tmp_path / f"{escape}.conf"
        file.write_text(CONF)
        done = caravel(tmp_path / "s", "import", str(file), "--replace")
        assert done.exit_code == Exit.DONE, done.output
        assert escape not in done.output
    assert [one.name for one in ConfStore(tmp_path / "s").all()] == ["node.example"]


class TestLinksOfTheFileSystem:
    def export(self, state: Path, path: Path) -> Result:
        return caravel(state, "export", "cafe", "--file", str(path), "--open")

    def test_a63_turns_red_with_a_writer_that_follows_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state, victim = self.prepare(tmp_path)
        monkeypatch.setattr(commands.os, "O_EXCL", 0)
        monkeypatch.setattr(commands.os, "O_NOFOLLOW", 0)
        assert self.export(state, tmp_path / "shared.pharos").exit_code == Exit.DONE
        assert victim.read_bytes() != CANARY

    def test_a63_an_export_writes_a_file_of_its_own_or_none(self, tmp_path: Path) -> None:
        state, victim = self.prepare(tmp_path)
        for path in (tmp_path / "shared.pharos", victim):
            assert self.export(state, path).exit_code == Exit.CONFLICT
            assert victim.read_bytes() == CANARY
        made = tmp_path / "mine.pharos"
        assert self.export(state, made).exit_code == Exit.DONE
        assert made.stat().st_mode & 0o777 == 0o600

    def prepare(self, folder: Path) -> tuple[Path, Path]:
        state, victim = folder / "s", folder / "victim"
        LinkStore(state).add(KeptLink(name="cafe", link=FOUND))
        victim.write_bytes(CANARY)
        (folder / "shared.pharos").symlink_to(victim)
        return state, victim

    @pytest.mark.red_inside
    def test_a63_a_reader_that_followed_links_would_read_another_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "secret").write_text(LINK)
        (tmp_path / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(SourceError, match="symbolic link"):
            read_source(tmp_path / "link")
        # Between the look and the opening, too.
        monkeypatch.setattr(Path, "is_symlink", lambda path: False)
        with pytest.raises(OSError, match="symbolic links"):
            read_source(tmp_path / "link")
        monkeypatch.setattr(read.os, "O_NOFOLLOW", 0)
        assert read_source(tmp_path / "link") == read_source(LINK)

    @pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty", "/proc/self/mem", "/tmp", "/"])
    def test_a63_devices_and_directories_are_no_files(self, path: str) -> None:
        with pytest.raises((SourceError, OSError)):
            read_source(Path(path))

    def test_a63_nothing_of_a_file_that_is_no_source_is_shown(self, tmp_path: Path) -> None:
        file = tmp_path / "shadow"
        file.write_text("root:$6$hunter2:19000:0:99999:7:::\n[Interface]\nroot:$6$hunter2\n")
        done = caravel(tmp_path / "s", "import", str(file))
        assert done.exit_code == Exit.FAILED
        (tmp_path / "x.txt").write_text(f"hunter2 {UUID}")
        done = caravel(tmp_path / "s", "import", str(tmp_path / "x.txt"))
        assert UUID not in done.output


@quick
@given(st.text(min_size=1, max_size=30))
def test_a63_a_name_never_moves_a_cursor(name: str) -> None:
    try:
        kept = KeptLink(name=name, link=FOUND)
    except LinkFormatError:
        return
    assert kept.name.isprintable()
