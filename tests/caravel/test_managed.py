"""What an organisation decides: read from root's files alone, understood whole or refused, and held to."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.cli import main
from pharos.caravel.client import Client
from pharos.caravel.errors import ManagedError, SourceError
from pharos.caravel.managed import Floor, Managed, NewNodes, Posture, SplitMode, posture_of
from pharos.caravel.managedfile import MAX_DROP_INS, MAX_MANAGED, check_file, read_managed
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.given import is_given, note_given
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.caravel.profiles.pins import WAIT, Pins, Standing
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sources.base import Choices
from pharos.caravel.sources.enrolment import enrol_managed, managed_source
from pharos.caravel.sources.read import read_source
from pharos.wire.console import Exit
from pharos.wire.errors import ConfigError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.profile import Profile, ProfileNode
from tests.support.fleet import running_fleet
from tests.support.sources import CONF
from tests.support.strategies import junk_json, quick
from tests.wire.reality.test_sharelink import FOUND, LINK
from tests.wire.seal.test_ticket import FLEET_TEXT, TEXT

OWNER = os.geteuid()
WHOLE = f"""
organisation = "Example Corp"
sources = ["ticket", "conf"]
lock_profiles = false
admin = true
always_on = true
kill_switch = true
allow_lan = false
floor = "reality"
new_nodes = "refuse"
default_fleet = "0123"
log = "debug"

[enrolment]
fleet_link = "{FLEET_TEXT}"

[split]
mode = "exclude"
routes = ["192.168.0.0/16"]
domains = ["*.example.com"]
users = ["backup"]
cgroups = ["/system.slice/x.service"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    return folder / "managed.toml"


def write(file: Path, text: str, mode: int = 0o644) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


def read(file: Path) -> Managed | None:
    return read_managed(file, owner=OWNER)


class TestReading:
    def test_without_a_file_a_device_is_a_persons(self, file: Path) -> None:
        assert read(file) is None
        assert posture_of(None) is Posture.PERSONAL

    def test_every_key_is_read(self, file: Path) -> None:
        found = read(write(file, WHOLE))
        assert found is not None
        assert posture_of(found) is Posture.MANAGED
        assert (found.organisation, found.sources, found.default_fleet) == ("Example Corp", ("ticket", "conf"), "0123")
        assert (found.kill_switch, found.allow_lan, found.always_on, found.admin) == (True, False, True, True)
        assert (found.floor, found.new_nodes) == (Floor.REALITY, NewNodes.REFUSE)
        assert found.split is not None
        assert (found.split.mode, found.split.users) == (SplitMode.EXCLUDE, ("backup",))

    def test_one_key_is_enough_and_the_rest_is_strict(self, file: Path) -> None:
        found = read(write(file, 'organisation = "Example"'))
        assert found == Managed(organisation="Example")
        assert (found.sources, found.lock_profiles, found.admin) == ((), True, False)
        assert (found.kill_switch, found.allow_lan, found.floor, found.split) == (None, None, None, None)

    def test_drop_ins_win_by_their_names_key_by_key(self, file: Path) -> None:
        write(file, WHOLE)
        folder = file.with_name("managed.d")
        folder.mkdir(mode=0o755)
        write(folder / "20-b.toml", 'log = "error"\n[split]\nroutes = []\n')
        write(folder / "10-a.toml", 'log = "info"\nalways_on = false\n')
        write(folder / "notes.txt", "no TOML")
        found = read(file)
        assert found is not None
        assert (found.log.value, found.always_on) == ("error", False)
        assert found.split is not None
        assert (found.split.routes, found.split.users) == ((), ("backup",))

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "organisation must be there"),
            ('organisation = ""', "printable"),
            ('organisation = "a\\u001b[2J"', "organisation"),
            ('organisation = "x"\nalways-on = true', "'always-on'"),
            ('organisation = "x"\n[split]\nroute = []', "'split.route'"),
            ('organisation = "x"\nsplit = 1', "split must be a table"),
            ('organisation = "x"\nalways_on = 1', "always_on = 1"),
            ('organisation = "x"\nkill_switch = "no"', "kill_switch"),
            ('organisation = "x"\nfloor = "plain"', "any, reality, amneziawg"),
            ('organisation = "x"\nsources = ["login", "cloud"]', "'cloud'"),
            ('organisation = "x"\nsources = "login"', "sources"),
            ('organisation = "x"\n[enrolment]\nticket_file = "ticket"', "absolute"),
            ('organisation = "x"\n[enrolment]\nfleet_link = "pharosvpn://x"', "enrolment.fleet_link"),
            (f'organisation = "x"\n[enrolment]\nticket_file = "/t"\nfleet_link = "{FLEET_TEXT}"', "exclude"),
            ("organisation = ", "not TOML"),
            ("a = " + "[" * 5000, "not TOML"),
        ],
    )
    def test_what_is_not_understood_is_refused_with_its_key(self, text: str, why: str, file: Path) -> None:
        with pytest.raises(ConfigError, match=why.replace("[", r"\[")) as caught:
            read(write(file, text))
        assert str(file) in str(caught.value)
        with pytest.raises(ConfigError):
            check_file(file)

    @quick
    @given(st.dictionaries(st.sampled_from([*Managed.__annotations__, "x"]), junk_json, max_size=4))
    def test_whatever_is_written_is_understood_whole_or_refused(self, body: dict[str, object]) -> None:
        lines = []
        for key, value in body.items():
            try:
                lines.append(f"{key} = {json.dumps(value)}")
            except ValueError:
                continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.toml"
            path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
            try:
                found = check_file(path)
            except ConfigError:
                return
        assert found.organisation == body["organisation"]


class TestTrust:
    @pytest.mark.parametrize("mode", [0o666, 0o664, 0o622, 0o777])
    def test_a_file_that_others_could_write_is_not_believed(self, mode: int, file: Path) -> None:
        with pytest.raises(ConfigError, match="nothing of it is believed"):
            read(write(file, WHOLE, mode))

    def test_nor_one_of_somebody_else(self, file: Path) -> None:
        write(file, WHOLE)
        with pytest.raises(ConfigError, match="others than root"):
            read_managed(file, owner=OWNER + 1)

    def test_nor_one_in_a_directory_that_others_could_write(self, file: Path) -> None:
        write(file, WHOLE)
        file.parent.chmod(0o777)
        with pytest.raises(ConfigError, match="chmod"):
            read(file)

    def test_nor_a_link_a_pipe_or_a_directory(self, file: Path, tmp_path: Path) -> None:
        elsewhere = write(tmp_path / "elsewhere", WHOLE)
        file.symlink_to(elsewhere)
        with pytest.raises(ConfigError, match="cannot be read"):
            read(file)
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(ConfigError, match="is not a file"):
            read(file)
        file.unlink()
        file.mkdir()
        with pytest.raises(ConfigError):
            read(file)

    def test_drop_ins_are_held_to_the_same(self, file: Path) -> None:
        write(file, WHOLE)
        folder = file.with_name("managed.d")
        folder.mkdir(mode=0o755)
        one = write(folder / "1.toml", "", 0o666)
        with pytest.raises(ConfigError, match=r"1\.toml"):
            read(file)
        one.chmod(0o644)
        folder.chmod(0o777)
        with pytest.raises(ConfigError, match=r"managed\.d"):
            read(file)

    def test_sizes_have_an_end(self, file: Path) -> None:
        with pytest.raises(ConfigError, match="larger"):
            read(write(file, "#" * (MAX_MANAGED + 1)))
        write(file, WHOLE)
        folder = file.with_name("managed.d")
        folder.mkdir(mode=0o755)
        for number in range(MAX_DROP_INS + 1):
            write(folder / f"{number}.toml", "")
        with pytest.raises(ConfigError, match="more than"):
            read(file)


class TestNewNodes:
    def standings(self, managed: Managed | None, age: int) -> Standing:
        node = ProfileNode(
            id=NodeId("n"),
            name="n",
            tags=(),
            derive_key=b"d" * 32,
            generation=1,
            addresses=(),
            access=(),
            other_awg_key=b"k" * 32,
        )
        fleet = FleetId("0" * 16)
        profile = Profile(fleet=fleet, device_id=None, addresses=(), nodes=(node,), relays=())  # type: ignore[arg-type]
        pins = Pins().after(profile, now=WAIT, first=False)
        wait = WAIT if managed is None else managed.new_node_wait
        return pins.standing(fleet, node, now=WAIT + age, wait=wait)

    def test_they_wait_a_day_are_taken_at_once_or_never(self) -> None:
        for policy, fresh, old in (
            (None, Standing.NEW, Standing.KNOWN),
            (NewNodes.WAIT, Standing.NEW, Standing.KNOWN),
            (NewNodes.ACCEPT, Standing.KNOWN, Standing.KNOWN),
            (NewNodes.REFUSE, Standing.NOT_ALLOWED, Standing.NOT_ALLOWED),
        ):
            managed = None if policy is None else Managed(organisation="x", new_nodes=policy)
            assert (self.standings(managed, 0), self.standings(managed, WAIT)) == (fresh, old)
        assert Standing.NOT_ALLOWED.refused


class TestLibrary:
    async def test_a_source_that_is_not_allowed_is_refused_with_the_organisations_name(self, tmp_path: Path) -> None:
        choices = Choices(managed=Managed(organisation="Example Corp", sources=("conf",)))
        for text in (LINK, TEXT, FLEET_TEXT):
            with pytest.raises(ManagedError, match="Example Corp") as caught:
                await read_source(text).take(tmp_path / "s", choices)
            assert caught.value.organisation == "Example Corp"
        assert not (tmp_path / "s").exists()
        await read_source(CONF).take(tmp_path / "s", choices)

    def test_locked_profiles_are_neither_confirmed_nor_exported(self, tmp_path: Path) -> None:
        client = Client(ProfileStore(tmp_path / "s"), managed=Managed(organisation="Example Corp"))
        with pytest.raises(ManagedError):
            client.confirm("a")
        with pytest.raises(ManagedError):
            client.share_link("a")

    async def test_a_device_joins_by_the_ticket_that_was_rolled_out_and_once(self, tmp_path: Path, file: Path) -> None:
        async with running_fleet(tmp_path / "fleet") as fleet:
            ticket, state = await fleet.invite(), tmp_path / "s"
            rolled_out = write(file.with_name("ticket"), ticket.render() + "\n", 0o600)
            managed = read(write(file, f'organisation = "x"\n[enrolment]\nticket_file = "{rolled_out}"\n'))
            assert managed is not None
            choices = Choices(managed=managed)
            taken = await enrol_managed(state, managed, choices)
            assert taken is not None
            assert taken.enrolled is not None
            assert not rolled_out.exists()
            assert [one.id for one in Fleets(state).list()] == [ticket.fleet]
            assert await enrol_managed(state, managed, choices) is None
            # Put there again by whatever rolls it out.
            write(rolled_out, ticket.render())
            assert await enrol_managed(state, managed, choices) is None

    def test_a_file_without_a_ticket_in_it_says_what_there_is_instead(self, file: Path) -> None:
        other = write(file.with_name("ticket"), LINK)
        managed = check_file(write(file, f'organisation = "x"\n[enrolment]\nticket_file = "{other}"\n'))
        with pytest.raises(SourceError, match="no ticket"):
            managed_source(managed)
        with pytest.raises(SourceError, match=r"\[enrolment\]"):
            managed_source(Managed(organisation="x"))


class TestCommands:
    @pytest.fixture
    def device(self, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setattr("pharos.caravel.cli.posture.MANAGED_FILE", file)
        monkeypatch.setattr("pharos.caravel.cli.posture.ROOT", OWNER)
        monkeypatch.setattr("pharos.caravel.cli.posture.DEFAULT_STATE", tmp_path / "s")
        return tmp_path / "s"

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    def listed(self) -> set[str]:
        lines = self.run("--help").output.partition("Commands:")[2].splitlines()
        return {line.split()[0] for line in lines if line.strip()}

    def test_what_is_not_allowed_is_hidden_and_refused(self, device: Path, file: Path) -> None:
        everything = self.listed()
        assert {"login", "import", "open", "enroll", "export"} <= everything
        write(file, 'organisation = "Example Corp"')
        assert everything - self.listed() == {"login", "import", "open", "enroll", "export"}
        for arguments in (
            ("login", FLEET_TEXT),
            ("enroll", TEXT),
            ("import", LINK, "--state", str(device)),
            ("open", LINK, "--words", "x"),
            ("export", "cafe", "--qr"),
            ("admin", "status"),
            ("profiles", "--forget", "cafe", "--state", str(device)),
            ("profiles", "--confirm", "a", "--state", str(device)),
        ):
            done = self.run(*arguments)
            assert done.exit_code == Exit.REFUSED, (arguments, done.output)
            assert "Example Corp" in done.stderr
        assert "Example Corp" in self.run("login", "--help").output

    def test_what_is_allowed_is_there(self, device: Path, file: Path) -> None:
        write(file, 'organisation = "x"\nsources = ["links"]\nlock_profiles = false\nadmin = true\n')
        assert {"import", "open", "export", "admin"} <= self.listed()
        assert "login" not in self.listed()
        assert self.run("import", LINK, "--name", "a", "--state", str(device)).exit_code == Exit.DONE
        refused = self.run("import", CONF_FILE(device.parent), "--state", str(device))
        assert refused.exit_code == Exit.REFUSED
        assert self.run("profiles", "--forget", "a", "--state", str(device)).exit_code == Exit.DONE

    def test_a_file_that_is_not_believed_stops_everything_but_a_look_at_it(self, device: Path, file: Path) -> None:
        write(file, 'organisation = "x"\nalways-on = true\n')
        LinkStore(device).add(KeptLink(name="a", link=FOUND))
        for arguments in (("import", LINK, "--state", str(device)), ("export", "a", "--state", str(device))):
            done = self.run(*arguments)
            assert done.exit_code == Exit.FAILED
            assert "'always-on'" in done.stderr
        assert "import" not in self.listed()
        checked = self.run("managed", "check", str(file))
        assert checked.exit_code == Exit.FAILED
        assert "'always-on'" in checked.stderr

    def test_anybody_may_see_what_is_decided(self, device: Path, file: Path) -> None:
        assert json.loads(self.run("managed", "show", "--json").stdout) == {"posture": "personal"}
        write(file, WHOLE)
        told = json.loads(self.run("managed", "show", "--json").stdout)
        assert (told["posture"], told["organisation"], told["floor"]) == ("managed", "Example Corp", "reality")
        assert told["split"]["routes"] == ["192.168.0.0/16"]
        shown = self.run("managed", "show").stdout
        assert "Example Corp" in shown
        assert "is good" in self.run("managed", "check", str(file)).stdout

    def test_a_personal_device_does_not_enrol_by_a_file_that_is_not_there(self, device: Path) -> None:
        done = self.run("managed", "enroll", "--state", str(device))
        assert done.exit_code == Exit.FAILED
        assert "a person's" in done.stderr


def CONF_FILE(folder: Path) -> str:  # noqa: N802 -- a file as an argument
    (folder / "x.conf").write_text(CONF)
    return str(folder / "x.conf")


async def test_the_admin_section_is_listed_once_helm_has_said_that_the_device_is_an_admins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "device-laptop"
    monkeypatch.setattr("pharos.caravel.cli.posture.DEFAULT_STATE", state)
    monkeypatch.setattr("pharos.caravel.cli.posture.MANAGED_FILE", tmp_path / "none")

    def is_listed() -> bool:
        return "\n  admin " in CliRunner().invoke(main, ["--help"]).output

    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        async with fleet.client() as client:
            await client.sync()
            assert not is_listed()
            admin = await fleet.ask("POST", "/api/v1/admins", {"name": "ada", "role": "owner"})
            await fleet.ask("POST", f"/api/v1/admins/{admin['id']}/give-device", {"device": enrolled.device_id})
            await client.sync()
            assert is_listed()
            assert is_given(state)
    note_given(state, desk=False)
    assert not is_listed()
    # It is never refused for that: whoever was given a device a minute ago has not synced yet.
    assert CliRunner().invoke(main, ["admin", "--help"]).exit_code == Exit.DONE
