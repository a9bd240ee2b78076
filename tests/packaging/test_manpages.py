"""Every command has a man page and is completed by shells, and both are made of the command itself."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import roff
from completions import PLACES, completions, scripts
from manpages import EXITS, load, manpages, pages, programs

from pharos.wire.console import Exit
from tests.packaging.built import ROOT


def commands(program: str) -> Iterator[str]:
    """Give the path of every command below a program that is no group."""

    def below(context: click.Context) -> Iterator[str]:
        group = context.command
        if not isinstance(group, click.Group):
            yield context.command_path
            return
        for name in group.list_commands(context):
            child = group.get_command(context, name)
            assert child is not None
            yield from below(click.Context(child, info_name=name, parent=context))

    yield from below(click.Context(load(program), info_name=program, **load(program).context_settings))


def shown(page: str) -> str:
    """Return a page as man prints it, in one line."""
    said = subprocess.run(
        ["man", "--warnings", "-l", "-"],
        input=page,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "400", "MANROFFSEQ": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not said.stderr, said.stderr
    return " ".join(said.stdout.split())


def test_every_program_has_a_page_and_every_group_of_helm() -> None:
    assert set(programs()) >= {"helm", "buoy", "beacon", "caravel", "pharos"}
    for program in programs():
        assert f"{program}.1" in pages(program)
    assert {"helm-nodes.1", "helm-relays.1", "helm-devices.1"} <= pages("helm").keys()
    written = [name for program in programs() for name in pages(program)]
    assert len(written) == len(set(written)), "no page takes another's place"


@pytest.mark.parametrize("program", ["helm", "buoy", "beacon", "caravel"])
def test_every_command_is_on_a_page_with_its_options(program: str) -> None:
    written = "\n".join(pages(program).values())
    for path in commands(program):
        assert re.search(rf'^\.SS "{re.escape(roff.escape(path))}[ "]', written, re.MULTILINE), path
    assert roff.bold("--state") in written


def test_umbrella_sends_the_reader_on_and_tells_its_own_commands_whole() -> None:
    page = pages("pharos")["pharos.1"]
    assert f"{roff.bold('pharos helm')}, see {roff.bold('helm')}(1)" in page
    assert '.SS "pharos demo ' in page
    assert '.SS "pharos awg ' in page
    assert '.SS "pharos helm' not in page


def test_pages_are_the_same_in_every_home(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "somebody's")}
    subprocess.run([sys.executable, str(ROOT / "packaging/manpages.py"), str(tmp_path / "out")], env=env, check=True)
    there = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert there == {name: page for program in programs() for name, page in pages(program).items()}
    assert roff.escape("~/.local/share/pharos/helm") in there["helm.1"]


def test_packed_pages_hold_no_date_and_no_name() -> None:
    [(path, packed)] = manpages("beacon").items()
    assert path == "usr/share/man/man1/beacon.1.gz"
    assert gzip.decompress(packed).decode() == pages("beacon")["beacon.1"]
    # RFC 1952: flags and time, all zero.
    assert packed[3:8] == bytes(5)


def test_exit_codes_are_those_of_the_commands() -> None:
    assert EXITS.keys() == {int(code) for code in Exit}
    guide = (ROOT / "docs/guide/cli.md").read_text()
    for code, text in EXITS.items():
        assert f"| {code} | {text[0].lower()}{text[1:-1]} |" in guide


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not here to judge its pages")
@pytest.mark.parametrize("program", ["buoy", "caravel", "pharos"])
def test_man_shows_pages_without_a_warning_and_examples_as_they_are(program: str) -> None:
    for page in pages(program).values():
        shown(page)
    assert 'eval "$(buoy completion bash)"' in shown(pages("buoy")["buoy.1"])
    assert "caravel enroll 'pharosvpn://enroll?…'" in shown(pages("caravel")["caravel.1"])


@pytest.mark.system
@pytest.mark.parametrize("program", sorted(programs()))
def test_man_and_its_index_take_every_page(program: str, tmp_path: Path) -> None:
    if shutil.which("lexgrog") is None:
        pytest.skip("man-db is not here to judge its pages")
    for name, page in pages(program).items():
        shown(page)
        (tmp_path / name).write_text(page)
        said = subprocess.run(["lexgrog", str(tmp_path / name)], capture_output=True, text=True, check=True).stdout
        assert f'"{name.removesuffix(".1")} - ' in said


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not here to print text")
def test_whatever_a_help_says_is_printed_as_it_is() -> None:
    lines = [".TH", "'br", "\\fB", "..", "\\", "--all", "~/x", "it's", "pharosvpn://e?…", "café", "a→b", "„so“", '"x"']
    lines += [chr(code) for code in range(33, 127)]
    said = shown("\n".join([".TH X 1", ".SH A", ".nf", *map(roff.escape, lines), ".fi", ".PP", "end", ""]))
    assert " ".join(["A", *lines, "end"]) in said


@pytest.mark.parametrize("program", sorted(programs()))
def test_shells_find_the_script_of_every_program_with_commands(program: str, tmp_path: Path) -> None:
    found = completions(program)
    if not isinstance(load(program), click.Group):
        assert not found
        return
    assert found.keys() == {
        f"usr/share/bash-completion/completions/{program}",
        f"usr/share/zsh/vendor-completions/_{program}",
        f"usr/share/fish/vendor_completions.d/{program}.fish",
    }
    for shell, script in scripts(program).items():
        assert f"_{program.upper()}_COMPLETE={shell}_complete" in script
        if command := shutil.which(shell):
            subprocess.run([command, "-n"], input=script, text=True, check=True)
    assert scripts(program)["zsh"].startswith(f"#compdef {program}\n"), "zsh reads of the first line whom it completes"
    assert PLACES.keys() == scripts(program).keys()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here to complete anything")
def test_bash_completes_a_command_by_the_packed_script(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(scripts("beacon")["bash"])
    lines = f"source {tmp_path}/script; COMP_WORDS=(beacon cs); COMP_CWORD=1; _beacon_completion beacon"
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = subprocess.run(
        ["bash", "-c", lines + "; echo ${COMPREPLY[@]}"], env=env, capture_output=True, text=True, check=True
    )
    assert said.stdout == "csr\n"
