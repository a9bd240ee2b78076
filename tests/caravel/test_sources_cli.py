"""`caravel import`, `export` and `key` with everything but links: files, images, whole devices."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from pharos.caravel.cli import asking, main
from pharos.caravel.profiles.confs import ConfStore
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.links import LinkStore
from pharos.caravel.profiles.store import ProfileStore
from pharos.helm.accounts import login as login_passage
from pharos.wire.console import Exit
from pharos.wire.seal.pharosfile import Closure, read_file_header
from pharos.wire.seal.ticket import FleetLink
from pharos.wire.seal.words import fleet_words
from tests.support.fleet import running_fleet
from tests.support.sources import CONF, OTHER_LINK, PRIVATE_KEY, SUBSCRIPTION, code_image, encoded, qr_png
from tests.wire.reality.test_sharelink import LINK, UUID
from tests.wire.seal.test_ticket import FLEET_TEXT, TEXT, TICKET

PASSPHRASE = "correct horse battery"


def caravel(state: Path, *arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(main, [*arguments, "--state", str(state)], input=stdin)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "s"


class TestImages:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_a_photograph_of_a_code_is_a_link(self, kind: str, state: Path, tmp_path: Path) -> None:
        photo = code_image(LINK).rotate(7, expand=True, fillcolor=200).convert("RGB")
        (tmp_path / "IMG_1").write_bytes(encoded(photo, kind))
        assert caravel(state, "import", str(tmp_path / "IMG_1"), "--name", "cafe").exit_code == Exit.DONE
        assert LinkStore(state).find("cafe").link.address.host == "203.0.113.7"

    def test_a_code_on_nothing_is_seen_as_on_white(self, state: Path) -> None:
        drawn = code_image(LINK)
        clear = drawn.convert("RGBA")
        clear.putalpha(drawn.point(lambda grey: 255 - grey))
        assert caravel(state, "import", "-", stdin=encoded(clear, "PNG")).exit_code == Exit.DONE

    def test_of_several_codes_one_is_chosen_by_what_it_is(self, state: Path) -> None:
        data = qr_png(LINK, OTHER_LINK, TEXT, "hello")
        asked = caravel(state, "import", "-", stdin=data)
        assert asked.exit_code == Exit.FAILED
        assert "1: a link into a node: Amsterdam" in asked.stderr
        assert "3: an invitation" in asked.stderr
        assert "4: something else" in asked.stderr
        assert UUID not in asked.stderr
        assert caravel(state, "import", "-", "--pick", "2", stdin=data).exit_code == Exit.DONE
        assert [one.name for one in LinkStore(state).all()] == ["Berlin 🚢"]
        assert caravel(state, "import", "-", "--pick", "9", stdin=data).exit_code == Exit.FAILED

    def test_the_same_code_twice_is_one(self, state: Path) -> None:
        assert caravel(state, "import", "-", stdin=qr_png(LINK, LINK)).exit_code == Exit.DONE

    def test_an_image_without_a_code_says_what_to_do(self, state: Path) -> None:
        done = caravel(state, "import", "-", stdin=encoded(code_image(LINK).resize((16, 16)), "PNG"))
        assert done.exit_code == Exit.FAILED
        assert "no QR code is seen" in done.stderr


class TestConfigurations:
    def test_one_is_imported_listed_exported_and_forgotten(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "office.conf").write_text(CONF)
        done = caravel(state, "import", str(tmp_path / "office.conf"))
        assert done.exit_code == Exit.DONE
        assert "office  node.example:51820" in done.stdout
        listed = json.loads(caravel(state, "profiles", "--json").stdout)
        assert [(one["name"], one["protocol"]) for one in listed["configurations"]] == [("office", "AmneziaWG")]
        shown = caravel(state, "profiles").stdout
        assert "office" in shown
        assert PRIVATE_KEY not in done.output + shown + json.dumps(listed)
        exported = caravel(state, "export", "office")
        assert exported.exit_code == Exit.DONE
        assert caravel(tmp_path / "t", "import", "-", "--name", "office", stdin=exported.stdout).exit_code == Exit.DONE
        assert ConfStore(tmp_path / "t").all() == ConfStore(state).all()
        assert caravel(state, "profiles", "--forget", "office").exit_code == Exit.DONE
        assert ConfStore(state).all() == ()

    def test_a_command_for_roots_shell_is_refused(self, state: Path) -> None:
        done = caravel(state, "import", "-", stdin=CONF.replace("DNS", "PostUp = touch /tmp/canary\nDNS"))
        assert done.exit_code == Exit.FAILED
        assert "runs no commands" in done.stderr


class TestFiles:
    def prepare(self, state: Path) -> None:
        caravel(state, "import", LINK, "--name", "cafe", "--no-post-quantum")
        caravel(state, "import", "-", "--name", "office", stdin=CONF)

    def test_several_go_from_one_device_to_another_under_a_passphrase(self, state: Path, tmp_path: Path) -> None:
        self.prepare(state)
        file, there = tmp_path / "mine.pharos", tmp_path / "t"
        short = caravel(state, "export", "cafe", "office", "--file", str(file), stdin="short\n")
        assert short.exit_code == Exit.USAGE
        assert not file.exists()
        done = caravel(state, "export", "cafe", "office", "--file", str(file), stdin=PASSPHRASE + "\n")
        assert done.exit_code == Exit.DONE, done.output
        assert read_file_header(file.read_bytes()).closure is Closure.PASSWORD
        wrong = caravel(there, "import", str(file), stdin="wrong horse battery\n")
        assert wrong.exit_code == Exit.FAILED
        assert "not the passphrase" in wrong.stderr
        taken = caravel(there, "import", str(file), stdin=PASSPHRASE + "\n")
        assert taken.exit_code == Exit.DONE, taken.output
        assert LinkStore(there).all() == LinkStore(state).all()
        assert ConfStore(there).all() == ConfStore(state).all()

    def test_what_stands_open_is_said_so(self, state: Path, tmp_path: Path) -> None:
        self.prepare(state)
        file = tmp_path / "open.pharos"
        assert caravel(state, "export", "cafe", "--file", str(file), "--open").exit_code == Exit.DONE
        done = caravel(tmp_path / "t", "import", str(file), "--name", "renamed")
        assert done.exit_code == Exit.DONE
        assert "closed to nobody" in done.stderr
        assert LinkStore(tmp_path / "t").find("renamed").options.post_quantum is False
        again = caravel(tmp_path / "u", "import", str(file), "--post-quantum")
        assert again.exit_code == Exit.DONE
        assert LinkStore(tmp_path / "u").find("cafe").options.post_quantum is True

    def test_full_disk_leaves_no_half_of_a_file(
        self, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.prepare(state)
        file = tmp_path / "x.pharos"
        words = ("export", "cafe", "--file", str(file), "--open")

        def full(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            done = caravel(state, *words)
        assert done.exit_code == Exit.FAILED
        assert "make room there" in done.stderr
        assert not file.exists()
        assert caravel(state, *words).exit_code == Exit.DONE

    def test_what_does_not_go_together_is_told_so(self, state: Path, tmp_path: Path) -> None:
        self.prepare(state)
        file = str(tmp_path / "x.pharos")
        for arguments in (
            ("cafe", "office"),
            ("--device",),
            (),
            ("cafe", "--device", "--file", file),
            ("cafe", "--open"),
            ("cafe", "--file", file, "--open", "--for", "0" * 64),
            ("cafe", "--file", file, "--for", "0" * 64),
            ("cafe", "--file", file, "--for", "xx"),
            ("cafe", "--file", file, "--qr"),
        ):
            assert caravel(state, "export", *arguments).exit_code == Exit.USAGE, arguments
        assert not Path(file).exists()
        unknown = caravel(state, "export", "cafe", "none", "--file", file, "--open")
        assert unknown.exit_code == Exit.FAILED

    def test_a_subscription_is_kept_with_what_was_passed_over(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "sub").write_bytes(SUBSCRIPTION)
        done = caravel(state, "import", str(tmp_path / "sub"))
        assert done.exit_code == Exit.DONE, done.output
        assert "trojan://" in done.stderr
        assert "hunter2" not in done.output
        assert len(LinkStore(state).all()) == 3


@pytest.mark.parametrize("link", [TEXT, FLEET_TEXT])
def test_what_would_join_a_fleet_is_not_imported_without_a_person(link: str, state: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(encoded(code_image(link), "JPEG"))
    done = caravel(state, "import", str(tmp_path / "holiday.jpg"))
    assert done.exit_code == Exit.USAGE
    assert "--words" in done.stderr
    assert not state.exists()


async def test_a_whole_device_moves_to_another_machine_in_a_file(tmp_path: Path) -> None:
    async def there(folder: Path, *arguments: str, stdin: str = "") -> Result:
        return await trio.to_thread.run_sync(lambda: caravel(folder, *arguments, stdin=stdin))

    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        here, machine, file = tmp_path / "device-laptop", tmp_path / "machine", tmp_path / "laptop.pharos"
        done = await there(here, "export", "--device", "--file", str(file), stdin=PASSPHRASE + "\n")
        assert done.exit_code == Exit.DONE, done.output
        words = fleet_words(enrolled.root_hash)
        refused = await there(machine, "import", str(file), stdin=PASSPHRASE + "\n")
        assert refused.exit_code == Exit.USAGE
        assert words in refused.stderr
        taken = await there(machine, "import", str(file), "--words", words, "--json", stdin=PASSPHRASE + "\n")
        assert taken.exit_code == Exit.DONE, taken.output
        assert json.loads(taken.stdout)["device"] == enrolled.device_id
        moved = ProfileStore(machine)
        assert moved.enrolled().words == enrolled.words
        assert moved.bundle() == fleet.device_store("laptop").bundle()
        again = await there(machine, "import", str(file), "--words", words, stdin=PASSPHRASE + "\n")
        assert again.exit_code == Exit.FAILED
        assert "already" in again.stderr
        # And it is one: it syncs, and opens what was closed for it.
        assert json.loads((await there(machine, "profiles", "--json")).stdout)["synced"] is True
        key = (await there(machine, "key")).stdout.strip()
        await there(here, "import", LINK, "--name", "cafe")
        closed = tmp_path / "cafe.pharos"
        assert (await there(here, "export", "cafe", "--file", str(closed), "--for", key)).exit_code == Exit.DONE
        stranger = await there(tmp_path / "stranger", "import", str(closed))
        assert stranger.exit_code == Exit.FAILED
        assert (await there(machine, "import", str(closed))).exit_code == Exit.DONE
        assert LinkStore(machine).find("cafe").link.address.host == "203.0.113.7"
        assert len(Fleets(machine).list()) == 1


async def test_an_account_joins_by_a_link_that_somebody_opened_and_by_what_an_organisation_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_passage, "FAILURE_PAUSE", 0.0)
    async with running_fleet(tmp_path) as fleet:
        user = await fleet.ask("POST", "/api/v1/users", {"name": "ada", "email": "ada@example.org"})
        await fleet.ask("POST", f"/api/v1/users/{user['id']}/passphrase", {"passphrase": PASSPHRASE})
        link = FleetLink.parse((await fleet.ask("GET", "/api/v1/fleet/link"))["link"])

        async def there(state: Path, *arguments: str) -> Result:
            stdin = f"{PASSPHRASE}\n"
            return await trio.to_thread.run_sync(lambda: caravel(state, *arguments, stdin=stdin))

        words, email = fleet_words(link.root_hash), ("--email", "ada@example.org")
        opened = await there(tmp_path / "opened", "open", link.render(), "--words", words, *email)
        assert opened.exit_code == Exit.DONE, opened.output
        imported = await trio.to_thread.run_sync(
            lambda: caravel(
                tmp_path / "imported",
                "import",
                link.render(),
                "--words",
                words,
                stdin=f"ada@example.org\n{PASSPHRASE}\n",
            )
        )
        assert imported.exit_code == Exit.DONE, imported.output
        wrong = await trio.to_thread.run_sync(
            lambda: caravel(tmp_path / "wrong", "open", link.render(), "--words", words, *email, stdin="no\nno\nno\n")
        )
        assert wrong.exit_code == Exit.REFUSED

        managed = tmp_path / "managed.toml"
        managed.write_text(f'organisation = "Example Corp"\n[enrolment]\nfleet_link = "{link.render()}"\n')
        managed.chmod(0o644)
        monkeypatch.setattr("pharos.caravel.cli.posture.MANAGED_FILE", managed)
        monkeypatch.setattr("pharos.caravel.cli.posture.ROOT", os.geteuid())
        state = tmp_path / "rolled-out"
        joined = await there(state, "managed", "enroll", *email)
        assert joined.exit_code == Exit.DONE, joined.output
        assert "joined already" in (await there(state, "managed", "enroll", *email)).stdout
        assert [one.id for one in Fleets(state).list()] == [link.fleet]


class TestAtATerminal:
    @pytest.fixture(autouse=True)
    def _terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asking, "at_terminal", lambda: True)
        monkeypatch.setattr("pharos.caravel.cli.exports.at_terminal", lambda: True)

    @pytest.mark.parametrize("answer", ["n\n", "\n", "no\n"])
    def test_whoever_does_not_say_yes_joins_nothing(self, answer: str, state: Path) -> None:
        for command in ("open", "import"):
            done = caravel(state, command, TEXT, stdin=answer)
            assert done.exit_code == Exit.FAILED
            assert fleet_words(TICKET.root_hash) in done.stderr
            assert "Shall it be done?" in done.stderr
            assert not state.exists()

    def test_whoever_agrees_keeps_the_link(self, state: Path) -> None:
        assert caravel(state, "open", LINK, stdin="y\n").exit_code == Exit.DONE
        assert [one.link.address.host for one in LinkStore(state).all()] == ["203.0.113.7"]

    def test_a_passphrase_is_asked_for_three_times_and_a_new_one_twice(self, state: Path, tmp_path: Path) -> None:
        caravel(state, "import", LINK, "--name", "cafe")
        file = str(tmp_path / "x.pharos")
        mistyped = caravel(state, "export", "cafe", "--file", file, stdin=f"{PASSPHRASE}\n{PASSPHRASE}x\n")
        assert mistyped.exit_code == Exit.USAGE
        assert caravel(state, "export", "cafe", "--file", file, stdin=f"{PASSPHRASE}\n" * 2).exit_code == Exit.DONE
        there = tmp_path / "t"
        assert caravel(there, "import", file, stdin="a\nb\nc\n").exit_code == Exit.FAILED
        assert caravel(there, "import", file, stdin=f"a\nb\n{PASSPHRASE}\n").exit_code == Exit.DONE
