"""Share links: kept without a fleet, shown without their secret, and handed on with a warning."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

from pharos.caravel.cli import main
from pharos.caravel.errors import LinkNameTakenError, NoSuchLinkError
from pharos.caravel.profiles import links as module
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.wire.console import Exit
from pharos.wire.errors import LinkFormatError, StateFileError
from pharos.wire.files import StateFile
from pharos.wire.reality.options import DialOptions
from pharos.wire.reality.sharelink import ShareLink
from tests.wire.reality.test_sharelink import FOUND, LINK, UUID

NAME = "Amsterdam 🚢"
OTHER = LINK.replace("203.0.113.7", "203.0.113.8")


def caravel(state: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [*arguments, "--state", str(state)], input=stdin)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "s"


class TestStore:
    def test_a_link_is_kept_for_its_owner_alone_with_what_was_chosen_for_it(self, state: Path) -> None:
        kept = KeptLink(name="cafe", link=FOUND, options=DialOptions(post_quantum=False, version=(1, 8, 0)))
        LinkStore(state).add(kept)
        assert LinkStore(state).all() == (kept,)
        assert LinkStore(state).find("cafe") == kept
        assert stat.S_IMODE((state / "links.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(state.stat().st_mode) == 0o700

    def test_another_link_of_that_name_is_a_conflict_and_leaves_all_as_it_was(self, state: Path) -> None:
        store = LinkStore(state)
        one, other = KeptLink(name="one", link=FOUND), KeptLink(name="other", link=FOUND)
        store.add(one)
        store.add(one)
        changed = attrs.evolve(one, link=ShareLink.parse(OTHER))
        with pytest.raises(LinkNameTakenError, match="--replace"):
            store.add(other, changed)
        assert store.all() == (one,)
        store.add(other, changed, replace=True)
        assert store.all() == (changed, other)

    def test_a_link_can_be_forgotten_once(self, state: Path) -> None:
        store = LinkStore(state)
        store.add(KeptLink(name="one", link=FOUND))
        store.remove("one")
        assert store.all() == ()
        with pytest.raises(NoSuchLinkError, match="there are: none"):
            store.remove("one")

    def test_a_damaged_file_is_left_as_it_is_and_its_secret_is_not_quoted(self, state: Path) -> None:
        store = LinkStore(state)
        store.add(KeptLink(name="one", link=FOUND))
        file = state / "links.json"
        for body in ({}, {"links": [{"name": "a"}]}, {"links": [{"name": "a", "link": LINK + "%"}]}, {"links": 1}):
            StateFile(file, "pharos/device-links/v1", "").save(body)
            with pytest.raises(StateFileError) as caught:
                store.all()
            assert UUID not in repr(caught.value)
        file.write_text("{")
        with pytest.raises(StateFileError, match="import the links again"):
            store.all()
        assert file.read_text() == "{"

    def test_there_is_a_most_of_links(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_LINKS", 1)
        store = LinkStore(state)
        store.add(KeptLink(name="one", link=FOUND))
        with pytest.raises(LinkFormatError, match="1 links at most"):
            store.add(KeptLink(name="two", link=FOUND))

    @pytest.mark.parametrize("name", ["", " a", "a\n", "-a", "vless://a", "a" * 65, "\x1b[31m"])
    def test_a_name_is_one_that_can_be_shown_and_typed(self, name: str) -> None:
        with pytest.raises(LinkFormatError, match="--name"):
            KeptLink(name=name, link=FOUND)


class TestCommands:
    def test_import_profiles_export_and_forget_work_in_turn_without_a_fleet(self, state: Path) -> None:
        done = caravel(state, "import", LINK)
        assert done.exit_code == Exit.DONE, done.output
        assert f"{NAME} leads to 203.0.113.7:443" in done.stdout
        listed = json.loads(caravel(state, "profiles", "--json").stdout)
        assert (listed["fleet"], listed["nodes"]) == (None, [])
        assert listed["links"] == [
            {
                "name": NAME,
                "address": "203.0.113.7:443",
                "server_name": "www.site.test",
                "flow": "xtls-rprx-vision",
                "fingerprint": "chrome",
                "post_quantum": True,
                "client_version": "26.3.27",
            }
        ]
        assert "203.0.113.7:443" in caravel(state, "profiles").stdout
        exported = caravel(state, "export", NAME)
        assert exported.stdout == LINK + "\n"
        assert "holds the secret" in exported.stderr
        assert caravel(state, "profiles", "--forget", NAME).exit_code == Exit.DONE
        assert caravel(state, "export", NAME).exit_code == Exit.FAILED
        assert "caravel enroll" in caravel(state, "profiles").stderr

    def test_nothing_but_export_shows_the_secret(self, state: Path) -> None:
        for arguments in (("import", LINK), ("import", LINK, "--json"), ("profiles",), ("profiles", "--json")):
            done = caravel(state, *arguments)
            assert done.exit_code == Exit.DONE
            assert UUID not in done.output

    def test_a_file_may_have_several_and_standard_input_keeps_one_out_of_sight(self, state: Path) -> None:
        state.mkdir(mode=0o700)
        file = state / "links.txt"
        file.write_text(f"# mine\n\n{LINK}\n{OTHER.replace('Amsterdam', 'Berlin')}\n")
        assert caravel(state, "import", str(file)).exit_code == Exit.DONE
        done = caravel(state, "import", "-", "--name", "third", "--no-post-quantum", "--json", stdin=LINK + "\n")
        assert [one["name"] for one in json.loads(done.stdout)] == ["third"]
        kept = LinkStore(state).all()
        assert [one.name for one in kept] == [NAME, NAME.replace("Amsterdam", "Berlin"), "third"]
        assert [one.options.post_quantum for one in kept] == [True, True, False]

    def test_a_link_without_a_name_is_called_as_its_host(self, state: Path) -> None:
        caravel(state, "import", LINK.partition("#")[0])
        assert [one.name for one in LinkStore(state).all()] == ["203.0.113.7"]

    def test_a_name_that_is_taken_is_a_conflict(self, state: Path) -> None:
        caravel(state, "import", LINK)
        assert caravel(state, "import", LINK).exit_code == Exit.DONE
        taken = caravel(state, "import", OTHER)
        assert taken.exit_code == Exit.CONFLICT
        assert "choose --name" in taken.stderr
        assert caravel(state, "import", "-", stdin=f"{LINK}\n{OTHER}\n").exit_code == Exit.CONFLICT
        assert caravel(state, "import", OTHER, "--replace").exit_code == Exit.DONE
        assert LinkStore(state).find(NAME).link.address.host == "203.0.113.8"

    def test_what_is_no_link_is_told_so_and_keeps_nothing(self, state: Path, tmp_path: Path) -> None:
        for arguments, stdin, code in (
            (("import", "-"), "", Exit.FAILED),
            (("import", "-"), "ss://hunter2\n", Exit.FAILED),
            (("import", LINK.replace("reality", "tls")), None, Exit.FAILED),
            (("import", str(tmp_path / "none")), None, Exit.FAILED),
            (("import", LINK, "--client-version", "9"), None, Exit.FAILED),
            (("import", "-", "--name", "both"), f"{LINK}\n{OTHER}\n", Exit.USAGE),
        ):
            done = caravel(state, *arguments, stdin=stdin)
            assert done.exit_code == code, done.output
            assert "hunter2" not in done.output
            assert UUID not in done.output
        assert LinkStore(state).all() == ()

    def test_what_is_no_file_is_not_read(self, state: Path, tmp_path: Path) -> None:
        pipe, linked = tmp_path / "pipe", tmp_path / "linked"
        os.mkfifo(pipe)
        linked.symlink_to("/dev/zero")
        for path, why in (("/dev/zero", "is no file"), (pipe, "is no file"), (linked, "symbolic link")):
            done = caravel(state, "import", str(path))
            assert done.exit_code == Exit.FAILED
            assert why in done.stderr

    def test_a_qr_code_says_the_link_under_the_name_that_it_has_here(self, state: Path) -> None:
        caravel(state, "import", LINK, "--name", "cafe")
        drawn = caravel(state, "export", "cafe", "--qr")
        assert drawn.exit_code == Exit.DONE
        assert "█" in drawn.stdout or "▀" in drawn.stdout
        assert UUID not in drawn.stdout
        told = json.loads(caravel(state, "export", "cafe", "--json").stdout)
        assert told == {"name": "cafe", "link": LINK.partition("#")[0] + "#cafe"}

    def test_a_link_that_is_too_long_for_a_qr_code_says_so(self, state: Path) -> None:
        kept = KeptLink(name="long", link=attrs.evolve(FOUND, verify_key=b"v" * 1952, spider_path="/" * 100))
        LinkStore(state).add(kept)
        done = caravel(state, "export", "long", "--qr")
        assert done.exit_code == Exit.FAILED
        assert "too long for a QR code" in done.stderr
        assert caravel(state, "export", "long").exit_code == Exit.DONE
