"""helm oidc, with helm asleep and a provider that is awake."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import trio
from click.testing import Result

from pharos.helm.cli import main
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.oidcprovider import CLIENT, OidcProvider, running_provider


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


async def helm(state: Path, *words: object, stdin: str | None = None) -> Result:
    """Run a command in a thread, for it blocks."""
    return await trio.to_thread.run_sync(functools.partial(invoke, main, *words, "--state", state, stdin=stdin))


async def set_up(state: Path, provider: OidcProvider) -> None:
    for name, value in (("issuer", provider.issuer), ("client_id", CLIENT), ("roles", json.dumps(["vpn=admin"]))):
        done = await helm(state, "settings", "set", f"oidc.{name}", value)
        assert done.exit_code == Exit.DONE, done.output


async def test_provider_is_set_shown_and_tested(state: Path) -> None:
    async with running_provider() as provider:
        shown = await helm(state, "oidc", "show")
        assert "issuer        none" in shown.stdout
        await set_up(state, provider)
        tested = await helm(state, "oidc", "test", "--web-port", 9000)
        assert f"{provider.issuer} answers: 2 keys" in tested.stdout
        assert "http://localhost:9000/api/v1/session/oidc/callback" in tested.stdout
        kept = await helm(state, "oidc", "secret", stdin="s3cret\n")
        assert kept.exit_code == Exit.DONE, kept.output
        shown = await helm(state, "oidc", "show", "--json")
        assert json.loads(shown.stdout) == {
            "issuer": provider.issuer,
            "client_id": CLIENT,
            "secret_set": True,
            "groups_claim": "groups",
            "roles": ["vpn=admin"],
            "users": False,
        }
        assert "s3cret" not in kept.output + shown.output
        assert (await helm(state, "oidc", "secret", "--forget")).exit_code == Exit.DONE
        assert "secret        none" in (await helm(state, "oidc", "show")).stdout


async def test_what_is_wrong_is_said(state: Path) -> None:
    nothing = await helm(state, "oidc", "test")
    assert (nothing.exit_code, "no OpenID provider is set" in nothing.output) == (Exit.FAILED, True)
    assert (await helm(state, "oidc", "secret", stdin="\n")).exit_code == Exit.USAGE
    assert (await helm(state, "oidc", "secret", "--forget")).exit_code == Exit.FAILED
    refused = await helm(state, "settings", "set", "oidc.issuer", "http://id.example")
    assert (refused.exit_code, "https" in refused.output) == (Exit.FAILED, True)
