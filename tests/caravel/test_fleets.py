"""A device in several fleets: each has its own place, one is meant where none is named, and none replaces another."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pharos.caravel.cli import main
from pharos.caravel.client import open_client
from pharos.caravel.config import config_file
from pharos.caravel.enrolment import prepare
from pharos.caravel.errors import AlreadyEnrolledError, CaravelError, NoSuchFleetError, NotEnrolledError
from pharos.caravel.profiles import fleets as fleets_module
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.running import SOCKET_NAME, Running, open_control, running_status
from pharos.helm.ca.authority import Authority
from pharos.wire.console import Exit
from pharos.wire.errors import StateFileError
from pharos.wire.ids import FleetId
from tests.support import devices
from tests.support.commands import invoke, invoke_json
from tests.support.device import enrolled_device
from tests.support.fleet import running_fleet
from tests.support.helm import fleet_in_memory


@pytest.fixture
def authority() -> Iterator[Authority]:
    with fleet_in_memory() as (_, made):
        yield made


@pytest.fixture
def other() -> Iterator[Authority]:
    with fleet_in_memory(1) as (_, made):
        yield made


@pytest.fixture
def state(tmp_path: Path, authority: Authority) -> Path:
    devices.lay_down(tmp_path / "s", authority)
    return tmp_path / "s"


def join(state: Path, authority: Authority) -> FleetId:
    """Put the device into another fleet, as an enrolment does."""
    fleet = FleetId(authority.trust.fleet)
    store = Fleets(state).store_for(fleet)
    prepare(store, fleet)
    enrolled_device(store.path, authority)
    return fleet


def test_one_fleet_lies_in_the_directory_itself(state: Path, authority: Authority) -> None:
    (only,) = Fleets(state).list()
    assert (only.id, only.path, only.default, only.joined) == (authority.trust.fleet, state, True, True)
    assert Fleets(state).default() == only
    with pytest.raises(AlreadyEnrolledError, match=authority.trust.fleet):
        Fleets(state).store_for(authority.trust.fleet)


def test_directory_of_no_fleet_says_how_to_join(tmp_path: Path) -> None:
    fleets = Fleets(tmp_path / "s")
    assert fleets.list() == []
    with pytest.raises(NotEnrolledError, match="caravel enroll"):
        fleets.default()
    with pytest.raises(NoSuchFleetError, match="none"):
        fleets.find("a")
    assert fleets.store_for(FleetId("a" * 16)).path == tmp_path / "s"


def test_second_fleet_has_its_own_place_and_the_first_stays_the_default(
    state: Path, authority: Authority, other: Authority
) -> None:
    had = devices.kept(state)
    second = join(state, other)
    assert devices.kept(state) == had
    found = {fleet.id: fleet for fleet in Fleets(state).list()}
    assert found.keys() == {authority.trust.fleet, second}
    assert [fleet.id for fleet in found.values() if fleet.default] == [authority.trust.fleet]
    assert Fleets(state).open(second).enrolled().fleet == second
    assert ProfileStore(found[second].path).enrolled().fleet == second
    assert stat.S_IMODE(found[second].path.stat().st_mode) == 0o700
    assert not (state / "device.json").exists()
    # Links are nobody's fleet's.
    assert (state / "links.json").exists()


def test_second_fleet_would_replace_the_first_without_a_place_of_its_own(state: Path, other: Authority) -> None:
    """Row 65, shown red: the same enrolment into the first one's store takes the first one's keys."""
    had = devices.kept(state)
    with pytest.raises(AlreadyEnrolledError):
        prepare(ProfileStore(state), FleetId(other.trust.fleet))
    enrolled_device(state, other)
    assert devices.kept(state)["tls"] != had["tls"]


def test_store_that_is_open_while_its_files_move_goes_on_with_them(state: Path, other: Authority) -> None:
    opened = devices.open_store(state)
    assert opened.path == state
    join(state, other)
    opened.save_bundle(devices.bundle(9), devices.blob(9))
    assert opened.path != state
    assert not (state / "bundle.json").exists()
    assert devices.open_store(state).bundle() == ((1, 9), devices.blob(9))


def test_fleet_is_named_by_what_tells_it_from_the_others(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for fleet in ("ab" + "0" * 14, "ac" + "0" * 14):
        prepare(Fleets(state).store_for(FleetId(fleet)), FleetId(fleet))
    fleets = Fleets(state)
    assert fleets.find("ab").id == "ab" + "0" * 14
    with pytest.raises(NoSuchFleetError, match="several"):
        fleets.find("a")
    with pytest.raises(NoSuchFleetError, match="no fleet"):
        fleets.find("zz")
    fleets.set_name("ac", "work")
    assert fleets.find("work").id == "ac" + "0" * 14
    with pytest.raises(CaravelError, match="another fleet"):
        fleets.set_name("ab", "work")
    for name in ("\x1b[2J", " work", "x" * 65, "wo\nrk"):
        with pytest.raises(CaravelError, match="printable"):
            fleets.set_name("ab", name)
    fleets.set_name("ac", "")
    with pytest.raises(NoSuchFleetError):
        fleets.find("work")


def test_default_is_chosen_and_meant_from_then_on(state: Path, other: Authority) -> None:
    second = join(state, other)
    Fleets(state).set_default(second[:6])
    assert ProfileStore(state).enrolled().fleet == second
    assert Fleets(state).default().id == second
    with pytest.raises(NoSuchFleetError):
        Fleets(state).set_default("zz")


def test_forgotten_fleet_leaves_no_key_and_the_others_whole(
    state: Path, authority: Authority, other: Authority
) -> None:
    had = devices.kept(state)
    second = join(state, other)
    path = Fleets(state).find(second).path
    left = Fleets(state).forget(second)
    assert left is not None
    assert left.id == authority.trust.fleet
    assert not path.exists()
    assert not list((state / "fleets").glob(".gone-*"))
    assert devices.kept(state) == had


def test_forgotten_default_hands_over_and_the_last_one_leaves_an_empty_store(
    state: Path, authority: Authority, other: Authority
) -> None:
    second = join(state, other)
    left = Fleets(state).forget(authority.trust.fleet)
    assert left is not None
    assert left.id == second
    assert ProfileStore(state).enrolled().fleet == second
    assert Fleets(state).forget(second) is None
    assert Fleets(state).list() == []
    with pytest.raises(NotEnrolledError):
        ProfileStore(state).enrolled()
    assert not list(state.rglob("device.json"))
    # And joins again, in the directory itself.
    assert Fleets(state).store_for(second).path == state


def test_only_fleet_is_forgotten_from_the_directory_itself(state: Path, authority: Authority) -> None:
    assert Fleets(state).forget(authority.trust.fleet) is None
    assert not (state / "device.json").exists()
    assert not (state / "bundle.json").exists()
    assert (state / "links.json").exists()


def test_enrolment_that_was_begun_goes_on_with_its_keys_and_shows_them_to_no_other_fleet(tmp_path: Path) -> None:
    state, first, second = tmp_path / "s", FleetId("a" * 16), FleetId("b" * 16)
    begun = prepare(Fleets(state).store_for(first), first)
    assert prepare(Fleets(state).store_for(first), first).tls == begun.tls
    elsewhere = prepare(Fleets(state).store_for(second), second)
    assert elsewhere.tls != begun.tls
    assert prepare(Fleets(state).store_for(first), first).tls == begun.tls
    assert [(fleet.id, fleet.joined) for fleet in Fleets(state).list()] == [(first, False), (second, False)]


def test_lost_list_of_fleets_loses_no_fleet(state: Path, authority: Authority, other: Authority) -> None:
    second = join(state, other)
    (state / "fleets.json").unlink()
    assert {fleet.id for fleet in Fleets(state).list()} == {authority.trust.fleet, second}
    assert Fleets(state).find(second).joined
    (state / "fleets.json").write_text("{}")
    (state / "fleets.json").chmod(0o600)
    with pytest.raises(StateFileError, match="left as it is"):
        Fleets(state).list()


def test_keys_in_another_fleets_place_are_refused(state: Path, authority: Authority, other: Authority) -> None:
    second = join(state, other)
    first = Fleets(state).find(authority.trust.fleet).path
    shutil.copy(first / "device.json", Fleets(state).find(second).path / "device.json")
    with pytest.raises(StateFileError, match=authority.trust.fleet):
        Fleets(state).open(second).enrolled()


async def test_client_opens_the_fleet_that_is_named(state: Path, authority: Authority, other: Authority) -> None:
    second = join(state, other)
    async with open_client(state) as client:
        assert client.store.enrolled().fleet == authority.trust.fleet
    async with open_client(state, second[:5]) as client:
        assert client.store.enrolled().fleet == second
    with pytest.raises(NoSuchFleetError):
        async with open_client(state, "zz"):
            pytest.fail("it was opened")


def test_command_lists_names_chooses_and_forgets(state: Path, authority: Authority, other: Authority) -> None:
    second = join(state, other)
    facts = invoke_json(main, "fleets", "--state", state)
    assert {(fact["fleet"], fact["default"], fact["joined"]) for fact in facts} == {
        (authority.trust.fleet, True, True),
        (second, False, True),
    }
    invoke_json(main, "fleets", "--name", second, "work", "--default", second, "--state", state)
    shown = invoke(main, "fleets", "--state", state)
    assert [line.split()[1:2] for line in shown.stdout.splitlines() if line.startswith(second)] == [["work"]]
    named = invoke_json(main, "--fleet", "work", "status", "--state", state)
    assert named["fleet"] == second
    assert invoke_json(main, "--fleet", authority.trust.fleet[:8], "status", "--state", state)["fleet"] == (
        authority.trust.fleet
    )
    unknown = invoke(main, "--fleet", "zz", "status", "--state", state)
    assert (unknown.exit_code, "no fleet 'zz'" in unknown.stderr) == (Exit.FAILED, True)
    refused = invoke(main, "fleets", "--forget", "work", "--state", state)
    assert (refused.exit_code, "--yes" in refused.stderr) == (Exit.USAGE, True)
    left = invoke_json(main, "fleets", "--forget", "work", "--yes", "--state", state)
    assert [(fact["fleet"], fact["default"]) for fact in left] == [(authority.trust.fleet, True)]


def test_command_says_and_changes_what_locks_a_store(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke_json(main, "protect", "--state", state) == {"protection": "key-file", "locked": False}
    changed = invoke_json(main, "protect", "--by", "passphrase", "--state", state, stdin=devices.PASSPHRASE + "\n")
    assert changed == {"protection": "passphrase", "locked": False}
    assert invoke_json(main, "protect", "--state", state) == {"protection": "passphrase", "locked": True}
    shown = invoke_json(main, "status", "--state", state)
    assert (shown["device"], shown["bundle"], shown["locked"]) == ("a-device", "1.1", True)
    locked = invoke(main, "profiles", "--no-sync", "--state", state)
    assert locked.exit_code == Exit.REFUSED
    assert "locked by a passphrase" in locked.stderr
    file = state.parent / "passphrase"
    file.write_text("another passphrase\n")
    monkeypatch.setenv("PHAROS_PASSPHRASE_FILE", str(file))
    wrong = invoke(main, "protect", "--by", "key-file", "--state", state)
    assert (wrong.exit_code, "nothing was changed" in wrong.stderr) == (Exit.REFUSED, True)
    file.write_text(devices.PASSPHRASE)
    assert invoke_json(main, "protect", "--by", "key-file", "--state", state)["protection"] == "key-file"
    short = invoke(main, "protect", "--by", "passphrase", "--state", state, stdin="short\n")
    assert (short.exit_code, "12 characters" in short.stderr) == (Exit.FAILED, True)


async def test_device_joins_two_real_fleets_and_each_knows_its_own(tmp_path: Path) -> None:
    state = tmp_path / "device"
    async with running_fleet(tmp_path / "one", buoys=()) as one, running_fleet(tmp_path / "two", buoys=()) as two:
        joined = []
        for fleet in (one, two):
            link = (await fleet.invite()).render()
            done = await trio.to_thread.run_sync(
                lambda link=link: invoke(main, "enroll", "-", "--json", "--state", state, stdin=link + "\n")
            )
            assert done.exit_code == Exit.DONE, done.output
            joined.append(json.loads(done.stdout)["fleet"])
            again = await trio.to_thread.run_sync(
                lambda link=link: invoke(main, "enroll", "-", "--state", state, stdin=link + "\n")
            )
            assert "already" in again.stderr
        assert len(set(joined)) == 2
        for name in joined:
            async with open_client(state, name) as client:
                outcome = await client.sync()
                assert (client.profile().fleet, outcome.changed) == (name, False)
        assert fleets_module.Fleets(state).default().id == joined[0]


def test_machines_configuration_and_running_connection_are_of_no_fleet(state: Path, other: Authority) -> None:
    second = Fleets(state).find(join(state, other)).path
    (state / "connect.toml").write_text("lan = false\n")
    assert config_file(second, None) == config_file(state, None) == state / "connect.toml"
    running = Running(status=lambda: {"phase": "up"}, watch=lambda: pytest.fail("nobody watches"))

    async def ask() -> list[object]:
        async with open_control(second / SOCKET_NAME, running):
            return [await running_status(path) for path in (state, second)]

    assert trio.run(ask) == [{"phase": "up"}] * 2


def test_organisation_that_locks_profiles_keeps_its_fleet(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    managed = state.parent / "managed.toml"
    managed.write_text('organisation = "Example Inc."\n')
    monkeypatch.setattr("pharos.caravel.cli.posture.MANAGED_FILE", managed)
    monkeypatch.setattr("pharos.caravel.cli.posture.ROOT", os.geteuid())
    had = devices.kept(state)
    only = Fleets(state).default().id
    for words in (["--forget", only, "--yes"], ["--default", only]):
        refused = invoke(main, "fleets", *words, "--state", state)
        assert (refused.exit_code, "Example Inc." in refused.stderr) == (Exit.REFUSED, True)
    assert devices.kept(state) == had
