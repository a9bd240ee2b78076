"""Row 56. Position: anybody at the loopback edge of a new fleet. Wants: the password that everybody knows
(NetBird CVE-2025-10678: a default admin of the bundled identity provider).

Countermeasure: there is none. A new fleet has one owner with no password, no token and no passkey; what lets the owner
in is a link of 256 random bits, shown once, good once, for a day.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import argon2
import httpx
import pytest

from pharos.helm.accounts import admins
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.ca import passwords
from pharos.helm.cli import main
from pharos.helm.cli.offline import open_offline
from pharos.helm.store.database import Database
from pharos.helm.web.app import make_loopback_app
from tests.support.commands import invoke_json

SESSION = "/api/v1/session"
NAMES = ("owner", "admin", "root", "pharos", "helm", "operator", "netbird", "user", "")
PASSWORDS = ("owner", "admin", "password", "pharos", "changeme", "helm", "root", "123456", "netbird-idp", "1234567890")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guesser whom nothing slows down: what is to be shown is that there is nothing to guess."""
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    monkeypatch.setattr(Throttle, "check", lambda *_args: None)


async def guessed(state: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Try everything that people leave as it came, at the page of a fleet; return what let somebody in."""
    with monkeypatch.context() as patched:
        # The same application in this process, with the page's doors.
        patched.setattr(
            "pharos.helm.cli.offline.make_operator_app", lambda context: make_loopback_app(context, {"localhost:8440"})
        )
        async with open_offline(state) as transport:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8440") as client:
                found = []
                for name, password in itertools.product(NAMES, PASSWORDS):
                    if (await client.post(SESSION, json={"name": name, "password": password})).is_success:
                        found.append(f"{name}:{password}")
                    client.cookies.clear()
                for secret in ("", *PASSWORDS):
                    found += [secret] * (await client.post(SESSION, json={"link": secret})).is_success
                    bearer = {"Authorization": f"Bearer {secret}"}
                    found += [secret] * (await client.get("/api/v1/nodes", headers=bearer)).is_success
                return found


async def test_a56_new_fleet_lets_nobody_in_by_what_everybody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A personal fleet: in an enterprise's no password lets anybody in.
    first = invoke_json_outside(tmp_path / "one", "--personal")
    second = invoke_json_outside(tmp_path / "two", "--enterprise")
    assert await guessed(tmp_path / "one", monkeypatch) == []
    links = [urlsplit(made["admin_link"]).fragment.removeprefix("link=") for made in (first, second)]
    assert len(set(links)) == 2
    assert all(len(link) >= 43 for link in links), "256 bits"


def invoke_json_outside(state: Path, posture: str) -> Any:
    """Run `helm init` as from a shell: it runs a loop of its own."""
    import threading

    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(invoke_json(main, "init", posture, "--state", state)))
    thread.start()
    thread.join()
    return made[0]


async def test_a56_turns_red_where_a_fleet_begins_with_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that the test above can fail: a build whose first owner has the password that the manual names."""
    real = admins.make_first_admin

    def with_default(db: Database, act: Any, name: str) -> Any:
        first = real(db, act, name)
        db.execute("UPDATE admins SET password = ?, state = 'active'", (passwords.hash_password("changeme"),))
        return first

    monkeypatch.setattr("pharos.helm.cli.life.make_first_admin", with_default)
    invoke_json_outside(tmp_path / "weak", "--personal")
    assert await guessed(tmp_path / "weak", monkeypatch) == ["owner:changeme"]
