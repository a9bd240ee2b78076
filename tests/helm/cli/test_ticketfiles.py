"""Tickets in files: what `caravel import` takes, closed if it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.caravel.sources.base import SourceKind
from pharos.caravel.sources.pharosfile import SealedSource
from pharos.caravel.sources.read import read_source
from pharos.helm.cli import main
from pharos.wire.console import Exit
from pharos.wire.seal.ticket import FleetLink, TicketLink
from pharos.wire.seal.words import fleet_words
from tests.support.commands import invoke, invoke_json
from tests.support.helm import relay_request

PASSPHRASE = "correct horse battery"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "helm"
    invoke_json(main, "init", "--state", state)
    relay = ["--request", "-", "--address", "gate.example", "--name", "gate"]
    admitted = invoke(main, "relays", "admit", "--state", state, *relay, stdin=relay_request().render())
    assert admitted.exit_code == Exit.DONE
    return state


def test_a_ticket_goes_into_a_file_that_caravel_takes(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "phone.pharos"
    made = invoke(main, "devices", "invite", "phone", "--state", state, "--file", file)
    assert made.exit_code == Exit.DONE
    assert file.stat().st_mode & 0o777 == 0o600
    found = read_source(file)
    assert found.kind is SourceKind.TICKET
    assert found.preview() == read_source(made.stdout).preview()


def test_it_is_closed_with_a_passphrase_if_that_is_asked_for(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "phone.pharos"
    arguments = ["devices", "invite", "phone", "--state", state, "--file", file, "--lock"]
    assert invoke(main, *arguments, stdin="short\n").exit_code == Exit.USAGE
    assert not file.exists()
    made = invoke(main, *arguments, stdin=f"{PASSPHRASE}\n")
    assert made.exit_code == Exit.DONE
    closed = read_source(file)
    assert isinstance(closed, SealedSource)
    assert closed.open(passphrase=PASSPHRASE) == read_source(made.stdout)


def test_no_ticket_is_written_where_its_file_could_not_be(state: Path, tmp_path: Path) -> None:
    for options in (["--file", tmp_path / "x.txt"], ["--file", tmp_path / "none" / "x.pharos"], ["--lock"]):
        done = invoke(main, "devices", "invite", "phone", "--state", state, *options)
        assert done.exit_code == Exit.USAGE
    assert invoke_json(main, "devices", "tickets", "--state", state) == []


def test_the_words_are_those_that_caravel_shows(state: Path) -> None:
    made = invoke(main, "devices", "invite", "phone", "--state", state)
    words = fleet_words(TicketLink.parse(made.stdout.strip()).root_hash)
    link = invoke(main, "devices", "link", "--state", state)
    assert words in made.stderr
    assert words in link.stderr
    assert words == read_source(FleetLink.parse(link.stdout.strip()).render()).preview().words
