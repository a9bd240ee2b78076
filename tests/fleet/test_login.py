"""A device joins by its user's account: through a real beacon, from a link that is no secret."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from click.testing import CliRunner, Result

from pharos.caravel.cli import main as caravel
from pharos.caravel.devices import Account, open_account
from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import HelmRefusedError, WrongPassphraseError
from pharos.caravel.login import Login, Method, open_login
from pharos.caravel.profiles.store import Enrolled
from pharos.helm.accounts import login as login_passage
from pharos.helm.cli import main as helm
from pharos.wire.console import Exit
from pharos.wire.errors import PeerRejectedError
from pharos.wire.seal.ticket import FleetLink, TicketLink
from tests.support.fleet import Fleet, running_fleet

pytestmark = pytest.mark.journey

EMAIL = "ada@example.org"
PASSPHRASE = "correct horse battery staple"
API = "/api/v1"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_passage, "FAILURE_PAUSE", 0.0)


class Scene:
    """A fleet with a user."""

    def __init__(self, fleet: Fleet, link: FleetLink, user: dict[str, Any]) -> None:
        self.fleet = fleet
        self.link = link
        self.user = user

    async def change_user(self, **changes: Any) -> None:
        path = f"{API}/users/{self.user['id']}"
        version = (await self.fleet.ask("GET", path))["version"]
        await self.fleet.ask("PATCH", path, changes, version=version)

    async def set_passphrase(self, passphrase: str = PASSPHRASE) -> None:
        await self.fleet.ask("POST", f"{API}/users/{self.user['id']}/passphrase", {"passphrase": passphrase})

    async def log_in(
        self, name: str = "laptop", *, email: str = EMAIL, passphrase: str = PASSPHRASE, link: FleetLink | None = None
    ) -> Enrolled:
        async with open_login(link or self.link) as login:
            await login.begin(Method.PASSPHRASE, email=email, device_name=name)
            assert await login.say_passphrase(passphrase) == "ada"
            return await login.enrol(self.fleet.device_store(name))

    async def invited(self, name: str) -> Enrolled:
        """Let ada's first device join by a ticket."""
        answer = await self.fleet.ask(
            "POST", f"{API}/tickets", {"device_name": name, "seconds": 900, "user": self.user["id"]}
        )
        return await enroll(self.fleet.device_store(name), TicketLink.parse(answer["link"]))

    @asynccontextmanager
    async def account(self, name: str) -> AsyncIterator[Account]:
        async with open_account(self.fleet.device_store(name)) as account:
            yield account

    async def audit(self, verb: str) -> list[str]:
        rows = (await self.fleet.ask("GET", f"{API}/audit?verb={verb}"))["items"]
        return [row["detail"] for row in rows]


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with running_fleet(tmp_path, buoys=()) as fleet:
        user = await fleet.ask("POST", f"{API}/users", {"name": "ada", "email": EMAIL})
        link = FleetLink.parse((await fleet.ask("GET", f"{API}/fleet/link"))["link"])
        yield Scene(fleet, link, user)


async def test_user_logs_in_by_passphrase_and_gets_a_device(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        with pytest.raises(PeerRejectedError):
            await here.log_in(link=attrs.evolve(here.link, root_hash=bytes(32)))
        await here.fleet.ask("POST", f"{API}/users", {"name": "bob", "email": "bob@example.org"})
        await here.set_passphrase()
        said = set()
        async with open_login(here.link) as login:
            for email in (EMAIL, "nobody@example.org", "bob@example.org"):
                await login.begin(Method.PASSPHRASE, email=email, device_name="x")
                with pytest.raises(WrongPassphraseError) as caught:
                    await login.say_passphrase("wrong horse battery staple")
                said.add(str(caught.value))
                with pytest.raises(HelmRefusedError, match="log in first"):
                    await login.enrol(here.fleet.device_store("thief"))
        assert len(said) == 1, "whoever it is, and whether there is one"
        assert len(await here.audit("login_failed")) == 3
        assert (await here.fleet.ask("GET", f"{API}/devices"))["items"] == []

        enrolled = await here.log_in(email="Ada@Example.org")
        device = await here.fleet.ask("GET", f"{API}/devices/{enrolled.device_id}")
        assert (device["name"], device["user_id"]) == ("laptop", here.user["id"])
        assert await here.audit("user_logged_in") == ["by passphrase, 'laptop'"]
        async with here.fleet.client() as client:
            assert (await client.sync()).changed is False
        # A reply may be lost: the same keys, the same device.
        again = here.fleet.device_store("again")
        again.save_secrets(enrolled.secrets)
        assert (await here.log_in("again")).certificate == enrolled.certificate


async def test_who_is_kept_out_is_told_why_once_it_is_known_who_it_is(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.set_passphrase()

        async def refused(login: Login) -> str:
            with pytest.raises(HelmRefusedError) as caught:
                await login.begin(Method.PASSPHRASE, email=EMAIL, device_name="laptop")
                await login.say_passphrase(PASSPHRASE)
                await login.enrol(here.fleet.device_store("laptop"))
            return str(caught.value)

        async with open_login(here.link) as login:
            await here.change_user(state="disabled")
            assert "ada is disabled" in await refused(login)
            await here.change_user(state="active", expires_at="2020-01-01T00:00:00Z")
            assert "ada has expired" in await refused(login)
            await here.change_user(expires_at=None, device_limit=1)
            await here.invited("phone")
            assert "ada may have 1 devices" in await refused(login)
            await here.change_user(device_limit=None)
            await here.fleet.ask("PUT", f"{API}/settings/devices.limit", {"value": 1}, version=0)
            assert "ada may have 1 devices" in await refused(login)
            with pytest.raises(HelmRefusedError, match="ada may have 1 devices"):
                await here.invited("tablet")
            await here.fleet.ask("PUT", f"{API}/settings/account.sync", {"value": False}, version=0)
            assert "no account logins" in await refused(login)


async def test_devices_of_a_user_let_others_in_by_code_and_put_them_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.fleet.ask("POST", f"{API}/users", {"name": "eve", "email": "eve@example.org"})
        phone, other = await here.invited("phone"), await here.fleet.enrol("nobodys")
        async with here.account("nobodys") as stranger, here.account("phone") as account:
            assert [device.name for device in (await stranger.devices()).devices] == ["nobodys"]
            async with open_login(here.link) as login:
                for email in ("eve@example.org", "nobody@example.org"):
                    begun = await login.begin(Method.CODE, email=email, device_name="tablet")
                    for act in (account.show_login, account.confirm_login):
                        with pytest.raises(HelmRefusedError, match="no login waits"):
                            await act(begun.code)
                begun = await login.begin(Method.CODE, email=EMAIL, device_name="tablet")
                with pytest.raises(HelmRefusedError, match="nobody's in particular"):
                    await stranger.show_login(begun.code)
                enrolled: list[Enrolled] = []

                async def go_on() -> None:
                    assert await login.wait_confirmed() == "ada"
                    enrolled.append(await login.enrol(here.fleet.device_store("tablet")))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(go_on)
                    shown = await account.show_login(begun.code.lower().replace("-", " "))
                    assert (shown.user_name, shown.device_name) == ("ada", "tablet")
                    await account.confirm_login(begun.code)
                    with pytest.raises(HelmRefusedError, match="no login waits"):
                        await account.confirm_login(begun.code)
            assert await here.audit("user_logged_in") == ["by code, confirmed by device 'phone', 'tablet'"]

            found = await account.devices()
            assert [(device.name, device.this) for device in found.devices] == [("phone", True), ("tablet", False)]
            assert found.limit == 10
            tablet = enrolled[0].device_id
            assert (await account.rename(tablet, "old tablet")).name == "old tablet"
            assert (await account.revoke((await account.find("old tablet")).id)).state == "revoked"
            assert [device.name for device in (await account.devices()).devices] == ["phone"]
            for device_id in (other.device_id, tablet):
                with pytest.raises(HelmRefusedError, match="no such device"):
                    await account.revoke(device_id)
                with pytest.raises(HelmRefusedError, match="no such device"):
                    await account.rename(device_id, "mine")
            rows = (await here.fleet.ask("GET", f"{API}/audit?verb=device_revoked"))["items"]
            assert [row["actor"] for row in rows] == ["ada by device phone"]
            # Its answer comes before its end.
            assert (await account.revoke(phone.device_id)).state == "revoked"
        with pytest.raises(HelmRefusedError):
            async with here.account("tablet"):
                pass


async def command(main: Any, *words: object, stdin: str | None = None) -> Result:
    """Run a command beside the fleet's own loop, as another process would."""
    runner = CliRunner()
    return await trio.to_thread.run_sync(lambda: runner.invoke(main, [str(word) for word in words], input=stdin))


async def test_commands_tell_the_whole_story(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        state = ["--state", here.fleet.helm_state]
        laptop = ["--state", here.fleet.folder / "device-laptop"]
        link = (await command(helm, "devices", "link", *state)).stdout.strip()
        made = json.loads((await command(helm, "users", "passphrase", "ada", "--generate", "--json", *state)).stdout)
        assert made["passphrase"] not in (await command(helm, "users", "show", "ada", *state)).stdout
        wrong = await command(caravel, "login", link, "--email", EMAIL, *laptop, stdin="wrong passphrase\n")
        assert wrong.exit_code == Exit.REFUSED, wrong.output
        words = ("login", link, "--name", "laptop", "--json", *laptop)
        joined = await command(caravel, *words, stdin=f"{EMAIL}\n{made['passphrase']}\n")
        assert joined.exit_code == Exit.DONE, joined.output
        assert json.loads(joined.stdout)["name"] == "laptop"
        again = await command(caravel, "login", link, *laptop)
        assert "in fleet" in again.output
        listed = json.loads((await command(caravel, "devices", "list", "--json", *laptop)).stdout)
        assert [(device["name"], device["this"]) for device in listed["devices"]] == [("laptop", True)]

        codes = trio.open_memory_channel[str](1)

        async def log_in_by_code() -> None:
            async with open_login(here.link) as login:
                await codes[0].send((await login.begin(Method.CODE, email=EMAIL, device_name="tablet")).code)
                await login.wait_confirmed()
                await login.enrol(here.fleet.device_store("tablet"))

        for main, verb in ((caravel, ("confirm",)), (helm, ("users", "confirm"))):
            (here.fleet.folder / "device-tablet" / "device.json").unlink(missing_ok=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(log_in_by_code)
                code = await codes[1].receive()
                asked = await command(main, *verb, code, *(laptop if main is caravel else state))
                assert (asked.exit_code, "tablet" in asked.output) == (Exit.USAGE, True), asked.output
                done = await command(main, *verb, code, "--yes", *(laptop if main is caravel else state))
                assert done.exit_code == Exit.DONE, done.output
        renamed = await command(caravel, "devices", "rename", "laptop", "old laptop", *laptop)
        assert "old laptop" in renamed.stdout
        dropped = await command(helm, "users", "passphrase", "ada", "--drop", *state)
        assert dropped.exit_code == Exit.DONE, dropped.output
        with pytest.raises(WrongPassphraseError):
            await here.log_in("other", passphrase=made["passphrase"])
